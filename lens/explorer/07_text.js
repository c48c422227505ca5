// @ts-check
// A held-out text to read: coloured by one feature, and for each token the features that are on.

const MOST = 12; // features listed for a token

/** @param {App} app */
function textView(app) {
  const { facts, layer, state } = app;
  const P = facts.T - 1;
  const k = state.feature;
  const window = facts.passages[state.passage];
  const tokens = at(facts.arrays.tokens, window);
  const highest = k === null ? 0 : at(layer.arrays.highest, k);
  const values = k === null ? new Uint8Array(P) : at(layer.arrays.passage_activation, state.passage, k);
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
    side.replaceChildren(...onAt(app, t));
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
  for (let t = 0; t <= P; t++) {
    const word = facts.words[tokens[t]];
    const props = t === 0 ? {} : { more: { role: "option", onclick: () => pick(t) } };
    strip.append(
      ...token(facts, word, t, t === 0 ? 0 : values[t - 1], highest, props),
      word.includes("\n") ? "\n" : "",
    );
  }
  const on = values.filter((v) => v > 0).length;
  const passages = facts.passages.map((w, i) =>
    h("option", { value: i, selected: i === state.passage }, source(facts, w)),
  );
  const element = h(
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
      h(
        "label",
        null,
        "Feature ",
        h("input", {
          type: "number",
          id: "which",
          min: 0,
          max: layer.features - 1,
          value: k ?? "",
          onchange: (e) => {
            if (e.target.value !== "" && e.target.checkValidity()) app.go({ feature: Number(e.target.value) });
          },
        }),
      ),
      k !== null && h("a", { href: app.address({ view: "features" }) }, "Its card"),
    ),
    h(
      "p",
      { class: "note" },
      k === null
        ? "Choose a feature, or a token to see which features are on there."
        : `Feature ${k} of ${layerName(layer.layer)} is on at ${on} of ${P} tokens of this text; the strongest colour is ` +
            `its strongest activation in all held-out text, ${number(highest)}.`,
    ),
    h("div", { class: "spread" }, strip, side),
  );
  pick(Math.min(P, state.token));
  return element;
}

/** The features that are on at position t of the passage, the strongest first, relative to their own largest.
 * @param {App} app @param {number} t */
function onAt(app, t) {
  const { facts, layer, state } = app;
  const word = facts.words[at(facts.arrays.tokens, facts.passages[state.passage])[t]];
  const found = [];
  for (let k = 0; k < layer.features; k++) {
    const v = at(layer.arrays.passage_activation, state.passage, k, t - 1);
    if (v) found.push({ k, v });
  }
  found.sort((a, b) => b.v - a.v || a.k - b.k);
  const rows = found
    .slice(0, MOST)
    .map(({ k, v }) =>
      h(
        "li",
        null,
        h(
          "a",
          { href: app.address({ feature: k }), "aria-current": k === state.feature ? "true" : null },
          `feature ${k}`,
        ),
        h("span", { class: "bar", vars: { on: (v / facts.levels).toFixed(3) }, "aria-hidden": "true" }),
        h("span", null, number((v / facts.levels) * at(layer.arrays.highest, k), 2)),
      ),
    );
  return [
    h("h3", null, "At ", h("bdi", { class: "word" }, visible(word)), ` (t = ${t})`),
    h(
      "p",
      { class: "note" },
      `${found.length} features are on`,
      found.length > MOST ? `; the ${MOST} nearest their own largest activation.` : ".",
    ),
    h("ol", null, rows),
  ];
}
