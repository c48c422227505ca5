// @ts-check
// What is shown, in words: which study, which model, and what each number and band means.

/** @param {Facts} facts @param {Layer} layer */
function inShort(facts, layer) {
  const n = layer.numbers;
  const kind = [facts.architecture, facts.position].filter((part) => part !== "none").join(" + ");
  const tested = `${count(n.positional_features ?? 0)} of ${count(n.eligible_features ?? 0)} features`;
  return [
    modelName(facts),
    `${facts.variant.replaceAll("_", " ")} dictionary (${kind})${facts.profile ? "" : `, seed ${facts.seed}`}`,
    facts.steps && `${count(facts.steps)} steps`,
    n.l0 && `L0 ${number(n.l0)}`,
    n.eligible_features && `${tested} that can be tested depend on position, from position 1 on`,
  ]
    .filter(Boolean)
    .join(" · ");
}

/** @param {Facts} facts */
function modelName(facts) {
  return facts.model_note ? `${facts.model}, ${facts.model_note}` : facts.model;
}

/** What each thing on the page is, as pairs of a name and a sentence or two.
 * @param {Facts} facts @param {Layer} layer @returns {[string, string][]} */
function glossary(facts, layer) {
  const inside = `${number(100 * facts.band_share)} %`;
  const chance = Math.round(1 / (1 - facts.band_share));
  /** @type {([string, string] | false | null | undefined)[]} */
  const all = [
    [
      "Firing rate",
      "Share of the windows in which the feature fires at a position (pale steps), and the same smoothed with a " +
        `Gaussian of standard deviation ${facts.bandwidth} (line).`,
    ],
    [
      "Null band",
      "What the smoothed rate would be if the feature knew nothing of position: the firings of every window are " +
        "rotated by a random number of positions, which keeps how often and for how long it fires. " +
        `${facts.band_permutations} such texts were drawn. At any one position ${inside} of them lie inside the ` +
        `band, so about one position in ${chance} is outside by chance alone. Near the ends smoothing has fewer ` +
        "neighbours, and the band is wider.",
    ],
    layer.arrays.mask && [
      "Mask",
      "The learned position mask of the feature, divided by its largest value: a mask times a constant, with the " +
        "encoder divided by it, is the same feature, so only its shape means something.",
    ],
    [
      "Info (U)",
      "Position information: how much of the entropy of firing is explained by the position (in bins 1, 2–3, 4–7, " +
        "…), minus the mean of the same when windows are rotated. The test's p counts how many rotations give as much; " +
        "beyond all of them it is the tail of a gamma distribution with their mean and variance. “Depends on " +
        "position” is decided at a false discovery rate of 5 %.",
    ],
    clocksOf(layer).length > 0 && [
      "Since …",
      "The same of the tokens since a document, a line or a turn began, in bins that double. “On position beside it” asks " +
        "whether position in the window still tells among tokens at equal distance from there.",
    ],
    layer.verdicts && [
      "Verdict on position",
      "The same text was read in windows that start at different places. “Specialised”: the feature changes with the " +
        "position though the text is the same, and position tells when it fires once the drive of the others is known. " +
        "“Inherits”: most of its profile comes from features that are tuned. The rest is content, a mask or other " +
        "position term, or can't be told.",
    ],
    [
      "Span (fwhm)",
      "Width of the smoothed profile at half height, for features that depend on position and fire at least 300 times.",
    ],
    ["Dwell", "Mean number of tokens in a row on which a firing feature stays on."],
    [
      "Logit lens",
      layer.lens
        ? "The feature's decoder row through the model's final norm and unembedding, as if no layer came after it."
        : `None: ${noLens(facts)}.`,
    ],
    [
      "Twins",
      facts.profile
        ? "The feature of another dictionary of the same place that writes in the most similar direction."
        : "The feature matched with it in dictionaries of other seeds, one to one, by the mean cosine of decoder and encoder.",
    ],
    [
      "Colour of a token",
      `The activation over the feature's strongest one in the held-out text, in ${facts.levels} steps. ` +
        "Whatever is on is underlined, so that weak activations show too.",
    ],
  ];
  return all.filter((entry) => !!entry);
}

/** @param {App} app */
function aboutView({ facts, layer }) {
  /** @type {Paragraph} */
  const paragraph = (...sentences) => h("p", null, sentences.filter(Boolean).join(" "));
  return h(
    "section",
    { class: "about", "aria-labelledby": "about-title" },
    h("h2", { id: "about-title", tabindex: "-1" }, "About this page"),
    facts.profile ? aboutProfile(facts, paragraph) : aboutStudy(facts, layer, paragraph),
    paragraph(
      facts.reads
        ? "The page carries its own data; a text of your own goes to this machine's server alone, which keeps nothing."
        : "The file carries its own data: it loads nothing and sends nothing.",
      `Numbers on a card are those of the ${facts.profile ? "profile" : "study"}'s`,
      "tables; curves, contexts and tokens were measured from the same dictionaries.",
    ),
    h("h3", null, "What is what"),
    h(
      "dl",
      null,
      glossary(facts, layer).map(([name, text]) => [h("dt", null, name), h("dd", null, text)]),
    ),
    facts.depth &&
      h(
        "p",
        { class: "note" },
        `Now showing ${layerName(layer.layer)}, at ${percent(facts.depth[layer.layer], 2)} of the model's depth.`,
      ),
  );
}

/** @param {StudyFacts} facts @param {Layer} layer @param {Paragraph} paragraph @returns {Child} */
function aboutStudy(facts, layer, paragraph) {
  const seeds = `seed${facts.seeds.length > 1 ? "s" : ""} ${facts.seeds.join(", ")}`;
  return [
    paragraph(
      `Study “${facts.study}”: dictionaries of ${modelName(facts)}.`,
      facts.quantisation && `Its weights were read from ${facts.quantisation}.`,
      `Trained for ${count(facts.steps)} steps on ${facts.trained_on}, with ${seeds}.`,
      `Shown is seed ${facts.seed} of the variant “${facts.variant}”${layer.arrays.mask ? "" : ", which has no masks"}.`,
    ),
    paragraph(
      `Everything is measured on ${count(facts.windows)} held-out windows of ${facts.T} tokens of ${facts.corpus},`,
      "text that was never trained on. Position 0 is the beginning-of-text token and is left out.",
      "A feature fires where its activation is not 0.",
    ),
  ];
}

/** @param {ProfileFacts} facts @param {Paragraph} paragraph @returns {Child} */
function aboutProfile(facts, paragraph) {
  const zero = facts.bos ? "Position 0 is the beginning-of-text token and is left out." : "Position 0 is left out.";
  return [
    paragraph(
      `Dictionary “${facts.variant}” on ${facts.given ? facts.model : `activations of ${facts.model}`}.`,
      facts.quantisation && `The model's weights were read from ${facts.quantisation}.`,
      `Everything is measured on ${count(facts.windows)} windows of ${facts.T} tokens. ${zero}`,
      "A feature fires where its activation is not 0.",
    ),
    facts.beside.length > 1 && comparison(facts),
  ];
}

/** @type {[keyof Omit<Beside, "name" | "place">, string, string][]} */
const COMPARED = [
  ["fvu", "FVU", "share of the variance that is not reconstructed"],
  ["l0", "L0", "features on at a token"],
  ["delta_ce", "ΔCE", "nats by which the model predicts worse with the reconstruction in its place"],
  ["silent_features", "Silent", "features that never fire on the text"],
  ["eligible_features", "Tested", "features that fire often enough for the test of position"],
  ["positional_features", "Positional", "features that depend on position"],
];

/** All dictionaries of the page, a row for each.
 * @param {ProfileFacts} facts */
function comparison(facts) {
  const head = COMPARED.map(([, label, title]) => h("th", { scope: "col", title }, label));
  /** @param {Beside} one */
  const row = (one) =>
    h(
      "tr",
      null,
      h("th", { scope: "row" }, h("a", { href: `#/${encodeURIComponent(one.name)}` }, one.name), h("span", null, ` ${one.place}`)),
      COMPARED.map(([key]) => h("td", null, number(one[key] ?? null))),
    );
  const table = h(
    "table",
    { class: "twins" },
    h("caption", null, "Dictionaries on this page"),
    h("thead", null, h("tr", null, h("th", { scope: "col" }, "Dictionary"), head)),
    h("tbody", null, facts.beside.map(row)),
  );
  return h("div", { class: "compared", role: "region", tabindex: 0, "aria-label": "Dictionaries on this page" }, table);
}
