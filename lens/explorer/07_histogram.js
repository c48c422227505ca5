// @ts-check
// How strongly a feature fires, where it does.

const HISTOGRAM = { width: 300, height: 92, foot: 16 };

/** Bars of how often the activation lies in each of equal steps up to the largest, on a scale of logarithms: most
 * activations are small.
 * @param {App} app @param {number} k */
function histogramSection(app, k) {
  const { histogram, highest } = app.layer.arrays;
  if (!histogram) return null;
  const counts = Array.from(at(histogram, k));
  const all = counts.reduce((a, b) => a + b, 0);
  if (!all) return null;
  const { width, height, foot } = HISTOGRAM;
  const top = Math.log1p(Math.max(...counts));
  const wide = width / counts.length;
  const most = at(highest, k);
  const half = counts.slice(counts.length / 2).reduce((a, b) => a + b, 0);
  const bars = counts.map((n, i) => {
    const tall = (Math.log1p(n) / top) * (height - foot - 4);
    const [from, to] = [i, i + 1].map((edge) => number((most * edge) / counts.length, 2));
    return svg(
      "rect",
      { x: i * wide + 0.5, width: wide - 1, y: height - foot - tall, height: tall, class: "column" },
      svg("title", null, `${from} to ${to}: ${count(n)} tokens`),
    );
  });
  return section(
    "How strongly it fires",
    svg(
      "svg",
      {
        class: "histogram",
        viewBox: `0 0 ${width} ${height}`,
        role: "img",
        "aria-label": `Histogram of ${count(all)} activations up to ${number(most)}; ${percent(half / all, 2)} are above half of that`,
      },
      bars,
      svg("line", { class: "axis", x1: 0, x2: width, y1: height - foot, y2: height - foot }),
      svg("text", { x: 0, y: height - 3 }, "0"),
      svg("text", { x: width, y: height - 3, "text-anchor": "end" }, number(most)),
    ),
    h("p", { class: "note" }, `${count(all)} activations; heights are logarithms of counts.`),
  );
}
