import assert from "node:assert/strict";
import { test } from "node:test";
import {
  formatAge,
  formatBytes,
  formatDifference,
  formatExactBytes,
  formatKey,
  formatPlace,
  formatNumberOf,
  formatSeconds,
  formatShape,
} from "../src/format";

test("format_bytes has three digits at most and never a thousand of a unit", () => {
  const sizes = [0, 999, 1_000, 1_234_567, 9_994_999, 9_995_000, 99_949_999, 999_499, 999_500, 1e9, 2.5e12];
  assert.deepEqual(sizes.map(formatBytes), [
    "0 B",
    "999 B",
    "1.00 kB",
    "1.23 MB",
    "9.99 MB",
    "10.0 MB",
    "99.9 MB",
    "999 kB",
    "1.00 MB",
    "1.00 GB",
    "2.50 TB",
  ]);
  assert.equal(formatExactBytes(1_234_567), "1,234,567 bytes");
});

test("format_age counts whole units, and a clock ahead reads as now", () => {
  const now = 1_000_000_000;
  assert.deepEqual(
    [now, now - 59, now + 30, now - 60, now - 7_199, now - 86_400 * 3, now - 86_400 * 800].map((t) => formatAge(t, now)),
    ["just now", "just now", "just now", "1m ago", "1h ago", "3d ago", "2y ago"].map((text) => text),
  );
});

test("format_shape reads as TensorFlow's", () => {
  assert.deepEqual([[784, 128], [], [null, 3], [-1], null, "float32"].map(formatShape), [
    "[784, 128]",
    "scalar",
    "[?, 3]",
    "[?]",
    "?",
    "float32",
  ]);
});

test("format_difference keeps small numbers apart from none", () => {
  assert.deepEqual([0, 1e-5, 2.384185791015625e-7, 0.0123456, 12].map(formatDifference), [
    "0.0",
    "1.0e-5",
    "2.4e-7",
    "0.0123",
    "12",
  ]);
});

test("format_seconds and counts read as a person says them", () => {
  assert.deepEqual([0.04, 9.94, 9.96, 59.4, 59.6, 125].map(formatSeconds), ["0.0 s", "9.9 s", "10 s", "59 s", "1 min 0 s", "2 min 5 s"]);
  assert.deepEqual([formatNumberOf(1, "run"), formatNumberOf(5_000, "run")], ["1 run", "5,000 runs"]);
});

test("key is shown without what every key of an object graph ends in", () => {
  assert.equal(formatKey("model/dense/_kernel/.ATTRIBUTES/VARIABLE_VALUE"), "model/dense/_kernel");
  assert.equal(formatKey("net/dense/kernel"), "net/dense/kernel");
});

test("place is shown with its key where that is another name", () => {
  assert.equal(formatPlace("model/a/_kernel", "model/a/_kernel/.ATTRIBUTES/VARIABLE_VALUE"), "model/a/_kernel");
  assert.equal(formatPlace("model/a/_kernel", "optimizer/v/0/.ATTRIBUTES/VARIABLE_VALUE"), "model/a/_kernel (key: optimizer/v/0)");
});
