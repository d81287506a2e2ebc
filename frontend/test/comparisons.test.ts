import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import type { Checkpoint, Diff } from "../src/api";
import { Comparisons, groupOthers } from "../src/comparisons";

function checkpoint(run: string, step: number): Checkpoint {
  return {
    id: `${run}/${step}`,
    run,
    name: `ckpt-${step}`,
    prefix: `/logs/${run}/ckpt-${step}`,
    step,
    bytes: 1,
    modified: step,
    format: "object",
    state: "complete",
    problem: "",
    pairing: { builder: null, arguments: {}, reason: "", claims: [] },
  };
}

const RUN = [10, 20, 30, 40].map((step) => checkpoint("mlp", step));
const OTHERS = [5, 50].map((step) => checkpoint("wide", step));
const ALL = [...RUN, ...OTHERS];
const DIFF: Diff = {
  a: { name: "a", variables: 1 },
  b: { name: "b", variables: 1 },
  added: [],
  removed: [],
  reshaped: [],
  retyped: [],
  moved: null,
  same: 1,
  same_bookkeeping: 0,
  notes: [],
};

const realFetch = globalThis.fetch;
afterEach(() => (globalThis.fetch = realFetch));

/** Answers with the diff, or where a job is wanted with one that has ended so, and keeps what was asked. */
function answerWith(job: object): { url: string; body: unknown }[] {
  const asked: { url: string; body: unknown }[] = [];
  Reflect.set(globalThis, "document", { baseURI: "http://localhost:6006/data/plugin/ckptmeta/" });
  globalThis.fetch = async (url, options) => {
    asked.push({ url: String(url), body: JSON.parse(String(options?.body)) });
    const prefers = new Headers(options?.headers).get("Prefer");
    const ended = { job: { id: "1", step: "", steps: [], result: null, error: null, ...job } };
    return new Response(JSON.stringify(prefers === "respond-async" ? ended : DIFF));
  };
  return asked;
}

test("the next older checkpoint of the run comes first, then the newer, then other runs", () => {
  const groups = groupOthers(RUN[2]!, ALL);
  assert.deepEqual(
    groups.map(({ label, checkpoints }) => [label, checkpoints.map(({ name }) => name)]),
    [
      ["This run", ["ckpt-20", "ckpt-10", "ckpt-40"]],
      ["wide", ["ckpt-50", "ckpt-5"]],
    ],
  );
});

test("a run of its own offers only others, and a logdir of one checkpoint nothing", () => {
  assert.deepEqual(groupOthers(RUN[0]!, [RUN[0]!, ...OTHERS]).map(({ label }) => label), ["wide"]);
  assert.deepEqual(groupOthers(RUN[0]!, [RUN[0]!]), []);
});

test("of many checkpoints the nearest and the newest of every run are offered", () => {
  const many = Array.from({ length: 2_000 }, (_, i) => checkpoint("long", i));
  const [own, other] = groupOthers(many[1_000]!, [...many, ...OTHERS]);
  assert.equal(own!.checkpoints.length, 100);
  assert.deepEqual(own!.checkpoints.slice(0, 2).map(({ step }) => step), [999, 998]);
  assert.equal(other!.checkpoints.length, 2);
});

test("before anybody chose, the next older one is compared with, without values", async () => {
  const comparisons = new Comparisons(() => undefined);
  const found = comparisons.get(RUN[3]!, ALL);
  assert.deepEqual([found.other?.id, found.values, found.answer], ["mlp/30", false, null]);
  const asked = answerWith({ state: "done", result: { diff: DIFF } });
  await comparisons.compare(RUN[3]!, ALL);
  assert.equal(asked[0]!.url, "http://localhost:6006/data/plugin/ckptmeta/diff");
  assert.deepEqual(asked[0]!.body, { a: { checkpoint: "mlp/30" }, b: { checkpoint: "mlp/40" }, values: false });
  assert.deepEqual(comparisons.get(RUN[3]!, ALL).answer?.value, DIFF);
});

test("a diff is shown under what was compared and never under another choice", async () => {
  const comparisons = new Comparisons(() => undefined);
  answerWith({ state: "done", result: { diff: DIFF } });
  await comparisons.compare(RUN[3]!, ALL);
  comparisons.choose(RUN[3]!, { other: "wide/5", values: true });
  const found = comparisons.get(RUN[3]!, ALL);
  assert.deepEqual([found.other?.id, found.values, found.answer], ["wide/5", true, null]);
  comparisons.choose(RUN[3]!, { other: "mlp/30", values: false });
  assert.notEqual(comparisons.get(RUN[3]!, ALL).answer, null);
  // Written again under its old name, it is another checkpoint.
  const again = { ...RUN[3]!, modified: 99 };
  assert.equal(comparisons.get(again, [...RUN.slice(0, 3), again]).answer, null);
});

test("values are compared by a job, whose result is the diff", async () => {
  const comparisons = new Comparisons(() => undefined);
  const measured = { ...DIFF, moved: [] };
  const asked = answerWith({ state: "done", result: { diff: measured } });
  comparisons.choose(RUN[3]!, { other: "mlp/30", values: true });
  await comparisons.compare(RUN[3]!, ALL);
  assert.equal((asked[0]!.body as { values: boolean }).values, true);
  assert.deepEqual(comparisons.get(RUN[3]!, ALL).answer?.value, measured);
});

test("a checkpoint that has gone is not chosen any more", () => {
  const comparisons = new Comparisons(() => undefined);
  comparisons.choose(RUN[3]!, { other: "wide/5", values: true });
  assert.equal(comparisons.get(RUN[3]!, RUN).other?.id, "mlp/30");
});

test("a comparison that fails says why", async () => {
  const comparisons = new Comparisons(() => undefined);
  const error = { code: "checkpoint_corrupt", message: "It is corrupt.", details: "" };
  answerWith({ state: "failed", error });
  comparisons.choose(RUN[3]!, { other: "mlp/30", values: true });
  await comparisons.compare(RUN[3]!, ALL);
  const { problem } = comparisons.get(RUN[3]!, ALL).answer!;
  assert.deepEqual([problem?.code, problem?.message], ["checkpoint_corrupt", "It is corrupt."]);
});
