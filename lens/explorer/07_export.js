// @ts-check
// Features as files: JSON in the layout of Neuronpedia's features, and the list as CSV.

/** A feature in the layout that Neuronpedia's API answers, and what there is of position in a field of its own.
 * @param {Facts} facts @param {Layer} layer @param {number} k */
function featureJson(facts, layer, k) {
  /** @param {keyof Columns} key */
  const v = (key) => layer.columns[key]?.[k] ?? null;
  const { histogram, highest, neighbour, neighbour_cosine, firings } = layer.arrays;
  const most = at(highest, k);
  const bins = histogram ? Array.from(at(histogram, k)) : [];
  const activations = contextsOf(facts, layer, k).map(({ window, peak, values, strength, bucket }) => ({
    tokens: Array.from(at(facts.arrays.tokens, window), (i) => facts.words[i]),
    values: [0, ...Array.from(values, (x) => (x / facts.levels) * most)],
    maxValue: strength,
    maxValueTokenIndex: peak,
    minValue: 0,
    dataSource: source(facts, window),
    positions: facts.buckets[bucket],
  }));
  return {
    modelId: facts.model,
    layer: `${layer.layer}-${facts.variant}`,
    index: String(k),
    maxActApprox: most,
    frac_nonzero: v("density"),
    freq_hist_data_bar_values: bins.map((_, i) => ((i + 0.5) * most) / bins.length),
    freq_hist_data_bar_heights: bins,
    pos_str: lensWords(layer, "promoted", k),
    pos_values: layer.lens?.promoted_z[k] ?? [],
    neg_str: lensWords(layer, "suppressed", k),
    neg_values: layer.lens?.suppressed_z[k] ?? [],
    topkCosSimIndices: neighbour ? Array.from(at(neighbour, k)) : [],
    topkCosSimValues: neighbour_cosine ? Array.from(at(neighbour_cosine, k)) : [],
    activations,
    position: {
      rates: Array.from(at(firings, k), (n) => n / facts.windows),
      first: 1,
      p: v("p"),
      information: v("information"),
      positional: v("positional") === 1,
      fwhm: v("fwhm"),
      verdict: layer.verdicts?.of[k] ?? null,
    },
  };
}

/** The rows of features as comma-separated values, every number with all its digits.
 * @param {Layer} layer @param {number[]} features */
function listCsv(layer, features) {
  const names = /** @type {(keyof Columns)[]} */ (Object.keys(layer.columns));
  /** @param {string} text */
  const quoted = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const { verdicts } = layer;
  /** @param {number} k */
  const row = (k) => {
    const numbers = names.map((name) => layer.columns[name][k] ?? "");
    return [k, ...numbers, ...(verdicts ? [quoted(verdicts.of[k])] : [])];
  };
  const rows = [["feature", ...names, ...(verdicts ? ["verdict"] : [])], ...features.map(row)];
  return `${rows.map((cells) => cells.join(",")).join("\n")}\n`;
}

/** Hand a file to the browser's downloads.
 * @param {string} name @param {string} text @param {string} type */
function download(name, text, type) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

/** @param {(string | number)[]} parts */
function fileName(...parts) {
  return parts.join("-").replace(/[^\w.-]+/g, "_");
}

/** @param {App} app @param {number} k */
function jsonButtons({ facts, layer }, k) {
  const text = () => JSON.stringify(featureJson(facts, layer, k), null, 1);
  /** @param {From<MouseEvent>} event */
  const copy = (event) =>
    navigator.clipboard.writeText(text()).then(
      () => say((event.target.textContent = "Copied")),
      () => say((event.target.textContent = "Not allowed")),
    );
  const save = () => download(`${fileName(facts.variant, layer.layer, k)}.json`, text(), "application/json");
  /** @param {string} label @param {Props["onclick"]} onclick @param {string} title */
  const button = (label, onclick, title) => h("button", { type: "button", class: "quiet", onclick, title }, label);
  return h(
    "span",
    { class: "export" },
    button("Copy JSON", copy, "Copy this feature in the layout of Neuronpedia"),
    button("JSON", save, "Download this feature in the layout of Neuronpedia"),
  );
}

/** @param {App} app @param {() => number[]} listed */
function csvButton({ facts, layer }, listed) {
  const save = () => download(`${fileName(facts.variant, layer.layer)}.csv`, listCsv(layer, listed()), "text/csv");
  return h(
    "button",
    { type: "button", class: "quiet csv", onclick: save, title: "Download the features listed, in this order" },
    "CSV",
  );
}
