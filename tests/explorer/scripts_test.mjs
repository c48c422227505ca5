// What the page's scripts compute: the order of a search, ticks, weights; run by `node --test`.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";
import vm from "node:vm";

const read = (name) => readFileSync(new URL(`../../lens/explorer/${name}`, import.meta.url), "utf8");
const { relevance, bare, kernel, positionTicks, clocksOf, fromBase85, fromPlanes } = vm.runInNewContext(
  `${read("02_data.js")}; ${read("04_charts.js")};
  ({ relevance, bare, kernel, positionTicks, clocksOf, fromBase85, fromPlanes })`,
);
const ticksOf = (T) => [...positionTicks({ T }, "linear")];

test("the very word comes before words that hold it, and these before what is nearby", () => {
  const wanted = "king";
  assert.equal(relevance({ own: ["a", "·king"], rest: "" }, wanted), 3);
  assert.equal(relevance({ own: ["·kingdom"], rest: "·king" }, wanted), 2);
  assert.equal(relevance({ own: ["queen"], rest: "the·king·here" }, wanted), 1);
  assert.equal(relevance({ own: ["queen"], rest: "" }, wanted), 0);
});

test("a space that is asked for has to be there", () => {
  assert.equal(relevance({ own: ["·kingdom"], rest: "" }, "·king"), 2);
  assert.equal(relevance({ own: ["viking"], rest: "" }, "·king"), 0);
  assert.equal(relevance({ own: ["↵"], rest: "" }, "↵"), 2);
});

test("tokens are bared of spaces and line breaks around them", () => {
  assert.equal(bare("↵·king·"), "king");
  assert.equal(bare("·"), "");
});

test("the axis has few ticks, however long the window", () => {
  assert.deepEqual(ticksOf(128), [1, 32, 64, 96, 127]);
  assert.deepEqual(ticksOf(40), [1, 8, 16, 24, 32, 39]);
  for (const T of [256, 512, 1024, 4096, 8192]) {
    const found = ticksOf(T);
    assert.ok(found.length <= 8 && found[0] === 1 && found.at(-1) === T - 1, `${T}: ${found}`);
  }
});

test("clocks are told by their columns", () => {
  const columns = { information: [], since_turn: [], since_turn_p: [], since_turn_information: [], since_new_line_information: [] };
  const found = Array.from(clocksOf({ columns }), ({ key, name }) => `${key} ${name}`);
  assert.deepEqual(found, ["since_turn_information turn", "since_new_line_information new_line"]);
  assert.equal(clocksOf({ columns: { information: [] } }).length, 0);
});

test("weights of smoothing add up to one at every position", () => {
  const weights = kernel(20, 3);
  for (let t = 0; t < 20; t++) {
    const sum = weights.slice(t * 20, (t + 1) * 20).reduce((a, b) => a + b, 0);
    assert.ok(Math.abs(sum - 1) < 1e-12);
  }
});

test("text of base 85 is read as Python wrote it, whatever its length", () => {
  const bytes = [250, 251, 252, 253, 254, 255, 0, 1, 2, 3, 4];
  const written = ["`uqI-{{H{", "`uqI-{{H|0", "`uqI-{{H|00s", "`uqI-{{H|00s{", "`uqI-{{H|00s{m"]; // of 7 to 11 of them
  written.forEach((text, i) => assert.deepEqual([...fromBase85(text)], bytes.slice(0, 7 + i)));
  assert.deepEqual([...fromBase85("S_C`,")], [90, 4, 60, 4]); // a comma for <
  assert.deepEqual([...fromBase85("")], []);
});

test("numbers are put together from planes of their bytes", () => {
  const planes = new Uint8Array([9, 9, 9, 9, 1, 2, 3, 0, 1, 255]).buffer; // the first four are of something else
  assert.deepEqual([...new Uint16Array(fromPlanes(planes, 4, 3, 2))], [1, 258, 65283]);
});
