/** The HTTP API: its types, and the only place that fetches. */

export type State = "listed" | "complete" | "incomplete" | "corrupt" | "unreadable";
export type Scalar = string | number | boolean | null;
export type Arguments = Record<string, Scalar>;
export type BuildersState = "loading" | "ready" | "none";

export interface Pairing {
  builder: string | null;
  arguments: Arguments;
  reason: string;
  claims: string[];
}

export interface Checkpoint {
  id: string;
  run: string;
  name: string;
  prefix: string;
  step: number | null;
  bytes: number;
  /** Seconds since the epoch. */
  modified: number;
  format: string | null;
  state: State;
  problem: string;
  pairing: Pairing;
}

export interface Logdir {
  name: string;
  path: string;
}

export interface CheckpointsAnswer {
  logdirs: Logdir[];
  checkpoints: Checkpoint[];
  problems: string[];
  builders: { state: BuildersState };
  graphs: { attached: boolean; problem: string };
}

export interface Parameter {
  name: string;
  annotation: string | null;
  required: boolean;
  default: unknown;
  /** None fits, too. */
  optional?: boolean;
  /** The builder's own `**kwargs`, which takes every name. */
  open?: boolean;
}

export interface Builder {
  name: string;
  checkpoints: string[];
  keras: string | null;
  graph: boolean | null;
  source: string;
  parameters: Parameter[];
  documentation: string;
  notes: string[];
}

export interface Problem {
  code: string;
  message: string;
  details: string;
}

export interface BuildersAnswer {
  state: BuildersState;
  builders: Builder[];
  problems: Problem[];
}

export type Shape = (number | null)[] | null;

export interface VariableRow {
  name: string;
  shape: Shape;
  dtype: string;
  /** The key that it most likely is; null where nothing is like it. */
  closest: string | null;
  /** Where that key is in the checkpoint, through the model: the key may be the optimizer's. */
  closest_place: string | null;
}

export interface StoredRow {
  key: string;
  shape: Shape;
  dtype: string;
}

export interface KeyRow extends StoredRow {
  /** Where it is in the checkpoint, through the model. */
  place: string;
  /** The variable that it most likely is; null where nothing is like it. */
  closest: string | null;
}

export interface BookkeepingRow extends StoredRow {
  /** The object that was saved beside the model and holds it; the training's own has none. */
  beside?: string;
}

export interface MismatchRow<T> {
  name: string;
  key: string;
  place: string;
  model: T;
  checkpoint: T;
}

export interface RenameRow {
  /** What the checkpoint says. */
  from: string;
  /** What the model says. */
  to: string;
  /** Variables that are bound through it, of so many keys that it renames. */
  count: number;
  of: number;
  /** Asked for, or only proposed. */
  applied: boolean;
}

export interface AmbiguousRename {
  from: string;
  /** The likeliest first. */
  to: string[];
  count: number;
}

export type VerdictStatus = "match" | "partial" | "mismatch" | "error";

export type SourceKind = "metagraph" | "saved_model" | "keras_config" | "objects";

/** Where a graph comes from without a builder. */
export interface Source {
  kind: SourceKind;
  title: string;
  where: string;
  description: string;
  /** It is deserialised in a worker, and only when asked for. */
  asked: boolean;
}

/** A group (`children`), a variable (`key`), or a reference to a node that stands elsewhere (`same_as`). */
export interface TreeNode {
  name: string;
  bookkeeping: boolean;
  same_as?: string;
  key?: string;
  shape?: number[];
  dtype?: string;
  variables?: number;
  parameters?: number;
  bytes?: number;
  children?: TreeNode[];
}

export interface Contents {
  format: string;
  root: TreeNode;
  left_out: number;
  notes: string[];
}

export interface Verdict {
  checkpoint: string;
  builder: string | null;
  arguments: Arguments;
  status: VerdictStatus;
  variables: number;
  bound: number;
  missing: VariableRow[];
  unexpected: KeyRow[];
  shape_mismatches: MismatchRow<Shape>[];
  dtype_mismatches: MismatchRow<string>[];
  bookkeeping: BookkeepingRow[];
  renames: RenameRow[];
  ambiguous_renames: AmbiguousRename[];
  /** What the status would be under the proposed renames; null where there is nothing to propose. */
  renamed_status: VerdictStatus | null;
  notes: string[];
  error: Problem | null;
}

/** One builder's place among all, by its verdict. */
export interface Candidate {
  builder: string;
  arguments: Arguments;
  status: VerdictStatus;
  variables: number;
  bound: number;
  missing: number;
  unexpected: number;
  reason: string;
  error: Problem | null;
}

export interface Proposal {
  builder: string;
  arguments: Arguments;
  reason: string;
}

export interface Ranking {
  checkpoint: string;
  /** The best first. */
  candidates: Candidate[];
  proposed: Proposal | null;
  reason: string;
}

export interface Solution {
  arguments: Arguments;
  determined: boolean;
  reason: string;
  verdict: Verdict | null;
}

export interface Check {
  status: "passed" | "skipped";
  reference: string;
  max_abs_difference: number | null;
  tolerance: number | null;
  note: string;
}

export interface ExportResult {
  filename: string;
  bytes: number;
  check: Check;
}

export interface Step {
  name: string;
  /** null while the step runs. */
  seconds: number | null;
}

export interface Job<Result = ExportResult> {
  id: string;
  state: "running" | "done" | "failed" | "cancelled";
  step: string;
  steps: Step[];
  result: Result | null;
  error: Problem | null;
}

export type Sides<T> = { a: T; b: T };

export interface DiffRow {
  /** That of a; of what b alone holds, that of b. */
  key: string;
  /** That of b where it is another one. */
  key_b?: string | null;
  /** Where it is in the model, of an object-based checkpoint. */
  path: string | null;
  /** The training's: an optimizer's state, a counter. */
  bookkeeping: boolean;
}

export interface MovedRow extends DiffRow {
  shape: Shape;
  relative_l2: number | null;
  l2: number | null;
  max_abs: number | null;
  differ: number;
  nan: Sides<number>;
  inf: Sides<number>;
}

/** How b differs from a. What only the diffs of builders tell is left out. */
export interface Diff extends Sides<{ name: string; variables: number }> {
  added: (DiffRow & StoredRow)[];
  removed: (DiffRow & StoredRow)[];
  reshaped: (DiffRow & Sides<Shape>)[];
  retyped: (DiffRow & Sides<string>)[];
  /** null where the values were not compared. */
  moved: MovedRow[] | null;
  same: number;
  same_bookkeeping: number;
  notes: string[];
}

export interface DiffRequest extends Sides<{ checkpoint: string }> {
  values: boolean;
}

export interface OpenedGraph {
  run: string;
  tag: string;
  key: string;
}

/** What a rebuild is asked for; without a builder the server goes by the checkpoint's pairing. */
export interface Subject {
  checkpoint: string;
  builder?: string;
  arguments?: Arguments;
  /** In a builder's stead. */
  source?: SourceKind;
  /** Rules FROM=TO. */
  renames?: string[];
}

export type ExportFormat = "metagraph" | "metagraph-text" | "saved_model" | "frozen" | "checkpoint" | "onnx";

export interface ExportRequest extends Subject {
  format: ExportFormat;
  allow_partial: boolean;
  check: boolean;
}

/** What could not be done. `status` is the HTTP status, 0 where no answer came. */
export class ApiError extends Error implements Problem {
  constructor(
    readonly code: string,
    message: string,
    readonly details = "",
    readonly status = 0,
  ) {
    super(message);
    this.name = "ApiError";
  }
}

/** Whatever was thrown, as a problem to show. */
export function toProblem(thrown: unknown): Problem {
  if (thrown instanceof ApiError) return thrown;
  return { code: "unexpected", message: thrown instanceof Error ? thrown.message : String(thrown), details: "" };
}

// Listing reads names only: an answer that takes longer than this will not come.
const LISTING_MILLISECONDS = 60_000;
// A body that is no JSON is a stranger's (a proxy's page, say): its beginning tells whose.
const SHOWN_CHARACTERS = 2_000;

export function listCheckpoints(): Promise<CheckpointsAnswer> {
  return ask("GET", "checkpoints", { signal: AbortSignal.timeout(LISTING_MILLISECONDS) });
}

export function listBuilders(): Promise<BuildersAnswer> {
  return ask("GET", "builders", { signal: AbortSignal.timeout(LISTING_MILLISECONDS) });
}

export async function listSources(checkpoint: string): Promise<Source[]> {
  return (await ask<{ sources: Source[] }>("GET", `sources?checkpoint=${encodeURIComponent(checkpoint)}`)).sources;
}

export function readContents(checkpoint: string): Promise<Contents> {
  return ask("GET", `contents?checkpoint=${encodeURIComponent(checkpoint)}`);
}

/** Takes seconds: a worker process imports TensorFlow and runs the builder. */
export function takeVerdict(subject: Subject): Promise<Verdict> {
  return ask("POST", "verdict", { body: subject });
}

/** Rebuilds every builder, and some of them several times. */
export function rankBuilders(checkpoint: string): Promise<Ranking> {
  return ask("POST", "which", { body: { checkpoint } });
}

/** Finds the integer arguments that `unknown` names; the builder is rebuilt with some values of each. */
export function solveArguments(subject: Subject, unknown: readonly string[]): Promise<Solution> {
  return ask("POST", "solve", { body: { ...subject, unknown } });
}

export async function startExport(request: ExportRequest): Promise<Job> {
  const answer = await ask<{ job: Job }>("POST", "export", { body: request, headers: { Prefer: "respond-async" } });
  return answer.job;
}

/** Reads what each holds, and no values. */
export function takeDiff(request: DiffRequest): Promise<Diff> {
  return ask("POST", "diff", { body: request });
}

/** As a job, for reading values takes as long as they are many. */
export async function startDiff(request: DiffRequest): Promise<Job<{ diff: Diff }>> {
  const headers = { Prefer: "respond-async" };
  const answer = await ask<{ job: Job<{ diff: Diff }> }>("POST", "diff", { body: request, headers });
  return answer.job;
}

export async function readJob<Result = ExportResult>(id: string): Promise<Job<Result>> {
  return jobIn<Result>(await ask("GET", jobPath(id)));
}

export async function cancelJob(id: string): Promise<void> {
  await ask("DELETE", jobPath(id));
}

/** Where the browser downloads a finished job's file from. */
export function fileUrl(id: string): string {
  return absolute(`${jobPath(id)}/file`);
}

export function openGraph(subject: Subject): Promise<OpenedGraph> {
  return ask("POST", "open", { body: subject });
}

function jobPath(id: string): string {
  return `jobs/${encodeURIComponent(id)}`;
}

// `GET jobs/ID` is the job itself; taken, too, in the envelope that `POST export` has.
function jobIn<Result>(answer: Job<Result> | { job: Job<Result> }): Job<Result> {
  return "job" in answer ? answer.job : answer;
}

// Relative to the iframe's <base>, which is the plugin's own route, whatever the path prefix is.
function absolute(path: string): string {
  return new URL(path, document.baseURI).href;
}

async function ask<T>(
  method: string,
  path: string,
  { body, headers = {}, signal }: { body?: unknown; headers?: Record<string, string>; signal?: AbortSignal } = {},
): Promise<T> {
  let response: Response;
  let text: string;
  try {
    response = await fetch(absolute(path), {
      method,
      headers: {
        Accept: "application/json",
        ...(body === undefined ? {} : { "Content-Type": "application/json" }),
        ...headers,
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      ...(signal === undefined ? {} : { signal }),
    });
    text = await response.text();
  } catch (thrown) {
    const late = thrown instanceof DOMException && thrown.name === "TimeoutError";
    throw late
      ? new ApiError("timeout", `TensorBoard did not answer within ${LISTING_MILLISECONDS / 1000} seconds.`)
      : new ApiError("unreachable", "TensorBoard does not answer. Is it still running?");
  }
  const answer = parse(text);
  if (response.ok && answer !== undefined) return answer as T;
  if (response.ok && text === "") return undefined as T;
  throw readError(response, answer, text);
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function readError(response: Response, answer: unknown, text: string): ApiError {
  const error = (answer as { error?: Partial<Problem> } | null | undefined)?.error;
  if (!response.ok && typeof error?.message === "string") {
    return new ApiError(error.code ?? "unknown", error.message, error.details ?? "", response.status);
  }
  const status = `${response.status} ${response.statusText}`.trim();
  return new ApiError(
    "bad_answer",
    `The answer (${status}) is not one that this tab understands; something between may have sent it.`,
    text.slice(0, SHOWN_CHARACTERS),
    response.status,
  );
}
