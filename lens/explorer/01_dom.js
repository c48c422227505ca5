// @ts-check
// Elements from data. Text only ever becomes text: nothing in this page parses a string as HTML.

const SVG = "http://www.w3.org/2000/svg";

/**
 * @template {HTMLElement | SVGElement} E @param {E} element @param {Props | null | undefined} props
 * @param {Child[]} children */
function fill(element, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), /** @type {EventListener} */ (value));
    else if (name === "vars") for (const [key, v] of Object.entries(value)) element.style.setProperty(`--${key}`, v);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  const all = /** @type {(Node | string | null | undefined | false)[]} */ (children.flat(/** @type {1} */ (Infinity)));
  element.append(...all.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** An HTML element: attributes (`on...`: listeners, `vars`: CSS variables), then children, strings as text.
 * @template {keyof HTMLElementTagNameMap} Tag @param {Tag} tag @param {Props | null} [props]
 * @param {Child[]} children */
function h(tag, props, ...children) {
  return fill(document.createElement(tag), props, children);
}

/** The same for SVG.
 * @template {keyof SVGElementTagNameMap} Tag @param {Tag} tag @param {Props | null} [props]
 * @param {Child[]} children */
function svg(tag, props, ...children) {
  return fill(document.createElementNS(SVG, tag), props, children);
}

/** @template {string} Id @param {Id} id @returns {Id extends keyof Known ? Known[Id] : HTMLElement} */
function byId(id) {
  return /** @type {Id extends keyof Known ? Known[Id] : HTMLElement} */ (document.getElementById(id));
}

/** Rebuild a part of the page; what had the focus has it afterwards, if it has an id and is still there.
 * @param {() => void} rebuild */
function keepingFocus(rebuild) {
  const id = document.activeElement?.id;
  rebuild();
  if (id) document.getElementById(id)?.focus({ preventScroll: true });
}

/** Said aloud by a screen reader, without moving the focus.
 * @param {string} text */
function say(text) {
  byId("said").textContent = text;
}

/** A number with `digits` significant digits, a true minus sign, and a dash for what is not there.
 * @param {number | null | undefined} value */
function number(value, digits = 3) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  const text =
    size !== 0 && (size < 1e-4 || size >= 1e6)
      ? value.toExponential(Math.max(0, digits - 2))
      : size >= 10 ** (digits - 1)
        ? value.toFixed(0)
        : String(Number(value.toPrecision(digits)));
  return text.replace("-", "−");
}

/** A number with a fixed number of decimals, for columns.
 * @param {number | null | undefined} value @param {number} decimals */
function fixed(value, decimals) {
  return value === null || value === undefined
    ? "–"
    : value
        .toFixed(decimals)
        .replace("-", "−")
        .replace(/^−(0(\.0+)?)$/, "$1");
}

/** @param {number | null} share */
function percent(share, digits = 3) {
  const text = number(share === null ? null : 100 * share, digits);
  return text === "–" ? text : `${text} %`;
}

/** @param {number} n */
function count(n) {
  return n.toLocaleString("en");
}

/** @param {string} name */
function layerName(name) {
  return /^\d+$/.test(name) ? `layer ${name}` : name;
}
