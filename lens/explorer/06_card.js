// @ts-check
// One feature: its numbers, profile, tokens, relatives in other seeds, and its strongest contexts by position.

/** The card of the current feature, or a word about what to do when none is chosen.
 * @param {App} app */
function featureCard(app) {
  const { layer, state } = app;
  const k = state.feature;
  if (k === null) return h("article", { class: "card empty" }, h("p", null, "Choose a feature from the list."));
  const silent = value(layer, "density", k) === 0;
  return h(
    "article",
    { class: "card", "aria-labelledby": "card-title" },
    h(
      "div",
      { class: "head" },
      h("button", { type: "button", class: "back", onclick: () => app.close() }, "← List"),
      h("h2", { id: "card-title", tabindex: "-1" }, `Feature ${k}`, h("span", null, ` ${layerName(layer.layer)}`)),
      h("a", { class: "read", href: app.address({ view: "text" }) }, "Read a text with it"),
      jsonButtons(app, k),
    ),
    silent && h("p", { class: "note" }, "This feature never fires on the held-out text."),
    numbers(app, k),
    section("Where in the window it fires", profileChart(app.facts, layer, k, state.axis, axisChoice(app))),
    h("div", { class: "pair" }, lensSection(app, k), twinSection(app, k)),
    h("div", { class: "pair" }, neighbourSection(app, k), histogramSection(app, k)),
    silent ? null : contextSection(app, k),
  );
}

/** @param {string} title @param {Child[]} children */
function section(title, ...children) {
  return h("section", null, h("h3", null, title), children);
}

/** @param {App} app */
function axisChoice(app) {
  const other = app.state.axis === "log" ? "linear" : "log";
  return h(
    "button",
    {
      type: "button",
      id: "axis",
      class: "quiet",
      onclick: () => {
        app.state.axis = other;
        app.renderCard();
      },
    },
    other === "log" ? "Stretch early positions" : "Even positions",
  );
}

/** What the tests say of the tokens since a clock started, and of position beside them.
 * @param {(key: Key) => number | null} v @param {string} name */
function sinceTest(v, name) {
  if (v(`since_${name}_p`) === null) return "too few firings to test";
  const [depends, beside] = [v(`since_${name}`), v(`positional_given_${name}`)];
  return `${depends ? "depends on it" : "no effect found"}; on position beside it: ${beside ? "yes" : "no effect found"}`;
}

/** @param {App} app @param {number} k */
function numbers(app, k) {
  const { facts, layer } = app;
  /** @template {Key} K @param {K} key */
  const v = (key) => value(layer, key, k);
  const p = v("p") === 0 ? "p\u00a0<\u00a01e−300" : `p\u00a0=\u00a0${number(v("p"), 2)}`;
  const found = v("positional") ? "depends on position" : "no effect found";
  const test = v("p") === null ? "too few firings to test" : `${found}, ${p}`;
  const others = layer.twins.length;
  /** @type {(string[] | false | null | 0)[]} */
  const rows = [
    ["Fires on", percent(v("density")), "of text tokens"],
    ["Position information U", number(v("information")), test],
    ...clocksOf(layer).map(({ key, name }) => [`Since ${name}, U`, number(v(key)), sinceTest(v, name)]),
    layer.verdicts && ["Verdict on position", layer.verdicts.of[k], inheritedFrom(layer.verdicts.from[k])],
    [
      "Span (fwhm)",
      number(v("fwhm")),
      v("fwhm") === null ? "none: no effect of position, or fewer than 300 firings" : "positions",
    ],
    ["Centre", number(v("centre")), "mean position of its firings"],
    ["Dwell", number(v("dwell")), "tokens it stays on"],
    ["Commonest token", percent(v("token_share")), "of its firings"],
    !facts.profile && [
      "Cluster",
      v("cluster") < 0 ? "–" : String(v("cluster")),
      layer.clusters ? "by position profile" : "this layer has none",
    ],
    (others || !facts.profile) && [
      "Recurs in",
      others ? `${v("shared_with_seeds")} of ${others}` : "–",
      others ? `other ${othersAre(facts)}` : "trained with one seed",
    ],
  ];
  return h(
    "dl",
    { class: "numbers" },
    rows.filter((row) => !!row).map(([name, shown, more]) =>
      h("div", null, h("dt", null, name), h("dd", null, h("strong", null, shown), h("span", null, more))),
    ),
  );
}

/** @param {string} features */
function inheritedFrom(features) {
  return features ? `from features ${features.replaceAll(" ", ", ")}` : "the same text read at several offsets";
}

/** @param {App} app @param {number} k */
function lensSection(app, k) {
  const { lens } = app.layer;
  if (!lens) {
    return section(
      "Logit lens",
      h("p", { class: "note" }, `None: ${noLens(app.facts)}.`),
    );
  }
  /** @param {string} title @param {"promoted" | "suppressed"} which */
  const list = (title, which) =>
    h(
      "div",
      null,
      h("h4", null, title),
      h(
        "ol",
        null,
        lensWords(app.layer, which, k).map((w, i) =>
          h("li", null, h("bdi", { class: "word" }, visible(w)), h("span", null, fixed(lens[`${which}_z`][k][i], 1))),
        ),
      ),
    );
  return section(
    "Logit lens",
    h(
      "div",
      { class: "lens" },
      list("Promotes", "promoted"),
      list("Suppresses", "suppressed"),
    ),
    h("p", { class: "note" }, "Standard deviations from the mean over the vocabulary."),
  );
}

/** A token on its own, with its spaces and line breaks to be seen.
 * @param {string} word */
function visible(word) {
  return word.replaceAll("\n", "↵").replace(/^ | $/g, "·");
}

/** Why there is no logit lens, in words.
 * @param {Facts} facts */
function noLens(facts) {
  if (facts.given) return "the activations were given without a language model";
  return facts.causal ? "the dictionary does not say where its features point" : `${facts.model} is an encoder, it predicts no next token`;
}

/** What the other dictionaries are that features are matched with.
 * @param {Facts} facts */
function othersAre(facts) {
  return facts.profile ? "dictionaries" : "seeds";
}

/** @type {["decoder" | "encoder" | "mask" | "profile", string][]} */
const TWIN_COLUMNS = [
  ["decoder", "Decoder cos"],
  ["encoder", "Encoder cos"],
  ["mask", "Mask r"],
  ["profile", "Profile r"],
];

/** @param {App} app @param {number} k */
function twinSection(app, k) {
  const { facts, layer } = app;
  const { twins } = layer;
  if (facts.profile && facts.beside.length === 1) return null;
  const title = `Twins in other ${othersAre(facts)}`;
  if (!twins.length) {
    const none = facts.profile
      ? "None: no other dictionary on this page reads the same place."
      : "None: this layer's dictionary was trained with one seed.";
    return section(title, h("p", { class: "note" }, none));
  }
  const columns = TWIN_COLUMNS.filter(([key]) => twins.some((twin) => twin[key]));
  const heads = [facts.profile ? "Dictionary" : "Seed", "Feature", ...columns.map(([, label]) => label), "Same?"];
  /** @param {Twin} twin */
  const feature = (twin) => {
    const name = String(twin.feature[k]);
    if (!twin.study) return name;
    return h("a", { href: app.address({ study: twin.study, layer: twin.layer, feature: twin.feature[k] }) }, name);
  };
  /** @param {Twin} twin */
  const row = (twin) =>
    h(
      "tr",
      null,
      h("th", { scope: "row" }, twin.name),
      h("td", null, feature(twin)),
      columns.map(([key]) => h("td", null, fixed(twin[key]?.[k], 2))),
      h("td", null, twin.shared[k] ? "yes" : "no"),
    );
  return section(
    title,
    h(
      "table",
      { class: "twins" },
      h("thead", null, h("tr", null, heads.map((text) => h("th", { scope: "col" }, text)))),
      h("tbody", null, twins.map(row)),
    ),
    h(
      "p",
      { class: "note" },
      facts.profile
        ? "The feature in the most similar direction; the same if the cosine is at least 0.7."
        : "Matched one to one; the same feature if both cosines are at least 0.7.",
    ),
  );
}

/** @param {App} app @param {number} k */
function neighbourSection(app, k) {
  const { neighbour, neighbour_cosine } = app.layer.arrays;
  if (!neighbour || !neighbour_cosine) return null;
  const rows = Array.from(at(neighbour, k), (other, i) =>
    h(
      "li",
      null,
      h("a", { href: app.address({ feature: other }), "data-feature": other }, `feature ${other}`),
      h("span", null, fixed(at(neighbour_cosine, k, i), 2)),
    ),
  );
  return section(
    "Neighbours in this dictionary",
    h("ol", { class: "neighbours" }, rows),
    h("p", { class: "note" }, "Cosines of what features write, the most similar first."),
  );
}

/** @param {App} app @param {number} k */
function contextSection(app, k) {
  const { facts, layer } = app;
  const contexts = contextsOf(facts, layer, k);
  const firings = at(layer.arrays.firings, k);
  const parts = facts.buckets.map(([first, last], b) => {
    let fired = 0;
    for (let t = first; t <= last; t++) fired += firings[t - 1];
    const rate = fired / (facts.windows * (last - first + 1));
    const here = contexts.filter((c) => c.bucket === b);
    return h(
      "section",
      { class: "bucket" },
      h(
        "h4",
        null,
        first === last ? `Position ${first}` : `Positions ${first}–${last}`,
        h("span", null, ` fires on ${percent(rate, 2)} of tokens`),
      ),
      here.length
        ? h(
            "ol",
            null,
            here.map((c) => contextItem(app, k, c)),
          )
        : h("p", { class: "note" }, "Never fires here."),
    );
  });
  const strongest = [...contexts].sort((a, b) => b.strength - a.strength || a.bucket - b.bucket);
  const anywhere = strongest.filter((c, i) => strongest.findIndex((d) => d.window === c.window) === i);
  const most = Math.max(...facts.buckets.map((_, b) => contexts.filter((c) => c.bucket === b).length));
  const top = h("ol", null, anywhere.slice(0, most).map((c) => contextItem(app, k, c)));
  return [
    section("Strongest contexts", h("section", { class: "bucket" }, top)),
    section("Strongest contexts, by position", parts),
  ];
}

/** @param {App} app @param {number} k @param {Context} context */
function contextItem(app, k, { window, peak, values, strength }) {
  const { facts, layer } = app;
  const highest = at(layer.arrays.highest, k);
  const item = h("li");
  /** @param {boolean} whole */
  const draw = (whole) => {
    const from = whole ? 0 : Math.max(0, peak - AROUND);
    const to = whole ? facts.T - 1 : Math.min(facts.T - 1, peak + AROUND);
    const button = h(
      "button",
      {
        type: "button",
        class: "quiet",
        "aria-expanded": String(whole),
        onclick: () => {
          draw(!whole);
          item.querySelector("button")?.focus();
        },
      },
      whole ? "less" : "whole window",
    );
    item.replaceChildren(
      h(
        "p",
        { class: "where" },
        place(facts, from, to, peak),
        h("span", null, `t = ${peak}`),
        h("span", null, number(strength)),
        h("span", { class: "from" }, source(facts, window)),
        button,
      ),
      snippet(facts, window, values, highest, peak, from, to),
    );
  };
  draw(false);
  return item;
}
