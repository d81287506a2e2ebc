/** Arguments of a builder: what people type, as the JSON scalars that the API takes. */

import type { Arguments, Parameter, Scalar } from "./api";

/** What stands in the form, by parameter. An empty text leaves the argument to the builder's default. */
export type Texts = Readonly<Record<string, string>>;

/** What is typed for an integer that the checkpoint is to tell. */
export const UNKNOWN = "?";

export interface Coerced {
  arguments: Arguments;
  /** The arguments that are to be found. */
  unknown: string[];
  /** What is wrong, by parameter. */
  wrong: Record<string, string>;
}

/** Reads the form by the same rules as `--set` on the command line: annotation, JSON scalar, else text. */
export function coerceTexts(parameters: readonly Parameter[], texts: Texts): Coerced {
  const coerced: Coerced = { arguments: {}, unknown: [], wrong: {} };
  for (const parameter of parameters) {
    const text = texts[parameter.name] ?? "";
    if (text.trim() === "") {
      if (parameter.required) coerced.wrong[parameter.name] = "is required";
      continue;
    }
    if (text.trim() === UNKNOWN && isSolvable(parameter)) {
      coerced.unknown.push(parameter.name);
      continue;
    }
    try {
      if (parameter.open) Object.assign(coerced.arguments, coerceObject(text));
      else coerced.arguments[parameter.name] = coerceText(text, parameter);
    } catch (thrown) {
      coerced.wrong[parameter.name] = (thrown as Error).message;
    }
  }
  return coerced;
}

/** An integer, by annotation or default, or what may be one for all that is known; a string's "?" is its text. */
export function isSolvable({ annotation, default: value, open }: Parameter): boolean {
  return !open && (annotation === "int" || (annotation === null && (value === null || value === undefined)));
}

/** The texts that stand for `values`, to begin the form with. */
export function textsOf(parameters: readonly Parameter[], values: Arguments): Texts {
  const texts: Record<string, string> = {};
  const rest: Arguments = {};
  for (const [name, value] of Object.entries(values)) {
    const parameter = parameters.find((p) => p.name === name && !p.open);
    if (parameter) texts[name] = textOf(value, parameter);
    else rest[name] = value;
  }
  const open = parameters.find((p) => p.open);
  if (open && Object.keys(rest).length > 0) texts[open.name] = JSON.stringify(rest);
  return texts;
}

/** What happens when nothing is typed, as a person would write it in Python. */
export function describeDefault({ default: value, required, optional }: Parameter): string {
  if (required) return "";
  if (value === null || value === undefined) return optional ? "None" : "…";
  if (value === true) return "True";
  if (value === false) return "False";
  return typeof value === "string" ? value : JSON.stringify(value);
}

function coerceText(text: string, { annotation, optional }: Parameter): Scalar {
  const word = text.trim();
  if (annotation === "str") {
    // Nothing typed means the default; a pair of quotes is how to say the empty string.
    return word === '""' || word === "''" ? "" : text;
  }
  if (optional && /^(none|null)$/i.test(word)) return null;
  switch (annotation) {
    case "int":
      return coerceInteger(word);
    case "float":
      return coerceFloat(word);
    case "bool":
      if (/^(true|yes|1)$/i.test(word)) return true;
      if (/^(false|no|0)$/i.test(word)) return false;
      throw new Error("takes true or false");
    default:
      return readScalar(text);
  }
}

function coerceInteger(word: string): number {
  if (!/^[+-]?\d(_?\d)*$/.test(word)) throw new Error("takes an int");
  const value = Number(word.replaceAll("_", ""));
  // JSON numbers are doubles here: a rounded argument would build another model without a word.
  if (!Number.isSafeInteger(value)) throw new Error("is larger than this form can hold");
  return value;
}

function coerceFloat(word: string): number {
  const value = Number(word.replaceAll("_", ""));
  if (!/^[+-]?[\d._]/.test(word) || !Number.isFinite(value)) throw new Error("takes a float");
  return value;
}

function readScalar(text: string): Scalar {
  try {
    const value: unknown = JSON.parse(text);
    // 1e999 parses as Infinity, which JSON cannot say again.
    const sayable = typeof value !== "number" || Number.isFinite(value);
    if (sayable && (value === null || typeof value !== "object")) return value as Scalar;
  } catch {
    // No JSON: then it is the text itself.
  }
  return text;
}

function coerceObject(text: string): Arguments {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    value = null;
  }
  const isScalar = (item: unknown) => item === null || typeof item !== "object";
  if (value === null || typeof value !== "object" || Array.isArray(value) || !Object.values(value).every(isScalar)) {
    throw new Error('takes a JSON object of scalars, such as {"depth": 3}');
  }
  return value as Arguments;
}

function textOf(value: Scalar, { annotation }: Parameter): string {
  if (value === null) return "None";
  if (value === "") return '""';
  // Where the type is open, a string that looks like a number must stay a string.
  if (typeof value === "string" && annotation !== "str" && readScalar(value) !== value) return JSON.stringify(value);
  return String(value);
}
