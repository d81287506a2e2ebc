import "./document";
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import type { LitElement } from "lit";
import type { Checkpoint, Ranking, Verdict } from "../src/api";
import "../src/elements/checkpoint-detail";
import "../src/elements/checkpoint-list";
import "../src/elements/contents-tree";
import "../src/elements/problem-note";
import "../src/elements/verdict-view";
import "../src/elements/which-view";
import { BUILDERS } from "./fake-tensorboard.mjs";

const HOSTILE = `<img src=x onerror="alert(1)"><script>alert(2)</script>`;

const CHECKPOINT: Checkpoint = {
  id: "id",
  run: HOSTILE,
  name: HOSTILE,
  prefix: HOSTILE,
  step: 1,
  bytes: 1_000,
  modified: 1,
  format: "object",
  state: "corrupt",
  problem: HOSTILE,
  pairing: { builder: HOSTILE, arguments: {}, reason: HOSTILE, claims: [HOSTILE] },
};

const VERDICT: Verdict = {
  checkpoint: "id",
  builder: HOSTILE,
  arguments: {},
  status: "mismatch",
  variables: 320,
  bound: 295,
  missing: Array.from({ length: 30 }, (_, i) => ({
    name: `missing/${i}${HOSTILE}`,
    shape: [3],
    dtype: "float32",
    closest: HOSTILE,
    closest_place: HOSTILE,
  })),
  unexpected: [{ key: HOSTILE, place: HOSTILE, shape: [], dtype: "int64", closest: HOSTILE }],
  shape_mismatches: [{ name: "kernel", key: HOSTILE, place: HOSTILE, model: [2, 3], checkpoint: [2, 4] }],
  dtype_mismatches: [],
  bookkeeping: [
    { key: "save_counter", shape: [], dtype: "int64" },
    { key: `average/kernel${HOSTILE}`, shape: [3], dtype: "float32", beside: HOSTILE },
  ],
  renames: [{ from: HOSTILE, to: HOSTILE, count: 2, of: 2, applied: false }],
  ambiguous_renames: [{ from: HOSTILE, to: [HOSTILE], count: 1 }],
  renamed_status: "match",
  notes: [HOSTILE],
  error: { code: "builder_failed", message: HOSTILE, details: HOSTILE },
};

const RANKING: Ranking = {
  checkpoint: "id",
  candidates: [
    {
      builder: HOSTILE,
      arguments: { [HOSTILE]: HOSTILE },
      status: "match",
      variables: 4,
      bound: 4,
      missing: 0,
      unexpected: 0,
      reason: `match: 4 of 4 variables bound; units = 3 (from ${HOSTILE})`,
      error: null,
    },
    {
      builder: "bad",
      arguments: {},
      status: "error",
      variables: 0,
      bound: 0,
      missing: 0,
      unexpected: 0,
      reason: "error",
      error: { code: "builder_failed", message: HOSTILE, details: HOSTILE },
    },
  ],
  proposed: { builder: HOSTILE, arguments: { units: 3 }, reason: HOSTILE },
  reason: HOSTILE,
};

async function mount<T extends LitElement>(tag: string, properties: object): Promise<T> {
  const element = document.createElement(tag) as T;
  Object.assign(element, properties);
  document.body.append(element);
  await settle(element);
  return element;
}

async function settle(element: Element): Promise<void> {
  if ("updateComplete" in element) await element.updateComplete;
  for (const child of element.shadowRoot?.querySelectorAll("*") ?? []) await settle(child);
}

function deepElements(root: Element): Element[] {
  const children = [...(root.shadowRoot?.querySelectorAll("*") ?? [])];
  return [root, ...children.flatMap((child) => deepElements(child))];
}

function byTestId(root: Element, id: string): Element[] {
  return deepElements(root).filter((element) => element.getAttribute("data-testid") === id);
}

function deepText(root: Element): string {
  return deepElements(root)
    .map((element) => element.shadowRoot?.textContent ?? "")
    .join("\n");
}

afterEach(() => document.body.replaceChildren());

const answered = { running: false, askedAt: 0, answeredAt: 1, value: VERDICT, problem: null };

test("untrusted text of every kind is text and never markup", async () => {
  const builders = [{ ...BUILDERS[0]!, name: HOSTILE, documentation: HOSTILE, source: HOSTILE, notes: [HOSTILE] }];
  const detail = await mount("ckptmeta-detail", {
    checkpoint: CHECKPOINT,
    builders,
    buildersState: "ready",
    choice: { builder: HOSTILE, texts: {}, renames: [HOSTILE] },
    plan: { subject: { checkpoint: "id" }, unknown: [], wrong: {}, blocked: "" },
    ranking: { ...answered, value: RANKING },
    verdict: answered,
    graph: { run: `• ${HOSTILE}`, tag: HOSTILE, key: "k" },
  });
  const list = await mount("ckptmeta-list", { checkpoints: [CHECKPOINT], selected: "id" });
  for (const element of [detail, list]) {
    assert.ok(deepText(element).includes(HOSTILE));
    const tags = deepElements(element).map(({ localName }) => localName);
    assert.ok(!tags.includes("img") && !tags.includes("script"));
  }
  assert.equal(byTestId(detail, "graph-run")[0]?.textContent, `• ${HOSTILE}`);
});

test("verdict shows its status and count, caps a long list, and shows it all when asked", async () => {
  const view = await mount("ckptmeta-verdict", { answer: { ...answered, value: { ...VERDICT, error: null } } });
  assert.equal(byTestId(view, "verdict-status")[0]?.textContent, "mismatch");
  assert.equal(byTestId(view, "verdict-bound")[0]?.textContent, "295 of 320 variables bound");
  const table = byTestId(view, "verdict-missing")[0]!.querySelector("ckptmeta-table")!;
  const rows = () => table.shadowRoot!.querySelectorAll("tbody tr").length;
  assert.equal(rows(), 8);
  const more = byTestId(table, "show-all")[0] as HTMLElement;
  assert.match(more.textContent ?? "", /Show all 30/);
  more.click();
  await settle(table);
  assert.equal(rows(), 30);
});

test("verdict shows where a key is in the model, and the key that is the optimizer's in brackets", async () => {
  const key = "optimizer/_trainable_variables/0/.ATTRIBUTES/VARIABLE_VALUE";
  const place = "model/_operations/1/_kernel";
  const value: Verdict = {
    ...VERDICT,
    error: null,
    missing: [{ name: "stem/kernel", shape: [8], dtype: "float32", closest: key, closest_place: place }],
    unexpected: [{ key, place, shape: [8], dtype: "float32", closest: "stem/kernel" }],
    shape_mismatches: [{ name: "stem/kernel", key, place, model: [8], checkpoint: [9] }],
  };
  const view = await mount("ckptmeta-verdict", { answer: { ...answered, value } });
  for (const [testid, column] of [["verdict-missing", 2], ["verdict-unexpected", 1], ["verdict-shape-mismatches", 2]] as const) {
    const table = byTestId(view, testid)[0]!.querySelector("ckptmeta-table")!;
    const cell = table.shadowRoot!.querySelector(`tbody td:nth-child(${column})`);
    assert.equal(cell?.textContent?.trim(), "model/_operations/1/_kernel (key: optimizer/_trainable_variables/0)");
  }
});

test("verdict that could not be asked for shows the problem and not the verdict before it", async () => {
  const problem = { code: "unreachable", message: "TensorBoard does not answer.", details: "" };
  const view = await mount("ckptmeta-verdict", { answer: { ...answered, problem } });
  assert.equal(byTestId(view, "verdict-status").length, 0);
  assert.match(byTestId(view, "verdict-error")[0]?.textContent ?? "", /TensorBoard does not answer\./);
});

test("list draws a window of five thousand checkpoints and counts them all", async () => {
  const checkpoints = Array.from({ length: 5_000 }, (_, i) => ({ ...CHECKPOINT, id: `id-${i}`, run: "mlp", name: `ckpt-${i}`, step: i }));
  const list = await mount<LitElement>("ckptmeta-list", { checkpoints, selected: null });
  const drawn = byTestId(list, "checkpoint-row");
  assert.ok(drawn.length > 0 && drawn.length < 100, `${drawn.length} rows`);
  assert.equal(drawn[0]?.getAttribute("data-checkpoint-name"), "ckpt-4999");
  assert.equal(drawn[0]?.getAttribute("data-run"), "mlp");
  assert.equal(byTestId(list, "count")[0]?.textContent, "5,000");
});

test("list filters while one types and tells which row was chosen", async () => {
  const checkpoints = ["ckpt-1", "ckpt-2"].map((name) => ({ ...CHECKPOINT, id: name, run: "mlp", name }));
  const list = await mount<LitElement>("ckptmeta-list", { checkpoints, selected: null });
  const chosen: string[] = [];
  list.addEventListener("select", (event) => chosen.push((event as CustomEvent<string>).detail));
  const filter = byTestId(list, "filter")[0] as HTMLInputElement;
  filter.value = "ckpt-2";
  filter.dispatchEvent(new Event("input"));
  await settle(list);
  const [row, ...others] = byTestId(list, "checkpoint-row") as HTMLElement[];
  assert.equal(others.length, 0);
  row!.click();
  assert.deepEqual(chosen, ["ckpt-2"]);
  assert.equal(byTestId(list, "count")[0]?.textContent, "1 of 2");
});

test("what was saved beside the model is told from what is the training's own", async () => {
  const view = await mount("ckptmeta-verdict", { answer: answered });
  for (const [id, title, cells] of [
    ["beside", "Saved beside the model (1)", [`average/kernel${HOSTILE}`, HOSTILE, "[3]", "float32"]],
    ["bookkeeping", "Bookkeeping (1)", ["save_counter", "scalar", "int64"]],
  ] as const) {
    const [section] = byTestId(view, `verdict-${id}`);
    assert.equal(section!.querySelector("summary")!.textContent, title);
    const shown = [...section!.querySelector("ckptmeta-table")!.shadowRoot!.querySelectorAll("td")];
    assert.deepEqual(shown.map((cell) => cell.textContent!.trim()), cells);
  }
});

const LEAF = { bookkeeping: false, key: HOSTILE, shape: [2, 3], dtype: "float32", variables: 1, parameters: 6, bytes: 24 };
const GROUP = { bookkeeping: false, variables: 1, parameters: 6, bytes: 24 };

function contents(children: object[]) {
  const value = { format: "object", root: { ...GROUP, name: "ckpt", variables: children.length, children }, left_out: 0, notes: [HOSTILE] };
  return { running: false, askedAt: 0, answeredAt: 1, problem: null, value };
}

test("tree of the contents opens and closes, hides the training's own, and shows names as text", async () => {
  const training = { ...GROUP, name: "optimizer", bookkeeping: true, children: [{ ...LEAF, bookkeeping: true, name: "m" }] };
  const model = { ...GROUP, name: HOSTILE, children: [{ ...LEAF, name: "kernel" }, { name: "again", bookkeeping: false, same_as: HOSTILE }] };
  const tree = await mount<LitElement>("ckptmeta-contents", { first: true, answer: contents([training, model]) });
  const rows = () => byTestId(tree, "contents-row").map((row) => row.textContent?.replace(/\s+/g, " ").trim());
  assert.equal(rows().length, 3);
  assert.ok(rows()[0]!.includes(HOSTILE) && rows()[1]!.includes("[2, 3] float32") && rows()[2]!.includes(`→ ${HOSTILE}`));
  assert.ok(!deepElements(tree).some(({ localName }) => localName === "img" || localName === "script"));
  (tree.shadowRoot!.querySelector(".toggle") as HTMLElement).click();
  await settle(tree);
  assert.equal(rows().length, 1);
  const box = byTestId(tree, "contents-training")[0] as HTMLInputElement;
  box.checked = true;
  box.dispatchEvent(new Event("change"));
  await settle(tree);
  assert.match(rows()[0]!, /optimizer/);
});

test("tree of the contents is asked for when it is first opened, and draws a long group in part", async () => {
  const closed = await mount<LitElement>("ckptmeta-contents", {});
  let loads = 0;
  closed.addEventListener("load", () => loads++);
  (byTestId(closed, "contents-toggle")[0] as HTMLElement).click();
  assert.equal(loads, 1);
  const children = Array.from({ length: 5_000 }, (_, i) => ({ ...LEAF, name: `v${i}` }));
  const long = await mount<LitElement>("ckptmeta-contents", { first: true, answer: contents(children) });
  assert.equal(byTestId(long, "contents-row").length, 200);
});

test("ranking tells the proposal and takes it, and none where none is proposed", async () => {
  const view = await mount("ckptmeta-which", { answer: { ...answered, value: RANKING } });
  const taken: unknown[] = [];
  view.addEventListener("take", (event) => taken.push((event as CustomEvent).detail));
  (byTestId(view, "which-take")[0] as HTMLButtonElement).click();
  assert.deepEqual(taken, [{ builder: HOSTILE, arguments: { units: 3 } }]);
  assert.match(byTestId(view, "which-told")[0]?.textContent ?? "", /units = 3 \(from/);
  const none = await mount("ckptmeta-which", { answer: { ...answered, value: { ...RANKING, proposed: null } } });
  assert.equal(byTestId(none, "which-take").length, 0);
  assert.equal(byTestId(none, "which-reason")[0]?.textContent, HOSTILE);
});
