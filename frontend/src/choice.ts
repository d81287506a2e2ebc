/** What a person chose to rebuild a checkpoint with: a builder and its arguments. */

import type { Arguments, Builder, Checkpoint, Source, SourceKind, Subject } from "./api";
import { coerceTexts, type Texts, textsOf } from "./arguments";

export interface Choice {
  /** "" leaves the source to the server: without a pairing, a graph that lies beside the checkpoint. */
  readonly builder: string;
  readonly texts: Texts;
  /** What stands in a builder's stead. */
  readonly source?: SourceKind;
}

/** What is chosen before anybody chose: the pairing. */
export function choiceByPairing({ pairing }: Checkpoint, builders: readonly Builder[]): Choice {
  return chooseBuilder(pairing.builder ?? "", pairing, builders);
}

/** The recorded arguments belong to the recorded builder; any other starts from its defaults. */
export function chooseBuilder(
  name: string,
  pairing: Checkpoint["pairing"],
  builders: readonly Builder[],
): Choice {
  const builder = builders.find((b) => b.name === name);
  const values = builder && name === pairing.builder ? pairing.arguments : {};
  return { builder: name, texts: textsOf(builder?.parameters ?? [], values) };
}

export interface Plan {
  subject: Subject;
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
  return { subject: { checkpoint, source }, wrong: {}, blocked: "", noVerdict, noExport };
}

/** What the choice asks the server for. */
export function planRebuild(
  checkpoint: Checkpoint,
  choice: Choice,
  builders: readonly Builder[],
  sources: readonly Source[] = [],
): Plan {
  const { id, pairing } = checkpoint;
  if (choice.builder === "") {
    // Whatever claims the checkpoint comes first; without any, the best that is merely parsed.
    const parsed = pairing.claims.length === 0 ? sources.find(({ asked }) => !asked)?.kind : undefined;
    const source = choice.source ?? parsed;
    if (source !== undefined) return planSource(id, source);
    const blocked =
      pairing.claims.length > 1
        ? `Choose a builder: ${pairing.claims.join(", ")} all claim this checkpoint.`
        : "";
    return { subject: { checkpoint: id }, wrong: {}, blocked };
  }
  const builder = builders.find((b) => b.name === choice.builder);
  if (!builder) {
    // Its parameters are not known (yet); the server knows or says so.
    const recorded: Arguments = choice.builder === pairing.builder ? pairing.arguments : {};
    return { subject: { checkpoint: id, builder: choice.builder, arguments: recorded }, wrong: {}, blocked: "" };
  }
  const { arguments: values, wrong } = coerceTexts(builder.parameters, choice.texts);
  return {
    // Said even when empty: what was cleared in the form must not come back from a record.
    subject: { checkpoint: id, builder: builder.name, arguments: values },
    wrong,
    blocked: Object.entries(wrong)
      .map(([name, what]) => `${name} ${what}.`)
      .join(" "),
  };
}

/** The key of everything that an answer about this subject depends on and that this page can see. */
export function subjectKey(checkpoint: Checkpoint, { builder, arguments: values = {}, source }: Subject): string {
  const sorted = Object.entries(values).sort(([a], [b]) => (a < b ? -1 : 1));
  // Training may write a checkpoint of this name again: then old verdicts are about another one.
  return JSON.stringify([checkpoint.id, checkpoint.modified, builder ?? null, sorted, ...(source ? [source] : [])]);
}
