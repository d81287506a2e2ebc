/** Filter, group and sort checkpoints into the rows of the list. */

import type { Checkpoint } from "./api";
import { formatRun } from "./format";

export type SortKey = "name" | "step" | "bytes" | "modified";

export interface Sort {
  key: SortKey;
  descending: boolean;
}

export interface RunRow {
  kind: "run";
  run: string;
  count: number;
  bytes: number;
  collapsed: boolean;
}

export interface CheckpointRow {
  kind: "checkpoint";
  checkpoint: Checkpoint;
}

export type Row = RunRow | CheckpointRow;

export const NEWEST_FIRST: Sort = { key: "modified", descending: true };

const collator = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

/** Every word of `text` occurs in the checkpoint's run and name, builders or state. */
export function filterCheckpoints(checkpoints: readonly Checkpoint[], text: string): readonly Checkpoint[] {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length === 0) return checkpoints;
  return checkpoints.filter((checkpoint) => {
    const { run, name, state, pairing } = checkpoint;
    const searched = [`${run}/${name}`, pairing.builder ?? "", ...pairing.claims, state].join("\n").toLowerCase();
    return words.every((word) => searched.includes(word));
  });
}

export function sortCheckpoints(checkpoints: readonly Checkpoint[], sort: Sort): Checkpoint[] {
  const direction = sort.descending ? -1 : 1;
  return [...checkpoints].sort(
    (a, b) =>
      compareBy(sort.key, a, b, direction) ||
      // Files that were copied share one time: the later step is the newer checkpoint.
      compareBy("step", a, b, -1) ||
      collator.compare(a.name, b.name) ||
      collator.compare(a.run, b.run),
  );
}

/** Sorted checkpoints under the heading of their run; the run with the first of all comes first. */
export function groupByRun(sorted: readonly Checkpoint[], collapsed: ReadonlySet<string>): Row[] {
  const runs = new Map<string, Checkpoint[]>();
  for (const checkpoint of sorted) {
    const known = runs.get(checkpoint.run);
    if (known) known.push(checkpoint);
    else runs.set(checkpoint.run, [checkpoint]);
  }
  const rows: Row[] = [];
  for (const [run, members] of runs) {
    const closed = collapsed.has(run);
    rows.push({
      kind: "run",
      run,
      count: members.length,
      bytes: members.reduce((sum, { bytes }) => sum + bytes, 0),
      collapsed: closed,
    });
    if (!closed) rows.push(...members.map((checkpoint): Row => ({ kind: "checkpoint", checkpoint })));
  }
  return rows;
}

/** What stays the same of a row when the list is read again. */
export function rowKey(row: Row): string {
  return row.kind === "run" ? `run:${row.run}` : `checkpoint:${row.checkpoint.id}`;
}

export function describePairing({ builder, claims }: Checkpoint["pairing"]): string {
  if (builder !== null) return builder;
  return claims.length > 1 ? `${claims.length} claims` : "";
}

export function fullName({ run, name }: Checkpoint): string {
  return formatRun(run) === "." ? name : `${run}/${name}`;
}

function compareBy(key: SortKey, a: Checkpoint, b: Checkpoint, direction: number): number {
  if (key === "name") return direction * collator.compare(a.name, b.name);
  const [left, right] = [a[key], b[key]];
  // A checkpoint without a step comes last in both directions.
  if (left === null || right === null) return left === right ? 0 : left === null ? 1 : -1;
  return direction * (left - right);
}
