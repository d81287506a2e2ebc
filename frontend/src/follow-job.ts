/** Follow a job until it has ended. */

import { ApiError, type Job } from "./api";

const POLL_MILLISECONDS = 400;
// One lost answer is no reason to give up on a minute's work.
const LOST_ANSWERS = 5;

export interface JobSource<Result> {
  read: (id: string) => Promise<Job<Result>>;
  wait?: (milliseconds: number) => Promise<void>;
}

/**
 * Calls `changed` with every state of the job that is seen, and resolves with the last.
 *
 * @throws ApiError what the API answered; "unreachable" only once it has stayed so for a while.
 */
export async function followJob<Result>(
  started: Job<Result>,
  changed: (job: Job<Result>) => void,
  { read, wait = sleep }: JobSource<Result>,
): Promise<Job<Result>> {
  let job = started;
  let lost = 0;
  changed(job);
  while (job.state === "running") {
    await wait(POLL_MILLISECONDS * (lost + 1));
    try {
      job = await read(job.id);
      lost = 0;
      changed(job);
    } catch (thrown) {
      const mayPass = thrown instanceof ApiError && thrown.code === "unreachable";
      if (!mayPass || ++lost >= LOST_ANSWERS) throw thrown;
    }
  }
  return job;
}

function sleep(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
