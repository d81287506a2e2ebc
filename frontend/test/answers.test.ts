import assert from "node:assert/strict";
import { test } from "node:test";
import { Answers } from "../src/answers";
import { ApiError } from "../src/api";

function deferred<T>() {
  let resolve!: (value: T) => void;
  let reject!: (reason: unknown) => void;
  const promise = new Promise<T>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { promise, resolve, reject };
}

test("answers that come late stand under their own question only", async () => {
  const answers = new Answers<string>(() => undefined);
  const [slow, fast] = [deferred<string>(), deferred<string>()];
  const first = answers.ask("checkpoint a", () => slow.promise);
  const second = answers.ask("checkpoint b", () => fast.promise);
  fast.resolve("verdict of b");
  await second;
  slow.resolve("verdict of a");
  await first;
  assert.equal(answers.get("checkpoint a")?.value, "verdict of a");
  assert.equal(answers.get("checkpoint b")?.value, "verdict of b");
});

test("answers out of order do not overwrite the newer one", async () => {
  const answers = new Answers<string>(() => undefined);
  const [old, recent] = [deferred<string>(), deferred<string>()];
  const first = answers.ask("list", () => old.promise);
  const second = answers.ask("list", () => recent.promise);
  recent.resolve("new");
  await second;
  old.resolve("old");
  await first;
  assert.equal(answers.get("list")?.value, "new");
  assert.equal(answers.get("list")?.running, false);
});

test("answers that fail late do not disturb the newer one", async () => {
  const answers = new Answers<string>(() => undefined);
  const old = deferred<string>();
  const first = answers.ask("list", () => old.promise);
  await answers.ask("list", async () => "new");
  old.reject(new ApiError("unreachable", "gone"));
  await first;
  assert.equal(answers.get("list")?.value, "new");
  assert.equal(answers.get("list")?.problem, null);
});

test("answers superseded while running stay running", async () => {
  const answers = new Answers<string>(() => undefined);
  const recent = deferred<string>();
  const first = answers.ask("list", async () => "old");
  const second = answers.ask("list", () => recent.promise);
  await first;
  assert.equal(answers.get("list")?.running, true);
  assert.equal(answers.get("list")?.value, null);
  recent.resolve("new");
  await second;
  assert.equal(answers.get("list")?.value, "new");
});

test("answers keep the last good value beside a problem, and forget the problem after", async () => {
  const answers = new Answers<number>(() => undefined);
  await answers.ask("list", async () => 1);
  await answers.ask("list", async () => {
    throw new ApiError("unreachable", "TensorBoard does not answer.");
  });
  assert.equal(answers.get("list")?.value, 1);
  assert.equal(answers.get("list")?.problem?.code, "unreachable");
  await answers.ask("list", async () => 2);
  assert.equal(answers.get("list")?.value, 2);
  assert.equal(answers.get("list")?.problem, null);
});
