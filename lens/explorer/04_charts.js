// @ts-check
// A feature's position profile: what was counted, what rotated texts give, and below it what the mask asks for.

const PAD = { left: 46, right: 10, top: 8, bottom: 34 };
const STRIP = { height: 40, gap: 12 }; // of the mask: over the curve, its noise would be all one sees

/** Scale of positions, linear or log2(1 + t), over the text positions and half a position on either side.
 * @param {Facts} facts @param {Axis} axis @param {number} left @param {number} right @returns {Scale} */
function positionScale(facts, axis, left, right) {
  /** @type {Scale} */
  const f = axis === "log" ? (t) => Math.log2(1 + t) : (t) => t;
  const [low, high] = [f(0.5), f(facts.T - 0.5)];
  return (t) => left + ((f(t) - low) / (high - low)) * (right - left);
}

/** @param {Pick<Facts, "T">} facts @param {Axis} axis */
function positionTicks(facts, axis) {
  const last = facts.T - 1;
  if (axis === "log") return [...[1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024].filter((t) => t < 0.8 * last), last];
  const step = last >= 64 ? Math.max(32, 2 ** Math.ceil(Math.log2(last / 6))) : 8;
  const inner = [];
  for (let t = step; t <= last - step / 2; t += step) inner.push(t);
  return [1, ...inner, last];
}

/** At most five round numbers from 0 to `top`.
 * @param {number} top */
function ticks(top) {
  const rough = top / 4;
  const size = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * size).find((x) => x >= rough) ?? 10 * size;
  const found = [];
  for (let i = 0; i * step <= top * 1.0001; i++) found.push(i * step);
  return found;
}

/** @param {number[]} values @param {Scale} x @param {Scale} y */
function points(values, x, y) {
  return values.map((v, i) => `${x(i + 1).toFixed(1)} ${y(v).toFixed(1)}`);
}

/** @param {number[]} values @param {Scale} x @param {Scale} y */
function line(values, x, y) {
  return `M${points(values, x, y).join("L")}`;
}

/** @param {number[]} low @param {number[]} high @param {Scale} x @param {Scale} y */
function between(low, high, x, y) {
  return `M${[...points(high, x, y), ...points(low, x, y).reverse()].join("L")}Z`;
}

/** @param {number[]} values @param {Scale} x @param {Scale} y */
function steps(values, x, y) {
  let path = `M${x(0.5).toFixed(1)} ${y(0)}`;
  values.forEach((v, i) => {
    path += `V${y(v).toFixed(1)}H${x(i + 1.5).toFixed(1)}`;
  });
  return `${path}V${y(0)}Z`;
}

/** At each text position, shares of the held-out windows: raw, smoothed, band; and the mask over its largest.
 * @param {Facts} facts @param {Layer} layer @param {number} k @returns {Curves} */
function curves(facts, layer, k) {
  /** @param {Iterable<number>} values */
  const share = (values) => Array.from(values, (v) => v / facts.windows);
  const edges = facts.edge_distance;
  const band = [0, 1].map((end) =>
    edges.map((e) => at(layer.arrays.band, end, e, k) / layer.band_scale / facts.windows),
  );
  return {
    raw: share(at(layer.arrays.firings, k)),
    smooth: share(layer.smoothed(k)),
    low: band[0],
    high: band[1],
    mask: layer.arrays.mask ? Array.from(at(layer.arrays.mask, k), (v) => v / 255) : null,
  };
}

/** The chart in words, for those who do not see it.
 * @param {Curves} c */
function inWords(c) {
  const top = c.smooth.indexOf(Math.max(...c.smooth));
  const outside = c.smooth.filter((v, i) => v < c.low[i] || v > c.high[i]).length;
  const mask = c.mask ? ` The mask is largest at position ${c.mask.indexOf(1) + 1}.` : "";
  return (
    `The smoothed firing rate is highest at position ${top + 1}, with ${percent(c.smooth[top])} of windows. ` +
    `It leaves the null band at ${outside} of ${c.smooth.length} positions.${mask}`
  );
}

/** The chart, drawn for the width it has and again when that changes.
 * @param {Facts} facts @param {Layer} layer @param {number} k @param {Axis} axis @param {Node} axisChoice */
function profileChart(facts, layer, k, axis, axisChoice) {
  const c = curves(facts, layer, k);
  /** @param {number} t */
  const reading = (t) =>
    `t = ${t}: on in ${percent(c.raw[t - 1])} of windows, smoothed ${percent(c.smooth[t - 1])}, ` +
    `null ${number(100 * c.low[t - 1], 2)} to ${percent(c.high[t - 1], 2)}` +
    (c.mask ? `, mask ${number(c.mask[t - 1], 2)}` : "");
  const longest = c.raw.map((_, i) => reading(i + 1)).reduce((a, b) => (b.length > a.length ? b : a));
  const read = h("span");
  const readout = h("p", { class: "readout" }, read, h("span", { class: "room" }, longest));
  const rest = "Point at a position to read its values.";
  const holder = h("div", { class: "chart" });
  let drawn = 0;

  /** @param {number} width */
  function draw(width) {
    const plot = width < 480 ? 150 : 180;
    const [left, right, bottom] = [PAD.left, width - PAD.right, PAD.top + plot];
    const floor = bottom + (c.mask ? STRIP.gap + STRIP.height : 0);
    const height = floor + PAD.bottom;
    const top = Math.max(...c.raw, ...c.high, 1e-6) * 1.06;
    const x = positionScale(facts, axis, left, right);
    /** @type {Scale} */
    const y = (v) => bottom - (v / top) * (bottom - PAD.top);
    /** @type {Scale} */
    const m = (v) => floor - v * STRIP.height;
    const cross = svg("line", { class: "cross", y1: PAD.top, y2: floor, visibility: "hidden" });
    /** @param {PointerEvent} event */
    const moved = (event) => {
      const px = event.clientX - holder.getBoundingClientRect().left;
      let t = 1;
      for (let u = 1; u < facts.T; u++) if (Math.abs(x(u) - px) < Math.abs(x(t) - px)) t = u;
      fill(cross, { x1: x(t), x2: x(t), visibility: "visible" }, []);
      read.textContent = reading(t);
    };
    const left_axis = ticks(top).map((v) => [
      svg("line", { class: "grid", x1: left, x2: right, y1: y(v), y2: y(v) }),
      svg("text", { x: left - 6, y: y(v) + 4, "text-anchor": "end" }, `${number(100 * v, 2)}${v ? " %" : ""}`),
    ]);
    const bottom_axis = positionTicks(facts, axis).map((t) => [
      svg("line", { class: "tick", x1: x(t), x2: x(t), y1: floor, y2: floor + 4 }),
      svg("text", { x: x(t), y: floor + 16, "text-anchor": t > 999 && t === facts.T - 1 ? "end" : "middle" }, String(t)),
    ]);
    const mask = c.mask && [
      svg("text", { x: left - 6, y: m(0.5) + 4, "text-anchor": "end", class: "mask" }, "mask"),
      svg("path", { class: "mask", d: steps(c.mask, x, m) }),
      svg("line", { class: "axis", x1: left, x2: right, y1: floor, y2: floor }),
    ];
    holder.replaceChildren(
      svg(
        "svg",
        {
          width,
          height,
          viewBox: `0 0 ${width} ${height}`,
          role: "img",
          "aria-labelledby": "chart-title chart-desc",
          onpointermove: moved,
          onpointerdown: moved,
          onpointerleave: () => {
            cross.setAttribute("visibility", "hidden");
            read.textContent = rest;
          },
        },
        svg("title", { id: "chart-title" }, `Position profile of feature ${k}`),
        svg("desc", { id: "chart-desc" }, inWords(c)),
        left_axis,
        svg("path", { class: "raw", d: steps(c.raw, x, y) }),
        svg("path", { class: "band", d: between(c.low, c.high, x, y) }),
        svg("path", { class: "smooth", d: line(c.smooth, x, y) }),
        svg("line", { class: "axis", x1: left, x2: right, y1: bottom, y2: bottom }),
        mask,
        bottom_axis,
        svg("text", { x: (left + right) / 2, y: height - 3, "text-anchor": "middle" }, "position t"),
        cross,
      ),
    );
  }

  new ResizeObserver(([entry]) => {
    const width = Math.floor(entry.contentRect.width);
    if (width && width !== drawn) draw((drawn = width));
  }).observe(holder);
  read.textContent = rest;
  const keys = [
    ["raw", "firing rate at each position"],
    ["smooth", `smoothed (Gaussian, sd ${facts.bandwidth})`],
    ["band", `${100 * facts.band_share} % of rotated texts`],
    ...(c.mask ? [["mask", "learned mask, of its largest value"]] : []),
  ];
  return h(
    "figure",
    { class: "profile" },
    holder,
    h(
      "figcaption",
      null,
      h(
        "ul",
        { class: "legend" },
        keys.map(([name, text]) => h("li", { class: name }, text)),
      ),
      readout,
      axisChoice,
    ),
  );
}

/** The smoothed profile as a small line, for a row of the list.
 * @param {Layer} layer @param {number} k */
function sparkline(layer, k) {
  const values = layer.smoothed(k);
  const top = Math.max(...values) || 1;
  const stride = Math.max(1, Math.floor(values.length / 42));
  let path = "";
  for (let i = 0; i < values.length; i += stride) {
    const [x, y] = [(i / (values.length - 1)) * 78 + 1, 20 - (values[i] / top) * 18];
    path += `${i ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`;
  }
  return svg(
    "svg",
    { class: "spark", width: 80, height: 22, viewBox: "0 0 80 22", "aria-hidden": "true" },
    svg("path", { d: path }),
  );
}
