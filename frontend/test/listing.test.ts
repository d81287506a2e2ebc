import assert from "node:assert/strict";
import { test } from "node:test";
import type { Checkpoint } from "../src/api";
import { describePairing, filterCheckpoints, fullName, groupByRun, NEWEST_FIRST, sortCheckpoints } from "../src/listing";

function checkpoint(run: string, name: string, more: Partial<Checkpoint> = {}): Checkpoint {
  return {
    id: `${run}/${name}`,
    run,
    name,
    prefix: `/logs/${run}/${name}`,
    step: Number(/\d+$/.exec(name)?.[0] ?? NaN) || null,
    bytes: 10,
    modified: 100,
    format: null,
    state: "listed",
    problem: "",
    pairing: { builder: null, arguments: {}, reason: "", claims: [] },
    ...more,
  };
}

const names = (checkpoints: readonly Checkpoint[]) => checkpoints.map(({ id }) => id);

test("sort newest first settles equal times by the later step", () => {
  const sorted = sortCheckpoints(
    [checkpoint("a", "ckpt-2"), checkpoint("a", "ckpt-10"), checkpoint("a", "ckpt-1", { modified: 200 })],
    NEWEST_FIRST,
  );
  assert.deepEqual(names(sorted), ["a/ckpt-1", "a/ckpt-10", "a/ckpt-2"]);
});

test("sort by name counts as people do", () => {
  const all = ["ckpt-10", "ckpt-9", "best"].map((name) => checkpoint("a", name));
  assert.deepEqual(names(sortCheckpoints(all, { key: "name", descending: false })), ["a/best", "a/ckpt-9", "a/ckpt-10"]);
  assert.deepEqual(names(sortCheckpoints(all, { key: "name", descending: true })), ["a/ckpt-10", "a/ckpt-9", "a/best"]);
});

test("sort by step puts those without a step last in both directions", () => {
  const all = ["best", "ckpt-10", "ckpt-9"].map((name) => checkpoint("a", name));
  assert.deepEqual(names(sortCheckpoints(all, { key: "step", descending: true })), ["a/ckpt-10", "a/ckpt-9", "a/best"]);
  assert.deepEqual(names(sortCheckpoints(all, { key: "step", descending: false })), ["a/ckpt-9", "a/ckpt-10", "a/best"]);
});

test("sort leaves its input alone", () => {
  const all = Object.freeze([checkpoint("a", "ckpt-1"), checkpoint("a", "ckpt-2")]);
  sortCheckpoints(all, NEWEST_FIRST);
  assert.deepEqual(names(all), ["a/ckpt-1", "a/ckpt-2"]);
});

test("filter wants every word in run, name, builder, claims or state", () => {
  const all = [
    checkpoint("mlp", "ckpt-1", { pairing: { builder: "mnist", arguments: {}, reason: "", claims: ["mnist"] } }),
    checkpoint("vision", "ckpt-1", { pairing: { builder: null, arguments: {}, reason: "", claims: ["resnet", "vit"] } }),
    checkpoint("vision", "ckpt-2", { state: "corrupt" }),
  ];
  const found = (text: string) => names(filterCheckpoints(all, text));
  assert.deepEqual(found("VISION ckpt-1"), ["vision/ckpt-1"]);
  assert.deepEqual(found("vision/ckpt"), ["vision/ckpt-1", "vision/ckpt-2"]);
  assert.deepEqual(found("mnist"), ["mlp/ckpt-1"]);
  assert.deepEqual(found("vit"), ["vision/ckpt-1"]);
  assert.deepEqual(found("corrupt"), ["vision/ckpt-2"]);
  assert.deepEqual(found("mlp corrupt"), []);
  assert.equal(found("  ").length, 3);
});

test("group puts the run with the first checkpoint first and keeps its order within", () => {
  const sorted = sortCheckpoints(
    [
      checkpoint("old", "ckpt-1", { modified: 1 }),
      checkpoint("new", "ckpt-1", { modified: 5 }),
      checkpoint("new", "ckpt-2", { modified: 9, bytes: 7 }),
    ],
    NEWEST_FIRST,
  );
  const rows = groupByRun(sorted, new Set());
  assert.deepEqual(
    rows.map((row) => (row.kind === "run" ? `[${row.run} ${row.count} ${row.bytes}]` : row.checkpoint.id)),
    ["[new 2 17]", "new/ckpt-2", "new/ckpt-1", "[old 1 10]", "old/ckpt-1"],
  );
});

test("group that is collapsed keeps its heading and count", () => {
  const rows = groupByRun([checkpoint("a", "ckpt-1"), checkpoint("b", "ckpt-1")], new Set(["a"]));
  assert.deepEqual(
    rows.map((row) => (row.kind === "run" ? `[${row.run} ${row.count}]` : row.checkpoint.id)),
    ["[a 1]", "[b 1]", "b/ckpt-1"],
  );
});

test("pairing that several claim is said, and none is empty", () => {
  const pairing = { builder: null, arguments: {}, reason: "", claims: ["a", "b"] };
  assert.equal(describePairing(pairing), "2 claims");
  assert.equal(describePairing({ ...pairing, claims: [] }), "");
  assert.equal(describePairing({ ...pairing, builder: "a" }), "a");
  assert.equal(fullName(checkpoint(".", "ckpt-1")), "ckpt-1");
});
