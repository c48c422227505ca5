// @ts-check
// A text to read: coloured by one feature, and for each token the features that are on. Held-out ones come with the page.

const MOST = 12; // features listed for a token

/** @param {App} app */
function textView(app) {
  const { facts, state } = app;
  const k = state.feature;
  const shown = passageShown(app);
  const P = facts.T - 1;
  const on = shown.words.filter((_, t) => t > 0 && shown.strength(t) > 0).length;
  const passages = facts.passages.map((w, i) =>
    h("option", { value: i, selected: i === state.passage }, source(facts, w)),
  );
  return h(
    "section",
    { class: "reading", "aria-labelledby": "text-title" },
    h(
      "div",
      { class: "controls" },
      h("h2", { id: "text-title", tabindex: "-1" }, "Held-out text"),
      h(
        "label",
        null,
        "Text ",
        h("select", { id: "passage", onchange: (e) => app.go({ passage: Number(e.target.value) }) }, passages),
      ),
      featureChoice(app),
    ),
    h(
      "p",
      { class: "note" },
      k === null
        ? "Choose a feature, or a token to see which features are on there."
        : `Feature ${k} of ${layerName(app.layer.layer)} is on at ${on} of ${P} tokens of this text; the strongest ` +
            `colour is its strongest activation in all held-out text, ${number(at(app.layer.arrays.highest, k))}.`,
    ),
    tokensBeside(app, shown),
  );
}

/** The feature that colours a text, and the way to its card.
 * @param {App} app */
function featureChoice(app) {
  const k = app.state.feature;
  return [
    h(
      "label",
      null,
      "Feature ",
      h("input", {
        type: "number",
        id: "which",
        min: 0,
        max: app.layer.features - 1,
        value: k ?? "",
        onchange: (e) => {
          if (e.target.value !== "" && e.target.checkValidity()) app.go({ feature: Number(e.target.value) });
        },
      }),
    ),
    k !== null && h("a", { href: app.address({ view: "features" }) }, "Its card"),
  ];
}

/** The passage that is chosen.
 * @param {App} app @returns {Shown} */
function passageShown({ facts, layer, state }) {
  const { highest, passage_activation } = layer.arrays;
  /** @param {number} t @param {number} k */
  const strength = (t, k) => (at(passage_activation, state.passage, k, t - 1) / facts.levels) * at(highest, k);
  return {
    words: Array.from(at(facts.arrays.tokens, facts.passages[state.passage]), (i) => facts.words[i]),
    strength: (t) => (state.feature === null ? 0 : strength(t, state.feature)),
    on: (t) => Array.from({ length: layer.features }, (_, k) => ({ k, strength: strength(t, k) })),
  };
}

/** The tokens of a text, and beside them the features that are on at the chosen one.
 * @param {App} app @param {Shown} shown */
function tokensBeside(app, shown) {
  const { layer, state } = app;
  const P = shown.words.length - 1;
  const side = h("section", { class: "on", "aria-label": "Features on at the chosen token", "aria-live": "polite" });
  /** @param {number} t */
  const pick = (t) => {
    state.token = t;
    /** @type {NodeListOf<HTMLElement>} */
    const options = strip.querySelectorAll("[role=option]");
    for (const option of options) {
      const here = Number(option.dataset.t) === t;
      option.tabIndex = here ? 0 : -1;
      option.setAttribute("aria-selected", String(here));
    }
    side.replaceChildren(...onAt(app, shown, t));
  };
  /** @param {KeyboardEvent} event */
  const step = (event) => {
    const move = event.key === "ArrowLeft" ? -1 : event.key === "ArrowRight" ? 1 : 0;
    if (!move) return;
    event.preventDefault();
    pick(Math.min(P, Math.max(1, state.token + move)));
    /** @type {HTMLElement | null} */ (strip.querySelector("[aria-selected=true]"))?.focus();
  };
  const strip = h("p", {
    class: "text long",
    role: "listbox",
    "aria-orientation": "horizontal",
    "aria-label": "Tokens of the text",
    onkeydown: step,
  });
  const highest = state.feature === null ? 0 : at(layer.arrays.highest, state.feature);
  shown.words.forEach((word, t) => {
    const props = t === 0 ? {} : { more: { role: "option", onclick: () => pick(t) } };
    const strength = t === 0 ? 0 : shown.strength(t);
    strip.append(...token(word, t, strength, highest, props), word.includes("\n") ? "\n" : "");
  });
  pick(Math.min(P, state.token));
  return h("div", { class: "spread" }, strip, side);
}

/** The features that are on at position t of a text, the strongest first, relative to their own largest.
 * @param {App} app @param {Shown} shown @param {number} t */
function onAt(app, shown, t) {
  const { layer, state } = app;
  const found = shown
    .on(t)
    .filter(({ strength }) => strength > 0)
    .map((one) => ({ ...one, share: Math.min(1, one.strength / at(layer.arrays.highest, one.k)) }));
  found.sort((a, b) => b.share - a.share || a.k - b.k);
  const rows = found
    .slice(0, MOST)
    .map(({ k, strength, share }) =>
      h(
        "li",
        null,
        h(
          "a",
          { href: app.address({ feature: k }), "aria-current": k === state.feature ? "true" : null },
          `feature ${k}`,
        ),
        h("span", { class: "bar", vars: { on: share.toFixed(3) }, "aria-hidden": "true" }),
        h("span", null, number(strength, 2)),
      ),
    );
  return [
    h("h3", null, "At ", h("bdi", { class: "word" }, visible(shown.words[t])), ` (t = ${t})`),
    h(
      "p",
      { class: "note" },
      `${found.length} features are on`,
      found.length > MOST ? `; the ${MOST} nearest their own largest activation.` : ".",
    ),
    h("ol", null, rows),
  ];
}
