// @ts-check
// The page: which study, layer, view and feature it shows, kept in the address so that a link leads back to it.

const VIEWS = { features: "Features", text: "Text", own: "Own text", clusters: "Clusters", about: "About" };

/** The views that there are: profiles are not clustered, and only a server reads a text.
 * @param {Facts} facts @returns {View[]} */
function viewsOf(facts) {
  const all = /** @type {View[]} */ (Object.keys(VIEWS));
  return all.filter((view) => !(view === "clusters" && facts.profile) && !(view === "own" && !facts.reads));
}

const studies = foundStudies();
/** @type {State} */
const state = {
  study: [...studies.keys()][0],
  layer: "", // none before the first is shown
  view: "features",
  feature: null,
  passage: 0,
  token: 1,
  query: "",
  filters: structuredClone(NO_FILTERS),
  sort: { key: "information", down: true },
  axis: "linear",
};
/** @type {App} */
const app = {
  state,
  facts: /** @type {Facts} */ ({}), // until `go` has opened them
  layer: /** @type {Layer} */ ({}),
  list: null,
  address,
  keepAddress,
  go,
  open,
  show,
  close,
  render,
  renderCard,
};
let opened = false; // whether the card covers the list, where there is room for only one of them

/** The address of a place in the page, for a link: what is not named stays as it is, and so does the search.
 * @param {Partial<State>} change */
function address(change = {}) {
  const { study, layer, view, feature } = { ...state, ...change };
  return `#/${[study, layer, view, feature ?? ""].map((part) => encodeURIComponent(part)).join("/")}`;
}

/** The same with what is searched for, as the browser shows it.
 * @param {Partial<State>} [change] */
function fullAddress(change) {
  const query = state.query.trim();
  return address(change) + (query && `/${encodeURIComponent(query)}`);
}

/** Have the browser's address say what is shown. */
function keepAddress() {
  if (fullAddress() !== location.hash) history.replaceState(null, "", fullAddress());
}

/** What the address asks for; a layer that there is not leaves no feature either.
 * @returns {Partial<State>} */
function readAddress() {
  /** @type {string[]} */
  let parts = [];
  try {
    parts = location.hash.split("/").map(decodeURIComponent);
  } catch {} // a broken escape
  const [start, study, layer, view, feature, query] = parts;
  if (start !== "#" || !studies.has(study)) return {};
  const known = studies.get(study).layers.has(layer);
  return {
    study,
    layer: known ? layer : "",
    view: Object.hasOwn(VIEWS, view ?? "") ? /** @type {View} */ (view) : "features",
    feature: known && /^\d+$/.test(feature ?? "") ? Number(feature) : null,
    query: query ?? state.query,
  };
}

/** Show what the address says, and correct it where it asks for what there is not. */
async function follow() {
  const place = readAddress();
  opened = (place.feature ?? null) !== null;
  await go(place, { history: false });
  keepAddress();
}

/** Change what is shown; other layers have other features, so the choice of one does not outlive its layer.
 * @param {Partial<State>} change */
async function go(change, { history: remember = true } = {}) {
  const before = { ...state };
  Object.assign(state, change);
  const study = studies.get(state.study);
  if (state.study !== before.study) Object.assign(state, { passage: 0, token: 1 });
  app.facts = await openStudy(study);
  if (!study.layers.has(state.layer)) state.layer = middleLayer(study);
  if (!viewsOf(app.facts).includes(state.view)) state.view = "features";
  const moved = state.study !== before.study || state.layer !== before.layer;
  if (moved && before.layer !== "") {
    state.filters.cluster = "";
    state.filters.verdict = "";
    if (!("feature" in change)) state.feature = null;
  }
  app.layer = await openLayer(study, state.layer);
  if (state.feature !== null && state.feature >= app.layer.features) state.feature = null;
  if (remember && fullAddress() !== location.hash) history.pushState(null, "", fullAddress());
  if (!moved && before.view === state.view && before.query === state.query && app.list) {
    app.list.mark();
    renderCard();
    return;
  }
  keepingFocus(render);
  if (before.layer === "") return;
  if (moved) say(`${state.study}, ${layerName(state.layer)}`);
  if (before.view !== state.view) headingOf(byId("view")).focus({ preventScroll: true });
}

/** What is first read of a view: its title, if it has one.
 * @param {HTMLElement} view */
function headingOf(view) {
  return view.querySelector("h2") ?? view;
}

/** The middle one of the layers above the embedding.
 * @param {Study} study */
function middleLayer(study) {
  const blocks = [...study.layers.keys()].filter((name) => /^\d+$/.test(name));
  const names = blocks.length ? blocks : [...study.layers.keys()];
  return names[Math.floor((names.length - 1) / 2)];
}

/** Show a feature's card beside the list, and leave the focus where it is.
 * @param {number} k */
function show(k) {
  state.feature = k;
  keepAddress();
  app.list?.mark();
  renderCard();
}

/** Open a feature's card and go to it.
 * @param {number} k */
function open(k) {
  opened = true;
  if (k !== state.feature) history.pushState(null, "", address({ feature: k }));
  show(k);
  byId("card-title").focus({ preventScroll: true });
}

/** Back to the list; where the card had covered it, the address is the list's again. */
function close() {
  if (app.list && !app.list.element.checkVisibility()) history.replaceState(null, "", fullAddress({ feature: null }));
  opened = false;
  document.body.classList.remove("opened");
  app.list?.focus();
}

function renderCard() {
  document.body.classList.toggle("opened", opened);
  keepingFocus(() => document.querySelector(".card")?.replaceWith(featureCard(app)));
  nameFeature();
}

function render() {
  renderTop();
  byId("what").textContent = inShort(app.facts, app.layer);
  document.body.dataset.view = state.view;
  document.body.classList.toggle("opened", opened && state.view === "features");
  app.list = null;
  const view = byId("view");
  const others = { text: textView, own: ownTextView, clusters: clusterView, about: aboutView };
  if (state.view !== "features") {
    view.replaceChildren(others[state.view](app));
    nameFeature();
    return;
  }
  app.list = featureList(app);
  view.replaceChildren(app.list.element, h("article", { class: "card" }));
  if (window.matchMedia("(min-width: 60rem)").matches) state.feature ??= app.list.first() ?? null;
  app.list.mark();
  renderCard();
}

/** The feature in the title of the tab and in the links to the other views. */
function nameFeature() {
  const feature = state.feature === null ? "" : `Feature ${state.feature}, `;
  document.title = `${feature}${layerName(state.layer)} – TemporalLens explorer (${state.study})`;
  for (const link of byId("views").querySelectorAll("a"))
    link.href = address({ view: /** @type {View} */ (link.dataset.view) });
}

function renderTop() {
  const study = studies.get(state.study);
  /** @param {string} name */
  const layer = (name) =>
    h(
      "label",
      null,
      h("input", {
        type: "radio",
        name: "layer",
        id: `layer-${name}`,
        value: name,
        checked: name === state.layer,
        onchange: () => go({ layer: name }),
      }),
      h("span", null, name),
    );
  const kind = app.facts.profile ? "Dictionary " : "Study ";
  /** @param {string} name */
  const option = (name) => h("option", { value: name, selected: name === state.study }, name);
  byId("choose").replaceChildren(
    studies.size === 1
      ? h("span", { class: "study" }, kind, h("b", null, state.study))
      : h(
          "label",
          { class: "study" },
          kind,
          h(
            "select",
            { id: "study", onchange: (event) => go({ study: event.target.value }) },
            [...studies.keys()].map(option),
          ),
        ),
    h("fieldset", { class: "layers" }, h("legend", null, "Layer"), [...study.layers.keys()].map(layer)),
  );
  byId("views").replaceChildren(
    ...viewsOf(app.facts).map((view) =>
      h("a", { "data-view": view, "aria-current": view === state.view ? "page" : null }, VIEWS[view]),
    ),
  );
}
