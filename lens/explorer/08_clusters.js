// @ts-check
// The dendrogram of position profiles, the profiles in its order, and the mean profile of each cluster.

const CIVIDIS = [
  "#00224e",
  "#123570",
  "#3b496c",
  "#575d6d",
  "#707173",
  "#8a8678",
  "#a59c74",
  "#c3b369",
  "#e1cc55",
  "#fee838",
];
const LIMIT = 2.4; // standard deviations at which the colours end
const WIDE = 16; // of the bar of clusters

/** @param {App} app */
function clusterView(app) {
  const { layer } = app;
  const title = h(
    "h2",
    { id: "clusters-title", tabindex: "-1" },
    `Clusters of position profiles, ${layerName(layer.layer)}`,
  );
  if (!layer.clusters) {
    const wide = layer.columns.fwhm.filter((v) => v !== null).length;
    const having = wide === 0 ? "no feature has" : wide === 1 ? "one feature has" : `${wide} features have`;
    return h(
      "section",
      { class: "clusters", "aria-labelledby": "clusters-title" },
      title,
      h(
        "p",
        null,
        `This layer has no clusters: ${having} ` + "a significant position profile, and clustering needs at least ten.",
      ),
    );
  }
  const z = standardised(layer);
  return h(
    "section",
    { class: "clusters", "aria-labelledby": "clusters-title" },
    title,
    h("p", null, verdict(layer)),
    h(
      "ul",
      { class: "groups" },
      clusterNames(layer).map((c) => group(app, c, z)),
    ),
    map(app, z),
    h(
      "p",
      { class: "note" },
      "Each row of the map is a feature, each column a position; colour is the smoothed firing rate in standard " +
        "deviations from the feature's own mean. The tree joins features whose profiles correlate; its height is 1 − r of average linkage.",
    ),
  );
}

/** @param {Layer} layer */
function verdict(layer) {
  const n = layer.numbers;
  const silhouette = n.cluster_silhouette ?? n.cluster_silhouette_best ?? NaN;
  const favoured =
    n.clusters_favoured === 1
      ? "The gap statistic favours one cluster: nothing speaks for separate groups."
      : `The gap statistic favours ${n.clusters_favoured} clusters; ${n.clusters_stable} stay when documents are drawn anew.`;
  const weak = silhouette < 0.7 ? ": below 0.7, groups cannot be told from a continuum" : "";
  return `${favoured} Mean silhouette ${number(silhouette, 2)}${weak}.`;
}

/** Of a layer that has some.
 * @param {Layer} layer */
function clustersOf(layer) {
  return /** @type {Clusters} */ (layer.clusters);
}

/** Standardised smoothed profiles of the clustered features, in the order of the leaves.
 * @param {Layer} layer */
function standardised(layer) {
  const { leaves, members } = clustersOf(layer);
  return leaves.map((leaf) => {
    const values = layer.smoothed(members[leaf]);
    const mean = values.reduce((a, b) => a + b, 0) / values.length;
    const sd = Math.sqrt(values.reduce((a, b) => a + (b - mean) ** 2, 0) / values.length);
    return Array.from(values, (v) => (v - mean) / sd);
  });
}

/** @param {Layer} layer @param {number} row */
function featureAt(layer, row) {
  const { leaves, members } = clustersOf(layer);
  return members[leaves[row]];
}

/** @param {App} app @param {number} c @param {number[][]} z */
function group(app, c, z) {
  const { layer, facts } = app;
  const rows = z.filter((_, i) => layer.columns.cluster[featureAt(layer, i)] === c);
  const mean = Array.from({ length: facts.T - 1 }, (_, t) => rows.reduce((sum, row) => sum + row[t], 0) / rows.length);
  const x = positionScale(facts, "linear", 4, 216);
  /** @type {Scale} */
  const y = (v) => 40 - (Math.max(-3, Math.min(3, v)) / 3) * 34;
  const peak = mean.indexOf(Math.max(...mean)) + 1;
  const list = () => {
    app.state.filters = { ...structuredClone(NO_FILTERS), cluster: String(c) };
    app.state.query = "";
    app.go({ view: "features" });
  };
  return h(
    "li",
    null,
    h(
      "h3",
      null,
      `Cluster ${c}`,
      h("span", null, ` ${count(rows.length)} ${rows.length === 1 ? "feature" : "features"}`),
    ),
    svg(
      "svg",
      {
        width: 220,
        height: 96,
        viewBox: "0 0 220 96",
        role: "img",
        "aria-label": `Mean standardised profile of cluster ${c}; highest at position ${peak}`,
      },
      svg("line", { class: "grid", x1: 4, x2: 216, y1: y(0), y2: y(0) }),
      svg("path", { class: "smooth", d: line(mean, x, y) }),
      positionTicks(facts, "linear").map((t) =>
        svg(
          "text",
          { x: x(t), y: 92, "text-anchor": t === 1 ? "start" : t === facts.T - 1 ? "end" : "middle" },
          String(t),
        ),
      ),
    ),
    h("button", { type: "button", class: "quiet", onclick: list }, "List its features"),
  );
}

/** Dendrogram and heat map side by side, one row per feature; a row opens its feature.
 * @param {App} app @param {number[][]} z */
function map(app, z) {
  const { layer, facts } = app;
  const n = z.length;
  const height = Math.max(320, Math.min(n * 2, 640));
  const canvas = h("canvas", {
    width: facts.T - 1,
    height: n,
    role: "img",
    "aria-label": `Profiles of ${n} features in the order of the dendrogram`,
  });
  paint(canvas, z);
  /** @param {MouseEvent} event */
  const row = (event) => {
    const box = canvas.getBoundingClientRect();
    return Math.max(0, Math.min(n - 1, Math.floor(((event.clientY - box.top) / box.height) * n)));
  };
  const said = h("p", { class: "readout" }, "Point at a row to see which feature it is; click to open it.");
  canvas.addEventListener("pointermove", (event) => {
    const k = featureAt(layer, row(event));
    const { cluster, fwhm } = layer.columns;
    said.textContent = `Feature ${k}, cluster ${cluster[k]}, span ${number(fwhm[k])} positions`;
  });
  canvas.addEventListener("click", (event) => app.go({ view: "features", feature: featureAt(layer, row(event)) }));
  const axis = positionTicks(facts, "linear").map((t) =>
    h("span", { vars: { at: (t - 0.5) / (facts.T - 1) } }, String(t)),
  );
  return h(
    "figure",
    { class: "map" },
    h(
      "div",
      { class: "sides", vars: { height: `${height}px` } },
      dendrogram(layer, height),
      stripes(layer, n, height),
      canvas,
    ),
    h("div", { class: "axis", "aria-hidden": "true" }, axis),
    h("figcaption", null, h("span", { class: "scale" }, "−2.4", h("i"), "+2.4"), said),
  );
}

/** @param {HTMLCanvasElement} canvas @param {number[][]} z */
function paint(canvas, z) {
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  const image = context.createImageData(canvas.width, canvas.height);
  const stops = CIVIDIS.map((c) => [1, 3, 5].map((i) => parseInt(c.slice(i, i + 2), 16)));
  z.flat().forEach((v, i) => {
    const place = ((Math.max(-LIMIT, Math.min(LIMIT, v)) + LIMIT) / (2 * LIMIT)) * (stops.length - 1);
    const low = Math.min(stops.length - 2, Math.floor(place));
    stops[low].forEach((from, channel) => {
      image.data[4 * i + channel] = from + (place - low) * (stops[low + 1][channel] - from);
    });
    image.data[4 * i + 3] = 255;
  });
  context.putImageData(image, 0, 0);
}

/** @param {Layer} layer @param {number} height */
function dendrogram(layer, height) {
  const width = 150; // of the drawing, which is then fitted to its column
  const { merges, leaves } = clustersOf(layer);
  const n = leaves.length;
  const tallest = Math.max(...merges.map(([, , height_]) => height_), 1e-9);
  /** @type {Scale} */
  const x = (v) => (width - 4) * (1 - v / tallest) + 2;
  /** @type {{ y: number, v: number }[]} */
  const nodes = [];
  leaves.forEach((leaf, row) => {
    nodes[leaf] = { y: ((row + 0.5) / n) * height, v: 0 };
  });
  let path = "";
  merges.forEach(([a, b, v], i) => {
    const [one, other] = [nodes[a], nodes[b]];
    const [from, joint, to, low, high] = [x(one.v), x(v), x(other.v), one.y, other.y].map((c) => c.toFixed(1));
    path += `M${from} ${low}H${joint}V${high}H${to}`;
    nodes[n + i] = { y: (one.y + other.y) / 2, v };
  });
  return svg(
    "svg",
    {
      class: "tree",
      viewBox: `0 0 ${width} ${height}`,
      preserveAspectRatio: "none",
      role: "img",
      "aria-labelledby": "tree-title tree-desc",
    },
    svg("title", { id: "tree-title" }, "Dendrogram of position profiles"),
    svg(
      "desc",
      { id: "tree-desc" },
      `${n} features; the last joint is at 1 − r = ${number(tallest, 2)}. ${verdict(layer)}`,
    ),
    svg("path", { d: path }),
  );
}

/** A bar whose shade changes from cluster to cluster along the rows, with their numbers where there is room.
 * @param {Layer} layer @param {number} n @param {number} height */
function stripes(layer, n, height) {
  /** @type {[SVGElement[], SVGElement[]]} */
  const [parts, labels] = [[], []];
  for (let i = 0, from = 0; i < n; i++) {
    const here = layer.columns.cluster[featureAt(layer, i)];
    if (i < n - 1 && layer.columns.cluster[featureAt(layer, i + 1)] === here) continue;
    parts.push(
      svg("rect", {
        x: 0,
        width: WIDE,
        y: (from / n) * height,
        height: ((i + 1 - from) / n) * height,
        class: parts.length % 2 ? "even" : "odd",
      }),
    );
    if (((i + 1 - from) / n) * height > 14)
      labels.push(
        svg("text", { x: WIDE / 2, y: ((from + i + 1) / 2 / n) * height + 4, "text-anchor": "middle" }, String(here)),
      );
    from = i + 1;
  }
  return svg(
    "svg",
    { class: "stripes", width: WIDE, height, viewBox: `0 0 ${WIDE} ${height}`, "aria-hidden": "true" },
    parts,
    labels,
  );
}
