// @ts-check
// Keys, theme and start.

/** @param {Element} target */
function isTyping(target) {
  return target.closest("input:not([type=radio]):not([type=checkbox]), select, textarea, dialog") !== null;
}

/** @type {Record<string, () => unknown>} */
const KEYS = {
  j: () => app.list?.move(1),
  k: () => app.list?.move(-1),
  "/": () => {
    if (state.view !== "features") return go({ view: "features" }).then(() => byId("search").focus());
    return (close(), byId("search").focus());
  },
  "?": () => byId("help").showModal(),
  "[": () => neighbour(-1),
  "]": () => neighbour(1),
};
Object.keys(VIEWS).forEach((_, i) => {
  KEYS[String(i + 1)] = () => go({ view: viewsOf(app.facts)[i] ?? state.view });
});

const ARROWS = new Map([["ArrowDown", "j"], ["ArrowUp", "k"]]); // in the list

/** @param {number} step */
function neighbour(step) {
  const names = [...studies.get(state.study).layers.keys()];
  const next = names[names.indexOf(state.layer) + step];
  if (next) go({ layer: next });
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || byId("help").open) return;
  const { key } = event;
  const target = /** @type {HTMLInputElement} */ (event.target);
  if (key === "Escape") {
    if (target.id === "search" && target.value) return;
    if (state.view === "features") close();
    return;
  }
  if (isTyping(target)) {
    if (target.id === "search" && (key === "Enter" || key === "ArrowDown") && app.list?.first() !== undefined) {
      event.preventDefault();
      state.feature = null;
      app.list?.move(0);
    }
    return;
  }
  const inList = target === document.body || target.closest(".rows") !== null;
  const name = (inList && ARROWS.get(key)) || key;
  if (key === "Enter" && target.dataset.feature !== undefined && state.view === "features") {
    event.preventDefault();
    open(Number(target.dataset.feature));
  } else if (name in KEYS && (name !== key || byId("shortcuts").checked)) {
    event.preventDefault();
    KEYS[name]();
  }
});

document.addEventListener("click", (event) => {
  const target = /** @type {Element} */ (event.target);
  /** @type {HTMLElement | null} */
  const link = target.closest("a[data-feature]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  open(Number(link.dataset.feature));
});

/** @param {"light" | "dark"} theme */
function applyTheme(theme) {
  document.documentElement.dataset.theme = theme;
  byId("theme").textContent = theme === "dark" ? "Light" : "Dark";
  byId("theme").setAttribute("aria-label", `Switch to ${theme === "dark" ? "light" : "dark"} colours`);
}

const prefersDark = window.matchMedia("(prefers-color-scheme: dark)");
prefersDark.addEventListener("change", () => applyTheme(prefersDark.matches ? "dark" : "light"));
byId("theme").addEventListener("click", () =>
  applyTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"),
);
byId("ask").addEventListener("click", () => byId("help").showModal());
window.addEventListener("popstate", follow);

applyTheme(prefersDark.matches ? "dark" : "light");
if (!("DecompressionStream" in window)) {
  byId("view").replaceChildren(
    h("p", { class: "wait" }, "This browser is too old to unpack the page: any of 2023 or later will do."),
  );
} else {
  follow().then(() => performance.mark("listed"));
}
