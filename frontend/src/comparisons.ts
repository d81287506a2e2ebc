/** Which checkpoint another one is compared with, and what came of it. */

import { type Answer, Answers } from "./answers";
import { ApiError, type Checkpoint, type Diff, type DiffRequest, readJob, startDiff, takeDiff } from "./api";
import { followJob } from "./follow-job";
import { formatRun } from "./format";
import { NEWEST_FIRST, sortCheckpoints } from "./listing";

/** What a person chose to compare with: the id of another checkpoint. */
export interface Compared {
  readonly other: string;
  readonly values: boolean;
}

/** Checkpoints of one run, to choose from. */
export interface Group {
  readonly label: string;
  readonly checkpoints: readonly Checkpoint[];
}

export interface Comparison {
  readonly groups: readonly Group[];
  readonly other: Checkpoint | null;
  readonly values: boolean;
  readonly answer: Answer<Diff> | null;
}

// More than that nobody looks through in a list; the nearest, and the newest of each run, are the ones that are wanted.
const MOST_OF_RUN = 100;
const MOST_OTHERS = 300;

/** The other checkpoints: of the same run the next older first, then the newer; then those of other runs. */
export function groupOthers(checkpoint: Checkpoint, checkpoints: readonly Checkpoint[]): Group[] {
  const sorted = sortCheckpoints(checkpoints, NEWEST_FIRST);
  const own = sorted.filter(({ run }) => run === checkpoint.run);
  const at = own.findIndex(({ id }) => id === checkpoint.id);
  const near = [...own.slice(at + 1), ...own.slice(0, Math.max(at, 0)).reverse()].slice(0, MOST_OF_RUN);
  const runs = new Map<string, Checkpoint[]>();
  for (const other of sorted) {
    if (other.run !== checkpoint.run) runs.set(other.run, [...(runs.get(other.run) ?? []), other]);
  }
  const most = Math.max(1, Math.floor(MOST_OTHERS / Math.max(1, runs.size)));
  const others = [...runs].slice(0, MOST_OTHERS).map(([run, found]) => ({
    label: formatRun(run),
    checkpoints: found.slice(0, most),
  }));
  return [{ label: "This run", checkpoints: near }, ...others].filter(({ checkpoints: found }) => found.length > 0);
}

/** Keeps what people chose to compare each checkpoint with, and the diffs. */
export class Comparisons {
  readonly #chosen = new Map<string, Compared>();
  readonly #diffs: Answers<Diff>;
  readonly #changed: () => void;
  /** Of the listing and the checkpoint that were asked about last: a page is drawn often, and sorting takes time. */
  #grouped: { id: string; listed: readonly Checkpoint[]; groups: Group[] } | null = null;

  constructor(changed: () => void) {
    this.#changed = changed;
    this.#diffs = new Answers<Diff>(changed);
  }

  get(checkpoint: Checkpoint, listed: readonly Checkpoint[]): Comparison {
    const groups = this.#group(checkpoint, listed);
    const chosen = this.#chosen.get(checkpoint.id);
    const other = listed.find(({ id }) => id === chosen?.other) ?? groups[0]?.checkpoints[0] ?? null;
    const values = chosen?.values ?? false;
    const answer = other ? this.#diffs.get(diffKey(checkpoint, other, values)) : null;
    return { groups, other, values, answer };
  }

  choose(checkpoint: Checkpoint, chosen: Compared): void {
    this.#chosen.set(checkpoint.id, chosen);
    this.#changed();
  }

  /** What has become of the other one: it is a, and this checkpoint b. */
  async compare(checkpoint: Checkpoint, listed: readonly Checkpoint[]): Promise<void> {
    const { other, values } = this.get(checkpoint, listed);
    if (other === null) return;
    const request = { a: { checkpoint: other.id }, b: { checkpoint: checkpoint.id }, values };
    await this.#diffs.ask(diffKey(checkpoint, other, values), () => (values ? measure(request) : takeDiff(request)));
  }

  #group(checkpoint: Checkpoint, listed: readonly Checkpoint[]): Group[] {
    const known = this.#grouped;
    if (known?.id === checkpoint.id && known.listed === listed) return known.groups;
    const groups = groupOthers(checkpoint, listed);
    this.#grouped = { id: checkpoint.id, listed, groups };
    return groups;
  }
}

async function measure(request: DiffRequest): Promise<Diff> {
  const job = await followJob(await startDiff(request), () => undefined, { read: readJob<{ diff: Diff }> });
  if (job.result) return job.result.diff;
  const { code, message, details } = job.error ?? { code: job.state, message: `It was ${job.state}.`, details: "" };
  throw new ApiError(code, message, details);
}

// A checkpoint of the same name that is written again is another one.
function diffKey(checkpoint: Checkpoint, other: Checkpoint, values: boolean): string {
  return JSON.stringify([other.id, other.modified, checkpoint.id, checkpoint.modified, values]);
}
