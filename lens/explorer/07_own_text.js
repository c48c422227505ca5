// @ts-check
// Text of one's own, which the server that the page comes from reads with the dictionary; of a file there is none.

/** What was typed, and what of it was read with which dictionary.
 * @type {{ text: string, study: string, layer: string, read: OwnText | null, said: string }} */
const own = { text: "", study: "", layer: "", read: null, said: "" };

/** @param {App} app */
function ownTextView(app) {
  const { facts, state } = app;
  const { study, layer } = state;
  if (own.study !== study || own.layer !== layer) Object.assign(own, { study, layer, read: null, said: "" });
  const box = h(
    "textarea",
    { id: "own", rows: 4, spellcheck: "false", "aria-describedby": "own-limit", oninput: () => (own.text = box.value) },
    own.text,
  );
  const send = async () => {
    own.said = "Reading …";
    said.textContent = own.said;
    const answer = await readOwn(study, layer, own.text);
    if (own.study !== study || own.layer !== layer) return; // another dictionary was chosen meanwhile
    Object.assign(own, answer);
    state.token = 1;
    if (state.view === "own") keepingFocus(app.render);
    say(own.said);
  };
  const said = h("p", { class: "note", id: "own-said" }, own.said);
  return h(
    "section",
    { class: "reading", "aria-labelledby": "own-title" },
    h(
      "div",
      { class: "controls" },
      h("h2", { id: "own-title", tabindex: "-1" }, "Own text"),
      featureChoice(app),
    ),
    h(
      "div",
      { class: "own" },
      h("label", { for: "own" }, "Type or paste a text"),
      box,
      h("button", { type: "button", id: "read-own", onclick: send }, "Read it"),
      h("span", { class: "note", id: "own-limit" }, `${count(facts.reads ?? 0)} positions at most; it stays on this machine`),
    ),
    said,
    own.read && tokensBeside(app, ownShown(app, own.read)),
  );
}

/** What the server says of a text: its tokens and features, or what is wrong.
 * @param {string} study @param {string} layer @param {string} text
 * @returns {Promise<Pick<typeof own, "read" | "said">>} */
async function readOwn(study, layer, text) {
  try {
    const answer = await fetch("read", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ study, layer, text }),
    });
    const read = await answer.json();
    if (!answer.ok) return { read: null, said: read.error };
    return { read, said: `${count(read.words.length)} tokens. Colours are as in held-out text: full at its strongest activation there.` };
  } catch {
    return { read: null, said: "The server doesn't answer: start lens explore --serve again." };
  }
}

/** @param {App} app @param {OwnText} read @returns {Shown} */
function ownShown({ state }, { words, on }) {
  /** @param {number} t */
  const at = (t) => on[t].features.map((k, i) => ({ k, strength: on[t].strengths[i] }));
  return { words, strength: (t) => at(t).find(({ k }) => k === state.feature)?.strength ?? 0, on: at };
}
