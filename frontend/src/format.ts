/** Numbers, sizes, times and shapes as people read them. */

const grouped = new Intl.NumberFormat("en-US");
const clock = new Intl.DateTimeFormat("sv-SE", { dateStyle: "short", timeStyle: "medium" });
const ago = new Intl.RelativeTimeFormat("en", { numeric: "always", style: "narrow" });

const BYTE_UNITS = ["kB", "MB", "GB", "TB", "PB"];
const TIME_UNITS: [Intl.RelativeTimeFormatUnit, number][] = [
  ["year", 365 * 86_400],
  ["month", 30 * 86_400],
  ["week", 7 * 86_400],
  ["day", 86_400],
  ["hour", 3_600],
  ["minute", 60],
];

export function formatCount(value: number): string {
  return grouped.format(value);
}

export function formatNumberOf(count: number, one: string, many = `${one}s`): string {
  return `${formatCount(count)} ${count === 1 ? one : many}`;
}

/** Decimal units, as disks and `ls --si` have them; three significant digits. */
export function formatBytes(bytes: number): string {
  if (bytes < 1_000) return `${bytes} B`;
  let value = bytes;
  let unit = "B";
  for (const next of BYTE_UNITS) {
    // Compared as it will be rounded: 999,999 bytes are 1.00 MB, not 1000 kB.
    if (value < 999.5) break;
    value /= 1_000;
    unit = next;
  }
  const digits = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
  return `${value.toFixed(digits)} ${unit}`;
}

export function formatExactBytes(bytes: number): string {
  return formatNumberOf(bytes, "byte");
}

export function formatTime(seconds: number): string {
  return clock.format(seconds * 1_000);
}

/** "3h ago"; a clock that is a little ahead (a network file system's) still reads as now. */
export function formatAge(seconds: number, nowSeconds: number): string {
  const age = nowSeconds - seconds;
  if (Math.abs(age) < 60) return "just now";
  const [unit, length] = TIME_UNITS.find(([, length]) => Math.abs(age) >= length) ?? ["minute", 60];
  return ago.format(-Math.trunc(age / length), unit);
}

export function formatSeconds(seconds: number): string {
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  return whole < 60 ? `${whole} s` : `${Math.floor(whole / 60)} min ${whole % 60} s`;
}

/** As TensorFlow prints it; `?` is an unknown dimension, and an unknown rank altogether. */
export function formatShape(shape: unknown): string {
  if (shape === null || shape === undefined) return "?";
  if (!Array.isArray(shape)) return String(shape);
  if (shape.length === 0) return "scalar";
  return `[${shape.map((n) => (n === null || n < 0 ? "?" : n)).join(", ")}]`;
}

/** A measured difference: enough digits to compare with its tolerance, and a plain 0.0 for none. */
export function formatDifference(value: number): string {
  if (value === 0) return "0.0";
  return value >= 0.001 && value < 1_000 ? String(Number(value.toPrecision(3))) : value.toExponential(1);
}

/** The run that is the logdir itself is `.`, as TensorBoard names it. */
export function formatRun(run: string): string {
  return run === "" ? "." : run;
}

/** A checkpoint's key as people read it: without what every key of an object-based one ends in. */
export function formatKey(key: string): string {
  return key.replace(/\/\.ATTRIBUTES\/VARIABLE_VALUE$/, "");
}

/** Where a key is in the checkpoint, through the model; and the key where it is another name: an optimizer's, say. */
export function formatPlace(place: string, key: string): string {
  const name = formatKey(key);
  return name === place ? place : `${place} (key: ${name})`;
}
