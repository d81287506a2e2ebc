/** The exports of this page: each is a job of the server, followed to its end, and its file downloaded. */

import {
  cancelJob,
  type ExportRequest,
  fileUrl,
  type Job,
  type Problem,
  readJob,
  startExport,
  toProblem,
} from "./api";
import { followJob } from "./follow-job";

/** One export as far as it is known. */
export interface Export {
  request: ExportRequest;
  startedAt: number;
  /** null until the server has taken it on. */
  job: Job | null;
  /** When the step that runs was first seen, in milliseconds since the epoch. */
  stepAt: number;
  problem: Problem | null;
  /** Where the finished file can be had. */
  url: string;
}

export function isRunning({ job, problem }: Export): boolean {
  return problem === null && (job === null || job.state === "running");
}

/** The last export of each checkpoint. */
export class Exports {
  readonly #exports = new Map<string, Export>();
  readonly #changed: () => void;

  constructor(changed: () => void) {
    this.#changed = changed;
  }

  get(id: string): Export | null {
    return this.#exports.get(id) ?? null;
  }

  async run(request: ExportRequest): Promise<void> {
    const now = Date.now();
    let current: Export = { request, startedAt: now, stepAt: now, job: null, problem: null, url: "" };
    const show = (change: Partial<Export>) => {
      current = { ...current, ...change };
      this.#exports.set(request.checkpoint, current);
      this.#changed();
    };
    const showJob = (job: Job) => {
      const stepAt = job.step === current.job?.step ? current.stepAt : Date.now();
      show({ job, stepAt });
    };
    show({});
    try {
      const job = await followJob(await startExport(request), showJob, { read: readJob });
      if (job.state !== "done" || job.result === null) return;
      const url = fileUrl(job.id);
      show({ url });
      download(url, job.result.filename);
    } catch (thrown) {
      show({ problem: toProblem(thrown) });
    }
  }

  async cancel(id: string): Promise<void> {
    const job = this.#exports.get(id)?.job;
    // Whoever follows the job sees what came of it; an error here means that it has ended already.
    if (job) await cancelJob(job.id).catch(() => undefined);
  }
}

// The browser's own download: the file never passes through this page's memory.
function download(url: string, filename: string): void {
  const link = document.createElement("a");
  link.href = url;
  link.download = filename;
  document.body.append(link);
  link.click();
  link.remove();
}
