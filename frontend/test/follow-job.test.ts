import assert from "node:assert/strict";
import { test } from "node:test";
import { ApiError, type Job } from "../src/api";
import { followJob } from "../src/follow-job";

const wait = async () => undefined;

function job(state: Job["state"], step = ""): Job {
  return { id: "1", state, step, steps: [], result: null, error: null };
}

test("follow shows every step and ends with the job", async () => {
  const states = [job("running", "building"), job("running", "checking"), job("done")];
  const seen: string[] = [];
  const last = await followJob(job("running", "starting"), ({ step }) => seen.push(step), {
    read: async () => states.shift() ?? assert.fail("asked after the end"),
    wait,
  });
  assert.equal(last.state, "done");
  assert.deepEqual(seen, ["starting", "building", "checking", ""]);
});

test("follow outlives a lost answer and gives up when TensorBoard stays away", async () => {
  let asked = 0;
  const flaky = async () => {
    if (++asked < 3) throw new ApiError("unreachable", "TensorBoard does not answer.");
    return job("done");
  };
  assert.equal((await followJob(job("running"), () => undefined, { read: flaky, wait })).state, "done");
  const gone = async () => {
    throw new ApiError("unreachable", "TensorBoard does not answer.");
  };
  await assert.rejects(followJob(job("running"), () => undefined, { read: gone, wait }), /does not answer/);
});

test("follow ends at once where the server says no", async () => {
  let asked = 0;
  const forgotten = async () => {
    asked++;
    throw new ApiError("not_found", "There is no such job.", "", 404);
  };
  await assert.rejects(followJob(job("running"), () => undefined, { read: forgotten, wait }), /no such job/);
  assert.equal(asked, 1);
});
