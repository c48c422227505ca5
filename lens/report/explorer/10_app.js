// The page: which study, layer, view and feature it shows, kept in the address so that a link leads back to it.

const VIEWS = { features: "Features", text: "Text", clusters: "Clusters", about: "About" };

const studies = foundStudies();
const state = {
  study: [...studies.keys()][0],
  layer: null,
  view: "features",
  feature: null,
  passage: 0,
  token: 1,
  query: "",
  filters: structuredClone(NO_FILTERS),
  sort: { key: "information", down: true },
  axis: "linear",
};
const app = { state, facts: null, layer: null, list: null, address, go, open, show, close, render, renderCard };
let opened = false; // whether the card covers the list, where there is room for only one of them

/** The address of a place in the page: what is not named stays as it is. */
function address(change = {}) {
  const { study, layer, view, feature } = { ...state, ...change };
  return `#/${[study, layer, view, feature ?? ""].map(encodeURIComponent).join("/")}`;
}

function readAddress() {
  const [, study, layer, view, feature] = location.hash.split("/").map(decodeURIComponent);
  if (!location.hash.startsWith("#/") || !studies.has(study)) return {};
  return {
    study,
    layer: studies.get(study).layers.has(layer) ? layer : null,
    view: view in VIEWS ? view : "features",
    feature: /^\d+$/.test(feature ?? "") ? Number(feature) : null,
  };
}

/** Show what the address says. */
function follow() {
  const place = readAddress();
  opened = (place.feature ?? null) !== null;
  return go(place, { history: false });
}

/** Change what is shown; other layers have other features, so the choice of one does not outlive its layer. */
async function go(change, { history: remember = true } = {}) {
  const before = { ...state };
  Object.assign(state, change);
  const study = studies.get(state.study);
  if (state.study !== before.study) Object.assign(state, { passage: 0, token: 1 });
  app.facts = await openStudy(study);
  if (!study.layers.has(state.layer)) state.layer = middleLayer(study);
  const moved = state.study !== before.study || state.layer !== before.layer;
  if (moved && before.layer !== null) {
    state.filters.cluster = "";
    if (!("feature" in change)) state.feature = null;
  }
  app.layer = await openLayer(study, state.layer);
  if (state.feature !== null && state.feature >= app.layer.features) state.feature = null;
  if (remember && address() !== location.hash) history.pushState(null, "", address());
  if (!moved && before.view === state.view && app.list) {
    app.list.mark();
    renderCard();
    return;
  }
  keepingFocus(render);
  if (before.layer === null) return;
  if (moved) say(`${state.study}, ${layerName(state.layer)}`);
  if (before.view !== state.view) (document.querySelector("#view h2") ?? byId("view")).focus({ preventScroll: true });
}

/** The middle one of the layers above the embedding. */
function middleLayer(study) {
  const blocks = [...study.layers.keys()].filter((name) => /^\d+$/.test(name));
  const names = blocks.length ? blocks : [...study.layers.keys()];
  return names[Math.floor((names.length - 1) / 2)];
}

/** Show a feature's card beside the list, and leave the focus where it is. */
function show(k) {
  state.feature = k;
  history.replaceState(null, "", address());
  app.list.mark();
  renderCard();
}

/** Open a feature's card and go to it. */
function open(k) {
  opened = true;
  if (k !== state.feature) history.pushState(null, "", address({ feature: k }));
  show(k);
  byId("card-title").focus({ preventScroll: true });
}

/** Back to the list; where the card had covered it, the address is the list's again. */
function close() {
  if (app.list && !app.list.element.checkVisibility()) history.replaceState(null, "", address({ feature: null }));
  opened = false;
  document.body.classList.remove("opened");
  app.list?.focus();
}

function renderCard() {
  document.body.classList.toggle("opened", opened);
  keepingFocus(() => document.querySelector(".card").replaceWith(featureCard(app)));
  nameTab();
}

function render() {
  renderTop();
  byId("what").textContent = inShort(app.facts, app.layer);
  document.body.dataset.view = state.view;
  document.body.classList.toggle("opened", opened && state.view === "features");
  app.list = null;
  const view = byId("view");
  if (state.view !== "features") {
    view.replaceChildren({ text: textView, clusters: clusterView, about: aboutView }[state.view](app));
    nameTab();
    return;
  }
  app.list = featureList(app);
  view.replaceChildren(app.list.element, h("article", { class: "card" }));
  if (window.matchMedia("(min-width: 60rem)").matches) state.feature ??= app.list.first() ?? null;
  app.list.mark();
  renderCard();
}

function nameTab() {
  const feature = state.feature === null ? "" : `Feature ${state.feature}, `;
  document.title = `${feature}${layerName(state.layer)} – TemporalLens explorer (${state.study})`;
}

function renderTop() {
  const study = studies.get(state.study);
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
  const option = (name) => h("option", { value: name, selected: name === state.study }, name);
  byId("choose").replaceChildren(
    studies.size === 1
      ? h("span", { class: "study" }, state.study)
      : h(
          "label",
          { class: "study" },
          "Study ",
          h(
            "select",
            { id: "study", onchange: (event) => go({ study: event.target.value }) },
            [...studies.keys()].map(option),
          ),
        ),
    h("fieldset", { class: "layers" }, h("legend", null, "Layer"), [...study.layers.keys()].map(layer)),
  );
  byId("views").replaceChildren(
    ...Object.entries(VIEWS).map(([view, label]) =>
      h("a", { href: address({ view }), "aria-current": view === state.view ? "page" : null }, label),
    ),
  );
}
