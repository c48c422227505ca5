// @ts-check
// The list of a layer's features: search, filter, sort, and one row per feature.

/** @type {ListColumn[]} */
const COLUMNS = [
  { key: "feature", label: "Feature", long: "number of the feature" },
  { key: "profile", label: "Profile", long: "smoothed firing rate over positions, each scaled to its own largest" },
  {
    key: "density",
    label: "Fires, %",
    long: "share of held-out text tokens on which it fires",
    show: (v) => number(v === null ? null : 100 * v, 2),
  },
  {
    key: "information",
    label: "Info",
    long: "position information: share of the entropy of firing that position explains, chance subtracted",
    show: (v) => fixed(v, 3),
  },
  {
    key: "fwhm",
    label: "Span",
    long: "full width at half maximum of the smoothed profile, in positions",
    show: (v) => number(v, 3),
  },
  {
    key: "cluster",
    label: "Cluster",
    long: "cluster of the position profile",
    show: (v) => (v === null || v < 0 ? "–" : String(v)),
  },
  {
    key: "shared_with_seeds",
    label: "Seeds",
    long: "other seeds in which the feature recurs: both cosines at least 0.7",
    others: "Twins",
    longOthers: "other dictionaries on this page with a feature in nearly its direction: a cosine of at least 0.7",
    show: (v) => String(v),
  },
];
/** @type {{ key: "density" | "information" | "fwhm", label: string, factor: number }[]} */
const RANGES = [
  { key: "density", label: "Fires, %", factor: 100 },
  { key: "information", label: "Info", factor: 1 },
  { key: "fwhm", label: "Span", factor: 1 },
];
const BATCH = 120; // rows made at a time: more follow when the end of the list is near
/** @type {Filters} */
const NO_FILTERS = { ranges: {}, positional: "", verdict: "", cluster: "", seeds: "" };

/** The columns that the list has: of profiles, those that something was measured for.
 * @param {Facts} facts @param {Layer} layer @returns {ListColumn[]} */
function columnsOf(facts, layer) {
  if (!facts.profile) return COLUMNS;
  /** @param {ListColumn} column */
  const there = ({ key }) => key !== "cluster" && (key !== "shared_with_seeds" || layer.twins.length);
  /** @type {ListColumn[]} */
  const clocks = clocksOf(layer).map(({ key, name }) => ({
    key,
    label: `Since ${name}`,
    long: `share of the entropy of firing that the tokens since ${name} explain, chance subtracted`,
    show: (v) => fixed(v, 3),
  }));
  return COLUMNS.filter(there)
    .map((c) => (c.others ? { ...c, label: c.others, long: c.longOthers ?? c.long } : c))
    .flatMap((c) => (c.key === "information" ? [c, ...clocks] : [c]));
}

/** Whether a feature fires too rarely for its position information to be more than noise.
 * @param {LayerPart} layer @param {Key} key @param {number} k */
function isWeak(layer, key, k) {
  return key === "information" && layer.columns.p[k] === null;
}

/**
 * @template {Key} K @param {LayerPart} layer @param {K} key @param {number} k
 * @returns {K extends keyof Columns ? Columns[K][number] : number} */
function value(layer, key, k) {
  const found = key === "feature" ? k : layer.columns[/** @type {keyof Columns} */ (key)][k];
  return /** @type {K extends keyof Columns ? Columns[K][number] : number} */ (found);
}

/**
 * Features that pass the search and the filters, in the order of the sort; what has no value comes last, and after it
 * what never fires. Those that peak on the words searched for, or promote them, come first: the words around a peak hold
 * almost anything; before them, those with the very word. `own` is how many they are, null if no words are searched for,
 * `firing` how many come before the silent ones.
 *
 * @param {Facts} facts @param {Layer} layer @param {Pick<State, "query" | "filters" | "sort">} state */
function chosenFeatures(facts, layer, { query, filters, sort }) {
  const asked = Number(/^(?:feature)?\s*#?\s*(\d+)$/i.exec(query.trim())?.[1] ?? NaN);
  const wanted = comparable(query.trim());
  const words = wanted && !(asked < layer.features) ? searchable(facts, layer) : null;
  const scores = words && words.map((of) => relevance(of, wanted));
  /** @param {number} k */
  const rank = (k) => (scores && scores[k] > 1 ? scores[k] : 0);
  /** @param {number} k */
  const isSilent = (k) => value(layer, "density", k) === 0;
  /** @param {number} k */
  const isFound = (k) => {
    if (!wanted) return true;
    return scores ? scores[k] > 0 : k === asked;
  };
  const found = [];
  for (let k = 0; k < layer.features; k++) if (isFound(k) && passes(layer, filters, k)) found.push(k);
  const sign = sort.down ? -1 : 1;
  found.sort((a, b) => {
    if (rank(a) !== rank(b)) return rank(b) - rank(a);
    if (isSilent(a) !== isSilent(b)) return isSilent(a) ? 1 : -1;
    const [x, y] = [a, b].map((k) => (isWeak(layer, sort.key, k) ? null : value(layer, sort.key, k)));
    if (x === null || y === null) return Number(x === null) - Number(y === null) || a - b;
    return sign * (x - y) || a - b;
  });
  const silent = found.filter((k) => rank(k) === 0 && isSilent(k)).length;
  return { found, own: scores && found.filter(rank).length, firing: found.length - silent };
}

/** @param {Layer} layer @param {Filters} filters @param {number} k */
function passes(layer, filters, k) {
  const { columns } = layer;
  if (filters.positional !== "" && columns.positional[k] !== Number(filters.positional)) return false;
  if (filters.verdict !== "" && layer.verdicts?.of[k] !== filters.verdict) return false;
  if (filters.cluster !== "" && columns.cluster[k] !== Number(filters.cluster)) return false;
  if (filters.seeds !== "" && columns.shared_with_seeds[k] < Number(filters.seeds)) return false;
  return RANGES.every(({ key, factor }) => {
    const [low, high] = filters.ranges[key] ?? [null, null];
    if (low === null && high === null) return true;
    const v = columns[key][k];
    return v !== null && (low === null || v * factor >= low) && (high === null || v * factor <= high);
  });
}

/** @param {Layer} layer */
function clusterNames(layer) {
  return [...new Set(layer.columns.cluster)].filter((c) => c >= 0).sort((a, b) => a - b);
}

/** @param {Layer} layer */
function verdictNames(layer) {
  return [...new Set(layer.verdicts?.of)].sort();
}

/** The list, with its search and filters; `app` has the state, and is told of every change.
 * @param {App} app @returns {List} */
function featureList(app) {
  const { facts, layer, state } = app;
  const body = h("tbody");
  const status = h("p", { class: "count", role: "status" });
  const end = h("div", { class: "end" });
  const unsearch = h("button", { type: "button", class: "quiet", onclick: unfind }, "Clear search");
  const [onIt, elsewhere] = facts.causal
    ? ["Peaking on it or promoting it", "More, with it nearby or suppressed"]
    : ["Peaking on it", "More, with it nearby"];
  /** @type {number[]} */
  let order = [];
  /** @type {number | null} */
  let own = null; // how many of the order are on what is searched for
  let firing = 0; // how many of the order come before those that never fire
  const columns = columnsOf(facts, layer);
  let made = 0; // how many of the order have a row

  /** @param {number} k */
  function row(k) {
    const cells = columns.map(({ key, show }) => {
      if (key === "feature")
        return h("th", { scope: "row" }, h("a", { href: app.address({ feature: k }), "data-feature": k }, String(k)));
      if (key === "profile") return h("td", null, sparkline(layer, k));
      return h("td", { class: isWeak(layer, key, k) ? `${key} weak` : key }, show?.(value(layer, key, k)));
    });
    /** @param {From<MouseEvent>} event */
    const open = (event) => {
      if (!event.target.closest("a")) app.open(k);
    };
    return h("tr", { "data-row": k, onclick: open, class: state.feature === k ? "current" : null }, cells);
  }

  function more() {
    for (const k of order.slice(made, made + BATCH)) {
      if (own && made === 0) body.append(heading(onIt, own));
      if (made === own && own < firing) body.append(heading(elsewhere, firing - own));
      if (made === firing) body.append(heading("Never fire on this text", order.length - firing));
      body.append(row(k));
      made++;
    }
  }

  function refresh() {
    ({ found: order, own, firing } = chosenFeatures(facts, layer, state));
    body.replaceChildren();
    made = 0;
    more();
    mark();
    const query = state.query.trim();
    status.textContent = howMany(query);
    unsearch.hidden = order.length > 0 || !query;
    heads.forEach(({ key, cell }) =>
      cell.setAttribute("aria-sort", state.sort.key !== key ? "none" : state.sort.down ? "descending" : "ascending"),
    );
  }

  /** @param {string} query */
  function howMany(query) {
    const all = `${count(layer.features)} features`;
    if (order.length) return order.length === layer.features ? all : `${count(order.length)} of ${all}`;
    if (!query) return "nothing passes the filters";
    return `nothing matches “${query}”${isFiltered(state) ? " and passes the filters" : ""}`;
  }

  /** @param {string} text @param {number} n */
  function heading(text, n) {
    return h("tr", { class: "heading" }, h("td", { colspan: columns.length }, text, h("span", null, ` ${count(n)}`)));
  }

  function find() {
    state.query = search.value;
    refresh();
    app.keepAddress();
  }

  function unfind() {
    search.value = "";
    find();
    search.focus();
  }

  const heads = columns.flatMap(({ key, label, long }) => {
    if (key === "profile") return [];
    const again = () => {
      state.sort = { key, down: state.sort.key === key ? !state.sort.down : key !== "feature" && key !== "cluster" };
      refresh();
    };
    const button = h("button", { type: "button", title: long, onclick: again }, label);
    return [{ key, cell: h("th", { scope: "col", class: key }, button) }];
  });
  const cells = heads.map(({ cell }) => cell);
  cells.splice(1, 0, h("th", { scope: "col" }, columns[1].label));

  const search = h("input", {
    type: "search",
    id: "search",
    placeholder: facts.causal ? "number, token or text" : "number or text",
    value: state.query,
    autocomplete: "off",
    spellcheck: "false",
    "aria-label": "Search features by number, logit-lens token or text of their contexts",
    oninput: find,
  });
  new IntersectionObserver(
    (entries) => {
      if (entries.some((e) => e.isIntersecting)) more();
    },
    { rootMargin: "600px" },
  ).observe(end);
  refresh();
  const element = h(
    "section",
    { class: "list", "aria-label": "Features" },
    h("div", { class: "finder" }, search, status, unsearch, csvButton(app, () => order), filterPanel(app, refresh)),
    h(
      "div",
      { class: "rows" },
      h(
        "table",
        null,
        h("caption", { class: "unseen" }, `Features of ${layerName(layer.layer)}`),
        h("thead", null, h("tr", null, cells)),
        body,
      ),
      end,
    ),
  );

  /** Show and focus the feature `step` rows away from the current one; the first one if that is not in the list.
   * @param {number} step */
  function move(step) {
    const here = order.indexOf(state.feature ?? -1);
    const next = order[here < 0 ? 0 : Math.min(order.length - 1, Math.max(0, here + step))];
    if (next === undefined) return;
    while (made <= order.indexOf(next)) more();
    app.show(next);
    focus();
  }

  function focus() {
    /** @type {HTMLElement | null} */
    const link = element.querySelector(`a[data-feature="${state.feature}"]`);
    link?.focus({ preventScroll: true });
    link?.closest("tr")?.scrollIntoView({ block: "nearest" });
  }

  function mark() {
    for (const old of body.querySelectorAll(".current")) old.classList.remove("current");
    for (const old of body.querySelectorAll("[aria-current]")) old.removeAttribute("aria-current");
    const current = body.querySelector(`tr[data-row="${state.feature}"]`);
    current?.classList.add("current");
    current?.querySelector("a")?.setAttribute("aria-current", "true");
  }

  return { element, refresh, move, mark, focus, first: () => order[0] };
}

/** Filters by number and by kind, folded away until they are wanted.
 * @param {App} app @param {() => void} refresh */
function filterPanel(app, refresh) {
  const { facts, layer, state } = app;
  const changed = () => {
    summary.classList.toggle("active", isFiltered(state));
    refresh();
  };
  /** @param {Key} key @param {0 | 1} side @param {string} label */
  const bound = (key, side, label) =>
    h("input", {
      type: "number",
      step: "any",
      inputmode: "decimal",
      "aria-label": label,
      placeholder: side ? "max" : "min",
      value: state.filters.ranges[key]?.[side] ?? "",
      oninput: (event) => {
        const pair = state.filters.ranges[key] ?? [null, null];
        pair[side] = event.target.value === "" ? null : Number(event.target.value);
        state.filters.ranges = { ...state.filters.ranges, [key]: pair };
        changed();
      },
    });
  const ranges = RANGES.map(({ key, label }) =>
    h(
      "fieldset",
      null,
      h("legend", null, label),
      bound(key, 0, `${label}, at least`),
      bound(key, 1, `${label}, at most`),
    ),
  );
  /** @param {keyof Omit<Filters, "ranges">} key @param {string} label @param {[string, string][]} options */
  const select = (key, label, options) =>
    h(
      "label",
      null,
      label,
      h(
        "select",
        {
          onchange: (event) => {
            state.filters[key] = event.target.value;
            changed();
          },
        },
        options.map(([v, text]) => h("option", { value: v, selected: v === state.filters[key] }, text)),
      ),
    );
  /** @param {string} name @returns {[string, string]} */
  const same = (name) => [name, name];
  /** @param {number} n @returns {[string, string]} */
  const atLeast = (n) => [String(n), `at least ${n} of ${others} ${othersAre(facts)}`];
  const others = layer.twins.length;
  const summary = h("summary", { class: isFiltered(state) ? "active" : null }, "Filters");
  const clear = () => {
    state.filters = structuredClone(NO_FILTERS);
    state.query = "";
    app.render();
    app.keepAddress();
  };
  return h(
    "details",
    { open: isFiltered(state) },
    summary,
    h(
      "div",
      { class: "filters" },
      ranges,
      select("positional", "Position test", [
        ["", "any"],
        ["1", "depends on position"],
        ["0", "does not"],
      ]),
      layer.verdicts &&
        select("verdict", "Verdict", [["", "any"], ...verdictNames(layer).map(same)]),
      layer.clusters &&
        select("cluster", "Cluster", [["", "any"], ...clusterNames(layer).map(String).map(same), ["-1", "none"]]),
      others > 0 &&
        select("seeds", "Recurs in", [
          ["", "any"],
          ...layer.twins.map((_, i) => atLeast(i + 1)),
        ]),
      h("button", { type: "button", onclick: clear }, "Clear"),
    ),
  );
}

/** @param {Pick<State, "filters">} state */
function isFiltered({ filters }) {
  return (
    filters.positional !== "" ||
    filters.verdict !== "" ||
    filters.cluster !== "" ||
    filters.seeds !== "" ||
    Object.values(filters.ranges).flat().some((bound) => bound !== null)
  );
}
