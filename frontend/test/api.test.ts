import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";
import {
  ApiError,
  cancelJob,
  fileUrl,
  listBuilders,
  listCheckpoints,
  openGraph,
  readJob,
  startExport,
  takeVerdict,
} from "../src/api";
import { startFakeTensorBoard } from "./fake-tensorboard.mjs";

type Fake = Awaited<ReturnType<typeof startFakeTensorBoard>>;
let fake: Fake;

before(async () => {
  fake = await startFakeTensorBoard({ delay: 0 });
});
beforeEach(() => {
  (globalThis as { document?: unknown }).document = { baseURI: fake.base };
  fake.requests.length = 0;
  fake.answers.clear();
});
after(() => fake.close());

function answerWith(route: string, status: number, content: unknown): void {
  fake.answers.set(route, () => [status, content]);
}

test("api asks below the document's base, whatever the path prefix", async () => {
  await listCheckpoints();
  await listBuilders();
  assert.match(fake.base, /\/prefix\/data\/plugin\/ckptmeta\/$/);
  assert.deepEqual(
    fake.requests.map(({ method, path }) => `${method} ${path}`),
    ["GET checkpoints", "GET builders"],
  );
});

test("api posts JSON, which a foreign page cannot without a preflight", async () => {
  await takeVerdict({ checkpoint: "id", builder: "mnist-mlp", arguments: { units: 64 } });
  await openGraph({ checkpoint: "id" });
  const [verdict, open] = fake.requests;
  assert.equal(verdict?.headers["content-type"], "application/json");
  assert.deepEqual(verdict?.body, { checkpoint: "id", builder: "mnist-mlp", arguments: { units: 64 } });
  assert.deepEqual(open?.body, { checkpoint: "id" });
});

test("api starts an export asynchronously, and its job's id is one path segment", async () => {
  const job = await startExport({ checkpoint: "id", format: "metagraph", allow_partial: false, check: true });
  assert.equal(fake.requests[0]?.headers.prefer, "respond-async");
  assert.equal(job.state, "running");
  assert.equal((await readJob(job.id)).id, job.id);
  assert.ok(fileUrl(job.id).endsWith(`/jobs/${encodeURIComponent(job.id)}/file`));
});

test("api takes an empty answer to a cancellation", async () => {
  const job = await startExport({ checkpoint: "id", format: "metagraph", allow_partial: false, check: true });
  await cancelJob(job.id);
  assert.equal((await readJob(job.id)).state, "cancelled");
});

test("api error with a JSON body keeps its code, message and details", async () => {
  answerWith("POST verdict", 409, { error: { code: "ambiguous_pairing", message: "Two claim it.", details: "a, b" } });
  await assert.rejects(takeVerdict({ checkpoint: "id" }), (error: ApiError) => {
    assert.ok(error instanceof ApiError);
    assert.deepEqual(
      [error.code, error.message, error.details, error.status],
      ["ambiguous_pairing", "Two claim it.", "a, b", 409],
    );
    return true;
  });
});

test("api error without JSON is one sentence, with the beginning of the body as details", async () => {
  for (const status of [200, 502]) {
    answerWith("GET checkpoints", status, `<h1>Bad gateway</h1>${"x".repeat(9_000)}`);
    await assert.rejects(listCheckpoints(), (error: ApiError) => {
      assert.equal(error.code, "bad_answer");
      assert.match(error.message, new RegExp(`${status}`));
      assert.doesNotMatch(error.message, /<h1>/);
      assert.match(error.details, /^<h1>Bad gateway/);
      assert.ok(error.details.length <= 2_000);
      return true;
    });
  }
});

test("api error with JSON of another shape is no crash", async () => {
  for (const body of [null, [], { error: "no" }, { error: { code: 1 } }]) {
    answerWith("GET builders", 500, body ?? "null");
    await assert.rejects(listBuilders(), (error: ApiError) => error.code === "bad_answer");
  }
});

test("api without a server says that TensorBoard does not answer", async () => {
  const gone = await startFakeTensorBoard();
  gone.close();
  (globalThis as { document?: unknown }).document = { baseURI: gone.base };
  await assert.rejects(listCheckpoints(), (error: ApiError) => {
    assert.equal(error.code, "unreachable");
    assert.match(error.message, /^TensorBoard does not answer\./);
    return true;
  });
});
