/** What a person chose to rebuild a checkpoint with: a builder and its arguments. */

import type { Arguments, Builder, Checkpoint, Source, SourceKind, Subject } from "./api";
import { coerceTexts, type Texts, textsOf } from "./arguments";

export interface Choice {
  /** "" leaves the source to the server: without a pairing, a graph that lies beside the checkpoint. */
  readonly builder: string;
  readonly texts: Texts;
  /** What stands in a builder's stead. */
  readonly source?: SourceKind;
  /** Rules FROM=TO, what the checkpoint says first. */
  readonly renames: readonly string[];
}

/** What is chosen before anybody chose: the pairing. */
export function choiceByPairing({ pairing }: Checkpoint, builders: readonly Builder[]): Choice {
  return chooseBuilder(pairing.builder ?? "", pairing, builders);
}

/** A builder with arguments that were found or proposed. */
export function chooseArguments(
  name: string,
  values: Arguments,
  builders: readonly Builder[],
  renames: readonly string[] = [],
): Choice {
  const builder = builders.find((b) => b.name === name);
  return { builder: name, texts: textsOf(builder?.parameters ?? [], values), renames };
}

/** The recorded arguments belong to the recorded builder; any other starts from its defaults. */
export function chooseBuilder(
  name: string,
  pairing: Checkpoint["pairing"],
  builders: readonly Builder[],
): Choice {
  const builder = builders.find((b) => b.name === name);
  const values = builder && name === pairing.builder ? pairing.arguments : {};
  return { builder: name, texts: textsOf(builder?.parameters ?? [], values), renames: [] };
}

/** The choice with more renames; a rule for what another one renames already takes its place. */
export function addRenames(choice: Choice, rules: readonly string[]): Choice {
  const sourceOf = (rule: string) => rule.split("=", 1)[0];
  const sources = rules.map(sourceOf);
  return { ...choice, renames: [...choice.renames.filter((rule) => !sources.includes(sourceOf(rule))), ...rules] };
}

export interface Plan {
  subject: Subject;
  /** The arguments that are to be found before anything can be rebuilt. */
  unknown: readonly string[];
  /** What is wrong with the arguments, by parameter. */
  wrong: Record<string, string>;
  /** Why nothing can be asked yet, as a sentence; "" where it can. */
  blocked: string;
  /** Why there is no verdict of this source, and no export: "" where there is. */
  noVerdict?: string;
  noExport?: string;
}

const NO_MODEL = "This is what the checkpoint holds, and no model: there is nothing to compare it with, or to export.";
const EXISTS = "This is an exported graph already: TensorFlow takes it and the checkpoint as they are.";

function planSource(checkpoint: string, source: SourceKind): Plan {
  const noVerdict = source === "objects" ? NO_MODEL : "";
  const noExport = source === "keras_config" ? "" : noVerdict || EXISTS;
  return { subject: { checkpoint, source }, wrong: {}, blocked: "", unknown: [], noVerdict, noExport };
}

/** What the choice asks the server for. */
export function planRebuild(
  checkpoint: Checkpoint,
  choice: Choice,
  builders: readonly Builder[],
  sources: readonly Source[] = [],
): Plan {
  const { id, pairing } = checkpoint;
  const renamed = choice.renames.length > 0 ? { renames: [...choice.renames] } : {};
  if (choice.builder === "") {
    // Whatever claims the checkpoint comes first; without any, the best that is merely parsed.
    const parsed = pairing.claims.length === 0 ? sources.find(({ asked }) => !asked)?.kind : undefined;
    const source = choice.source ?? parsed;
    if (source !== undefined) return planSource(id, source);
    const blocked =
      pairing.claims.length > 1
        ? `Choose a builder: ${pairing.claims.join(", ")} all claim this checkpoint.`
        : "";
    return { subject: { checkpoint: id, ...renamed }, unknown: [], wrong: {}, blocked };
  }
  const builder = builders.find((b) => b.name === choice.builder);
  if (!builder) {
    // Its parameters are not known (yet); the server knows or says so.
    const recorded: Arguments = choice.builder === pairing.builder ? pairing.arguments : {};
    const subject = { checkpoint: id, builder: choice.builder, arguments: recorded, ...renamed };
    return { subject, unknown: [], wrong: {}, blocked: "" };
  }
  const { arguments: values, unknown, wrong } = coerceTexts(builder.parameters, choice.texts);
  return {
    // Said even when empty: what was cleared in the form must not come back from a record.
    subject: { checkpoint: id, builder: builder.name, arguments: values, ...renamed },
    unknown,
    wrong,
    blocked: Object.entries(wrong)
      .map(([name, what]) => `${name} ${what}.`)
      .join(" "),
  };
}

/** The key of everything that an answer about this subject depends on and that this page can see. */
export function subjectKey(checkpoint: Checkpoint, subject: Subject, unknown: readonly string[] = []): string {
  const { builder, arguments: values = {}, renames = [], source } = subject;
  const sorted = Object.entries(values).sort(([a], [b]) => (a < b ? -1 : 1));
  // Training may write a checkpoint of this name again: then old verdicts are about another one.
  const what = source ? { source } : (builder ?? null);
  return JSON.stringify([checkpoint.id, checkpoint.modified, what, sorted, [...renames].sort(), ...unknown]);
}
