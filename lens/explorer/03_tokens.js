// Text whose tokens are coloured by how strongly a feature is on, with positions above every eighth token.

const RULER = 8;

/** One token. A line break shows as an arrow; the space before a word stays outside the colour. */
function token(facts, word, t, value, highest, props) {
  const shown = (t === 0 ? word.trimStart() : word).replaceAll("\n", "↵");
  const space = /^\s/.test(shown) && shown.trim() !== "" ? shown.match(/^\s+/)[0] : "";
  const strength = value ? `, ${number((value / facts.levels) * highest)}` : "";
  const tag = props?.tag ?? "span";
  const classes = [
    "token",
    value && "on",
    t > 0 && t % RULER === 0 && "tick",
    word.includes("\n") && "break",
    props?.class,
  ];
  const element = h(
    tag,
    {
      class: classes.filter(Boolean).join(" "),
      title: `t = ${t}${strength}`,
      "data-t": t,
      vars: value ? { on: (value / facts.levels).toFixed(3) } : undefined,
      ...props?.more,
    },
    shown.slice(space.length),
  );
  return [space, element];
}

/** Tokens `from` to `to` of a window around a peak, which is marked. */
function snippet(facts, window, values, highest, peak, from, to) {
  const tokens = at(facts.arrays.tokens, window);
  const parts = [];
  if (from > 0) parts.push(h("span", { class: "cut", "aria-hidden": "true" }, "… "));
  for (let t = from; t <= to; t++) {
    const value = t === 0 ? 0 : values[t - 1];
    const props = t === peak ? { tag: "mark", class: "peak" } : {};
    parts.push(token(facts, facts.words[tokens[t]], t, value, highest, props));
  }
  if (to < facts.T - 1) parts.push(h("span", { class: "cut", "aria-hidden": "true" }, " …"));
  return h("p", { class: "text" }, parts);
}

/** Where in its window a snippet lies: a line with the snippet's stretch and its peak. */
function place(facts, from, to, peak) {
  const x = (t) => (96 * t) / (facts.T - 1) + 2;
  return svg(
    "svg",
    { class: "place", width: 100, height: 10, viewBox: "0 0 100 10", "aria-hidden": "true" },
    svg("line", { x1: x(0), x2: x(facts.T - 1), y1: 5, y2: 5, class: "whole" }),
    svg("line", { x1: x(from), x2: x(to), y1: 5, y2: 5, class: "stretch" }),
    svg("line", { x1: x(peak), x2: x(peak), y1: 0, y2: 10, class: "peak" }),
  );
}
