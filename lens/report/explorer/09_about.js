// What is shown, in words: which study, which model, and what each number and band means.

function inShort(facts, layer) {
  const n = layer.numbers;
  const tested = n.eligible_features ? `${count(n.positional_features)} of ${count(n.eligible_features)} features that can be tested depend on position` : null;
  return [`${facts.model}${facts.stand_in ? ", a stand-in for Gemma-2-2B" : ""}`, `${facts.method ? "TemporalLens" : facts.variant.replaceAll("_", " ")} dictionary, seed ${facts.seed}`,
    `${count(facts.steps)} steps`, n.l0 && `L0 ${number(n.l0)}`, tested].filter(Boolean).join(" · ");
}

function aboutView(app) {
  const { facts, layer } = app;
  const entry = (name, text) => [h("dt", null, name), h("dd", null, text)];
  return h("section", { class: "about", "aria-labelledby": "about-title" },
    h("h2", { id: "about-title", tabindex: "-1" }, "About this page"),
    h("p", null, `Study “${facts.study}”: dictionaries of ${facts.model}`
      + (facts.stand_in ? ", which stands in for Gemma-2-2B, the model of the paper; nothing here is a statement about that model. " : ", the model of the paper. ")
      + (facts.quantisation ? `Its weights were read from ${facts.quantisation}. ` : "")
      + `Trained for ${count(facts.steps)} steps on ${facts.trained_on} (recipe “${facts.preset}”), with seed${facts.seeds.length > 1 ? "s" : ""} ${facts.seeds.join(", ")}. `
      + `Shown is seed ${facts.seed} of the variant “${facts.variant}”`
      + (facts.method ? "." : ", because this study trains no TemporalLens: there is no mask to show.")),
    h("p", null, `Everything is measured on ${count(facts.windows)} held-out windows of ${facts.T} tokens of ${facts.corpus}, text that was never trained on. `
      + "Position 0 is the beginning-of-text token and is left out. A feature fires where its activation is above 0."),
    h("p", null, "The file carries its own data: it loads nothing and sends nothing. Numbers on a card are those of the study's tables; curves, contexts and tokens were measured from the same dictionaries."),
    h("h3", null, "What the profile shows"),
    h("dl", null,
      entry("Firing rate", "Share of the windows in which the feature fires at a position (pale steps), and the same smoothed with a Gaussian of "
        + `${facts.bandwidth} positions (line).`),
      entry("Null band", `What the smoothed rate would be if the feature knew nothing of position: the firings of every window are rotated by a random number of positions, which keeps how often `
        + `and for how long it fires; ${facts.band_permutations} such texts were drawn. At any one position ${100 * facts.band_share} % of them lie inside the band, so about one position in ${Math.round(1 / (1 - facts.band_share))} is outside by chance alone. `
        + "Near the ends smoothing has fewer neighbours, and the band is wider."),
      facts.method && entry("Mask", "The learned position mask of the feature, divided by its largest value: a mask times a constant, with the encoder divided by it, is the same feature, so only its shape means something."),
      entry("U", "Position information: how much of the entropy of firing is explained by the position (in bins 1, 2–3, 4–7, …), minus the mean of the same under permutations. The test's p comes from these permutations; “depends on position” is decided at a false discovery rate of 5 %."),
      entry("Span (fwhm)", "Width of the smoothed profile at half height, for features that depend on position and fire at least 300 times."),
      entry("Dwell", "Mean number of tokens in a row on which a firing feature stays on."),
      entry("Logit lens", facts.causal ? "The feature's decoder row through the model's final norm and unembedding, as if nothing came after this layer."
        : `None: ${facts.model} is an encoder and predicts no next token.`),
      entry("Twins", "The feature matched with it in dictionaries of other seeds, one to one, by the mean cosine of decoder and encoder."),
      entry("Colour of a token", "The activation over the feature's strongest one in the held-out text, in "
        + `${facts.levels} steps.`)),
    h("p", { class: "note" }, `Now showing ${layerName(layer.layer)}, at ${percent(facts.depth[layer.layer], 2)} of the model's depth.`));
}
