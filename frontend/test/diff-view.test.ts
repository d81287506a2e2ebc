import "./document";
import assert from "node:assert/strict";
import { afterEach, test } from "node:test";
import type { LitElement } from "lit";
import type { Checkpoint, Diff, MovedRow } from "../src/api";
import type { Compared, Comparison } from "../src/comparisons";
import "../src/elements/compare-form";
import "../src/elements/diff-view";

const HOSTILE = `<img src=x onerror="alert(1)">`;

function moved(path: string, change: Partial<MovedRow> = {}): MovedRow {
  const row = { key: HOSTILE, path, bookkeeping: false, shape: [3], relative_l2: 0.5, l2: 1, max_abs: 0.25, differ: 3 };
  return { ...row, nan: { a: 0, b: 0 }, inf: { a: 0, b: 0 }, ...change };
}

const DIFF: Diff = {
  a: { name: "ckpt-10", variables: 4 },
  b: { name: "ckpt-20", variables: 5 },
  added: [
    { key: HOSTILE, path: null, bookkeeping: false, shape: [3, 4], dtype: "float32" },
    { key: "optimizer/m", path: null, bookkeeping: true, shape: [], dtype: "int64" },
  ],
  removed: [],
  reshaped: [{ key: "kernel", path: null, bookkeeping: false, a: [3, 4], b: [3, 5] }],
  retyped: [{ key: "scale", path: null, bookkeeping: false, a: "float32", b: "float16" }],
  moved: [
    moved("model/broken", { nan: { a: 0, b: 2 }, relative_l2: null, max_abs: null }),
    ...Array.from({ length: 20 }, (_, i) => moved(`model/layer${i}`)),
  ],
  same: 5,
  same_bookkeeping: 3,
  notes: [HOSTILE],
};

const answered = { running: false, askedAt: 0, answeredAt: 1, problem: null };

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
  return [root, ...[...(root.shadowRoot?.querySelectorAll("*") ?? [])].flatMap(deepElements)];
}

function byTestId(root: Element, id: string): Element | undefined {
  return deepElements(root).find((element) => element.getAttribute("data-testid") === id);
}

function cells(section: Element | undefined): string[][] {
  const rows = deepElements(section!.querySelector("ckptmeta-table")!).filter(({ tagName }) => tagName === "TR");
  return rows.slice(1).map((row) => [...row.querySelectorAll("td")].map((cell) => cell.textContent ?? ""));
}

afterEach(() => document.body.replaceChildren());

test("a diff tells the model's variables in full, and the training's behind a disclosure", async () => {
  const view = await mount("ckptmeta-diff", { answer: { ...answered, value: DIFF } });
  const chips = [...byTestId(view, "diff-summary")!.querySelectorAll(".chip")].map(({ textContent }) => textContent);
  assert.deepEqual(chips, ["1 added", "1 reshaped", "1 of another dtype", "21 moved", "2 the same"]);
  assert.deepEqual(cells(byTestId(view, "diff-added")), [[HOSTILE, "[3, 4]", "float32"]]);
  assert.deepEqual(cells(byTestId(view, "diff-reshaped")), [["kernel", "[3, 4]", "[3, 5]"]]);
  assert.deepEqual(cells(byTestId(view, "diff-retyped")), [["scale", "float32", "float16"]]);
  assert.equal(byTestId(view, "diff-removed"), undefined);
  assert.deepEqual(cells(byTestId(view, "diff-bookkeeping-added")), [["optimizer/m", "scalar", "int64"]]);
  assert.match(byTestId(view, "diff-bookkeeping")!.textContent!, /Bookkeeping \(1\)/);
});

test("what moved keeps its order, is capped, and shows what no number is", async () => {
  const view = await mount("ckptmeta-diff", { answer: { ...answered, value: DIFF } });
  const section = byTestId(view, "diff-moved");
  assert.deepEqual(cells(section).slice(0, 2), [
    ["model/broken", "–", "–", "0 → 2", "0"],
    ["model/layer0", "0.5", "0.25", "0", "0"],
  ]);
  assert.equal(cells(section).length, 8);
  (byTestId(section!.querySelector("ckptmeta-table")!, "show-all") as HTMLElement).click();
  await settle(view);
  assert.equal(cells(section).length, 21);
});

test("untrusted text of a diff is text and never markup", async () => {
  const view = await mount("ckptmeta-diff", { answer: { ...answered, value: DIFF } });
  assert.equal(byTestId(view, "diff-notes")!.querySelector("li")!.textContent, HOSTILE);
  assert.deepEqual(deepElements(view).filter(({ tagName }) => tagName === "IMG"), []);
});

test("a diff without values says that they were not compared", async () => {
  const view = await mount("ckptmeta-diff", { answer: { ...answered, value: { ...DIFF, moved: null } } });
  assert.match(byTestId(view, "diff-summary")!.textContent!, /Values were not compared/);
});

test("while one compares, the last diff stays, and an error is shown in its place", async () => {
  const running = await mount("ckptmeta-diff", { answer: { ...answered, running: true, value: DIFF } });
  assert.ok(byTestId(running, "diff-running"));
  assert.ok(byTestId(running, "diff-added"));
  const problem = { code: "checkpoint_corrupt", message: HOSTILE, details: "" };
  const failed = await mount("ckptmeta-diff", { answer: { ...answered, value: DIFF, problem } });
  assert.ok(byTestId(failed, "diff-error"));
  assert.equal(byTestId(failed, "diff-added"), undefined);
});

test("the form tells what was chosen and asks for the diff", async () => {
  const others = ["one", "two"].map((id): Partial<Checkpoint> => ({ id, run: id, name: `ckpt-${id}` })) as Checkpoint[];
  const comparison: Comparison = {
    groups: [{ label: "This run", checkpoints: others }],
    other: others[1]!,
    values: false,
    answer: null,
  };
  const form = await mount("ckptmeta-compare", { checkpoint: others[0], comparison });
  const told: (Compared | string)[] = [];
  form.addEventListener("comparison", (event) => told.push((event as CustomEvent<Compared>).detail));
  form.addEventListener("compare", () => told.push("compare"));
  const select = byTestId(form, "compare-other") as HTMLSelectElement;
  assert.equal(select.value, "two");
  assert.deepEqual([...select.options].map(({ textContent }) => textContent?.trim()), ["ckpt-one", "two/ckpt-two"]);
  select.value = "one";
  select.dispatchEvent(new Event("change"));
  const box = byTestId(form, "compare-values") as HTMLInputElement;
  box.checked = true;
  box.dispatchEvent(new Event("change"));
  form.shadowRoot!.querySelector("form")!.dispatchEvent(new Event("submit", { cancelable: true }));
  assert.deepEqual(told, [{ other: "one", values: false }, { other: "two", values: true }, "compare"]);
});
