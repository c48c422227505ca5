// What is shown, in words: which study, which model, and what each number and band means.

function inShort(facts, layer) {
  const n = layer.numbers;
  const kind = [facts.architecture, facts.position].filter((part) => part !== "none").join(" + ");
  const tested = `${count(n.positional_features ?? 0)} of ${count(n.eligible_features ?? 0)} features`;
  return [
    modelName(facts),
    `${facts.variant.replaceAll("_", " ")} dictionary (${kind}), seed ${facts.seed}`,
    `${count(facts.steps)} steps`,
    n.l0 && `L0 ${number(n.l0)}`,
    n.eligible_features && `${tested} that can be tested depend on position, from position 1 on`,
  ]
    .filter(Boolean)
    .join(" · ");
}

function modelName(facts) {
  return facts.model_note ? `${facts.model}, ${facts.model_note}` : facts.model;
}

/** What each thing on the page is, as pairs of a name and a sentence or two. */
function glossary(facts, layer) {
  const inside = `${number(100 * facts.band_share)} %`;
  const chance = Math.round(1 / (1 - facts.band_share));
  return [
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
      facts.causal
        ? "The feature's decoder row through the model's final norm and unembedding, as if no layer came after it."
        : `None: ${facts.model} is an encoder and predicts no next token.`,
    ],
    [
      "Twins",
      "The feature matched with it in dictionaries of other seeds, one to one, by the mean cosine of decoder and encoder.",
    ],
    [
      "Colour of a token",
      `The activation over the feature's strongest one in the held-out text, in ${facts.levels} steps. ` +
        "Whatever is on is underlined, so that weak activations show too.",
    ],
  ].filter(Boolean);
}

function aboutView({ facts, layer }) {
  const seeds = `seed${facts.seeds.length > 1 ? "s" : ""} ${facts.seeds.join(", ")}`;
  const paragraph = (...sentences) => h("p", null, sentences.filter(Boolean).join(" "));
  return h(
    "section",
    { class: "about", "aria-labelledby": "about-title" },
    h("h2", { id: "about-title", tabindex: "-1" }, "About this page"),
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
    paragraph(
      "The file carries its own data: it loads nothing and sends nothing. Numbers on a card are those of the study's",
      "tables; curves, contexts and tokens were measured from the same dictionaries.",
    ),
    h("h3", null, "What is what"),
    h(
      "dl",
      null,
      glossary(facts, layer).map(([name, text]) => [h("dt", null, name), h("dd", null, text)]),
    ),
    h(
      "p",
      { class: "note" },
      `Now showing ${layerName(layer.layer)}, at ${percent(facts.depth[layer.layer], 2)} of the model's depth.`,
    ),
  );
}
