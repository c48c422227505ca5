// @ts-check
// Text whose tokens are coloured by how strongly a feature is on, with positions above every eighth token.

const RULER = 8;

/** One token. A line break shows as an arrow; the space before a word stays outside the colour.
 * @param {string} word @param {number} t @param {number} strength @param {number} highest
 * @param {{ tag?: "span" | "mark", class?: string, more?: Props }} [props] */
function token(word, t, strength, highest, props) {
  const shown = (t === 0 ? word.trimStart() : word).replaceAll("\n", "↵");
  const space = shown.trim() === "" ? "" : shown.slice(0, shown.length - shown.trimStart().length);
  const share = Math.min(1, strength / highest); // more than 1 in a text of one's own, NaN where nothing is on
  const tag = props?.tag ?? "span";
  const classes = [
    "token",
    strength > 0 && "on",
    t > 0 && t % RULER === 0 && "tick",
    word.includes("\n") && "break",
    props?.class,
  ];
  const element = h(
    tag,
    {
      class: classes.filter(Boolean).join(" "),
      title: strength > 0 ? `t = ${t}, ${number(strength)}` : `t = ${t}`,
      "data-t": t,
      vars: strength > 0 ? { on: share.toFixed(3) } : undefined,
      ...props?.more,
    },
    shown.slice(space.length),
  );
  return [space, element];
}

/** Tokens `from` to `to` of a window around a peak, which is marked.
 * @param {Facts} facts @param {number} window @param {Numbers} values @param {number} highest @param {number} peak
 * @param {number} from @param {number} to */
function snippet(facts, window, values, highest, peak, from, to) {
  const tokens = at(facts.arrays.tokens, window);
  /** @type {Child[]} */
  const parts = [];
  if (from > 0) parts.push(h("span", { class: "cut", "aria-hidden": "true" }, "… "));
  for (let t = from; t <= to; t++) {
    const strength = t === 0 ? 0 : (values[t - 1] / facts.levels) * highest;
    const marked = /** @type {const} */ ({ tag: "mark", class: "peak" });
    parts.push(token(facts.words[tokens[t]], t, strength, highest, t === peak ? marked : undefined));
  }
  if (to < facts.T - 1) parts.push(h("span", { class: "cut", "aria-hidden": "true" }, " …"));
  return h("p", { class: "text" }, parts);
}

/** Where in its window a snippet lies: a line with the snippet's stretch and its peak.
 * @param {Facts} facts @param {number} from @param {number} to @param {number} peak */
function place(facts, from, to, peak) {
  /** @type {Scale} */
  const x = (t) => (96 * t) / (facts.T - 1) + 2;
  return svg(
    "svg",
    { class: "place", width: 100, height: 10, viewBox: "0 0 100 10", "aria-hidden": "true" },
    svg("line", { x1: x(0), x2: x(facts.T - 1), y1: 5, y2: 5, class: "whole" }),
    svg("line", { x1: x(from), x2: x(to), y1: 5, y2: 5, class: "stretch" }),
    svg("line", { x1: x(peak), x2: x(peak), y1: 0, y2: 10, class: "peak" }),
  );
}
