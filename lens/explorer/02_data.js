// @ts-check
// The data that the page carries: one compressed part per study, one per layer, unpacked when first needed.

const DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;,=>?@^_`{|}~";
const TYPES = { u8: Uint8Array, u16: Uint16Array, i32: Int32Array, f32: Float32Array };

/** A part's header, with its arrays as {data, shape}; see pack.py for the form.
 * @param {HTMLScriptElement} script */
async function unpack(script) {
  const stream = new Blob([fromBase85(script.textContent)]).stream().pipeThrough(new DecompressionStream("gzip"));
  const buffer = await new Response(stream).arrayBuffer();
  const length = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  /** @type {Record<string, Packed<number>>} */
  const arrays = {};
  /** @type {[string, [keyof typeof TYPES, number[], number]][]} */
  const listed = Object.entries(header.arrays);
  for (const [name, [type, shape, offset]] of listed) {
    const size = shape.reduce((a, b) => a * b, 1);
    arrays[name] = { data: new TYPES[type](fromPlanes(buffer, 4 + length + offset, size, TYPES[type].BYTES_PER_ELEMENT)), shape };
  }
  return { ...header, arrays };
}

/** The bytes of a text whose five characters are four bytes each, at its end fewer; see pack.py for the digits.
 * @param {string} text */
function fromBase85(text) {
  const value = new Uint8Array(128);
  for (let i = 0; i < DIGITS.length; i++) value[DIGITS.charCodeAt(i)] = i;
  const groups = Math.ceil(text.length / 5);
  const bytes = new Uint8Array(4 * groups);
  const view = new DataView(bytes.buffer);
  for (let group = 0; group < groups; group++) {
    let number = 0;
    for (let i = 5 * group; i < 5 * group + 5; i++) number = 85 * number + (i < text.length ? value[text.charCodeAt(i)] : 84);
    view.setUint32(4 * group, number);
  }
  return bytes.subarray(0, bytes.length - (5 * groups - text.length));
}

/** Numbers of several bytes as a processor has them, from all first bytes, all second bytes and so on.
 * @param {ArrayBuffer} buffer @param {number} start @param {number} size @param {number} width of one, in bytes */
function fromPlanes(buffer, start, size, width) {
  const planes = new Uint8Array(buffer, start, size * width);
  const bytes = new Uint8Array(size * width);
  for (let plane = 0; plane < width; plane++) {
    for (let i = 0; i < size; i++) bytes[i * width + plane] = planes[plane * size + i];
  }
  return bytes.buffer;
}

/** The part of an array at the given leading indices: a number when they are complete, else a typed array.
 * @template {number} Rank @template {number[]} Index @param {Packed<Rank>} array @param {Index} index
 * @returns {Rank extends Index["length"] ? number : Numbers} */
function at(array, ...index) {
  const { data, shape } = array;
  let start = 0;
  shape.forEach((n, axis) => {
    start = start * n + (index[axis] ?? 0);
  });
  const size = shape.slice(index.length).reduce((a, b) => a * b, 1);
  const found = index.length === shape.length ? data[start] : data.subarray(start, start + size);
  return /** @type {Rank extends Index["length"] ? number : Numbers} */ (found);
}

/** Every study of the page, by name: its scripts, not yet unpacked.
 * @returns {Studies} */
function foundStudies() {
  const found = new Map();
  /** @type {NodeListOf<HTMLScriptElement>} */
  const scripts = document.querySelectorAll("script[data-study]");
  for (const script of scripts) {
    const { study, layer } = script.dataset;
    if (!found.has(study)) found.set(study, { name: study, layers: new Map(), opened: new Map() });
    if (layer === undefined) found.get(study).script = script;
    else found.get(study).layers.set(layer, script);
  }
  return found;
}

/** @param {Study} study @returns {Promise<Facts>} */
async function openStudy(study) {
  return (study.facts ??= await unpack(study.script));
}

/** @param {Study} study @param {string} name @returns {Promise<Layer>} */
async function openLayer(study, name) {
  const script = /** @type {HTMLScriptElement} */ (study.layers.get(name));
  const layer = study.opened.get(name) ?? prepared(await openStudy(study), await unpack(script));
  study.opened.set(name, layer);
  return layer;
}

/** A layer with room for the words that a search looks through, and `smoothed`: a feature's profile, smoothed when it
 * is first asked for, since there may be many thousand.
 * @param {Facts} facts @param {LayerPart} layer @returns {Layer} */
function prepared(facts, layer) {
  const P = facts.T - 1;
  const weights = kernel(P, facts.bandwidth);
  const made = new Map();
  /** @param {Numbers} firings */
  const smooth = (firings) => {
    const values = new Float32Array(P);
    for (let t = 0; t < P; t++) for (let u = 0; u < P; u++) values[t] += weights[t * P + u] * firings[u];
    return values;
  };
  /** @param {number} k */
  const smoothed = (k) => {
    if (!made.has(k)) made.set(k, smooth(at(layer.arrays.firings, k)));
    return made.get(k);
  };
  return { ...layer, smoothed, words: null };
}

/** Gaussian weights over positions, each row with sum 1: what lens.measure.spans.smooth does.
 * @param {number} P @param {number} bandwidth */
function kernel(P, bandwidth) {
  const weights = new Float64Array(P * P);
  for (let t = 0; t < P; t++) {
    let total = 0;
    for (let u = 0; u < P; u++) total += weights[t * P + u] = Math.exp(-0.5 * ((t - u) / bandwidth) ** 2);
    for (let u = 0; u < P; u++) weights[t * P + u] /= total;
  }
  return weights;
}

/** The clocks that features were tested for beside the position: name, and the column of what they explain.
 * @param {Pick<LayerPart, "columns">} layer */
function clocksOf(layer) {
  const found = Object.keys(layer.columns).map((key) => /^since_(\w+)_information$/.exec(key));
  return found.filter((match) => !!match).map(([key, name]) => ({ key: /** @type {`since_${string}`} */ (key), name }));
}

/** Text as a search compares it: in lower case, with the signs that the page shows for line breaks and spaces.
 * @param {string} text */
function comparable(text) {
  return text.toLowerCase().replaceAll("\n", "↵").replaceAll(" ", "·");
}

/** What a search looks through: of every feature the tokens that it peaks on or promotes, and all the rest.
 * @param {Facts} facts @param {Layer} layer */
function searchable(facts, layer) {
  layer.words ??= Array.from({ length: layer.features }, (_, k) => {
    const contexts = contextsOf(facts, layer, k);
    const promoted = lensWords(layer, "promoted", k);
    const suppressed = lensWords(layer, "suppressed", k);
    const peaks = contexts.map(({ window, peak }) => facts.words[at(facts.arrays.tokens, window, peak)]);
    const around = contexts.map(({ window, peak }) => textAround(facts, window, peak));
    return {
      own: [...peaks, ...promoted].map(comparable),
      rest: [...suppressed, ...around].map(comparable).join("\n"),
    };
  });
  return layer.words;
}

/** The tokens that a feature promotes or suppresses; none without a logit lens.
 * @param {LayerPart} layer @param {"promoted" | "suppressed"} which @param {number} k @returns {string[]} */
function lensWords({ lens }, which, k) {
  return lens ? lens[which][k].map((i) => lens.words[i]) : [];
}

/** How well a feature answers a search: 3, it peaks on the very word or promotes it; 2, on one that holds it; 1, the
 * word is nearby or suppressed; 0, not at all.
 * @param {Searched} of @param {string} wanted */
function relevance({ own, rest }, wanted) {
  const word = bare(wanted);
  if (word && own.some((token) => bare(token) === word)) return 3;
  return own.some((token) => token.includes(wanted)) ? 2 : rest.includes(wanted) ? 1 : 0;
}

/** A token without the signs for the space and the line breaks around it.
 * @param {string} token */
function bare(token) {
  return token.replace(/^[·↵]+|[·↵]+$/g, "");
}

/** The contexts of a feature, bucket by bucket, the strongest first.
 * @param {Facts} facts @param {LayerPart} layer @param {number} k */
function contextsOf(facts, layer, k) {
  const { context_count, context_window, context_peak, context_activation, highest } = layer.arrays;
  /** @type {Context[]} */
  const found = [];
  facts.buckets.forEach((_, b) => {
    for (let c = 0; c < at(context_count, k, b); c++) {
      const values = at(context_activation, k, b, c);
      const peak = at(context_peak, k, b, c);
      const strength = (values[peak - 1] / facts.levels) * at(highest, k);
      found.push({ bucket: b, window: at(context_window, k, b, c), peak, values, strength });
    }
  });
  return found;
}

const AROUND = 12; // tokens shown on either side of a peak

/** @param {Facts} facts @param {number} window @param {number} peak */
function textAround(facts, window, peak) {
  const tokens = at(facts.arrays.tokens, window);
  let text = "";
  for (let t = Math.max(1, peak - AROUND); t <= Math.min(facts.T - 1, peak + AROUND); t++)
    text += facts.words[tokens[t]];
  return text;
}

/** Where a window comes from, in words.
 * @param {Facts} facts @param {number} window */
function source(facts, window) {
  const start = at(facts.arrays.start, window);
  return `${facts.documents[at(facts.arrays.document, window)]}, token ${count(start)}`;
}
