import assert from "node:assert/strict";
import { test } from "node:test";
import type { Parameter } from "../src/api";
import { coerceTexts, describeDefault, textsOf } from "../src/arguments";

function parameter(annotation: string | null, more: Partial<Parameter> = {}): Parameter {
  return { name: "p", annotation, required: false, default: null, optional: false, open: false, ...more };
}

function coerce(text: string, annotation: string | null, more: Partial<Parameter> = {}) {
  const { arguments: values, wrong } = coerceTexts([parameter(annotation, more)], { p: text });
  return wrong.p ?? { value: values.p };
}

test("arguments are coerced by their annotation", () => {
  assert.deepEqual(coerce("128", "int"), { value: 128 });
  assert.deepEqual(coerce("1_000", "int"), { value: 1000 });
  assert.deepEqual(coerce(" -3 ", "int"), { value: -3 });
  assert.deepEqual(coerce("1e-3", "float"), { value: 0.001 });
  assert.deepEqual(coerce("2", "float"), { value: 2 });
  assert.deepEqual(coerce("true", "bool"), { value: true });
  assert.deepEqual(coerce("No", "bool"), { value: false });
  assert.deepEqual(coerce("128", "str"), { value: "128" });
  assert.deepEqual(coerce('""', "str"), { value: "" });
});

test("arguments without an annotation are JSON scalars, else text", () => {
  assert.deepEqual(coerce("128", null), { value: 128 });
  assert.deepEqual(coerce("false", null), { value: false });
  assert.deepEqual(coerce("null", null), { value: null });
  assert.deepEqual(coerce('"128"', null), { value: "128" });
  assert.deepEqual(coerce("relu", null), { value: "relu" });
  assert.deepEqual(coerce("[1]", null), { value: "[1]" });
  assert.deepEqual(coerce("1e999", null), { value: "1e999" });
});

test("arguments that do not fit are named and not sent", () => {
  assert.equal(coerce("1.5", "int"), "takes an int");
  assert.equal(coerce("0x10", "int"), "takes an int");
  assert.equal(coerce("99999999999999999999", "int"), "is larger than this form can hold");
  assert.equal(coerce("inf", "float"), "takes a float");
  assert.equal(coerce("NaN", "float"), "takes a float");
  assert.equal(coerce("maybe", "bool"), "takes true or false");
});

test("arguments left empty leave the default, unless they are required", () => {
  assert.deepEqual(coerceTexts([parameter("int")], {}), { arguments: {}, unknown: [], wrong: {} });
  assert.deepEqual(coerceTexts([parameter("int", { required: true })], { p: "  " }).wrong, { p: "is required" });
});

test("arguments that are optional take None", () => {
  assert.deepEqual(coerce("None", "int", { optional: true }), { value: null });
  assert.equal(coerce("None", "int"), "takes an int");
  assert.deepEqual(coerce("None", "str", { optional: true }), { value: "None" });
});

test("arguments given as ? are to be found where they may be integers, and a string's is its text", () => {
  const parameters = [
    parameter("int", { name: "units", default: 128 }),
    parameter("int", { name: "depth", required: true }),
    parameter(null, { name: "size", required: true }),
    parameter("str", { name: "name" }),
    parameter("float", { name: "rate" }),
    parameter(null, { name: "rest", open: true }),
  ];
  const texts = { units: " ? ", depth: "?", size: "?", name: "?", rate: "?", rest: "?" };
  const coerced = coerceTexts(parameters, texts);
  assert.deepEqual(coerced.unknown, ["units", "depth", "size"]);
  assert.deepEqual(coerced.arguments, { name: "?" });
  assert.deepEqual(Object.keys(coerced.wrong), ["rate", "rest"]);
});

test("arguments of a builder that takes every name are one JSON object", () => {
  const parameters = [parameter("int", { name: "units" }), parameter(null, { name: "rest", open: true })];
  const texts = { units: "3", rest: '{"depth": 2}' };
  assert.deepEqual(coerceTexts(parameters, texts).arguments, { units: 3, depth: 2 });
  assert.match(coerceTexts(parameters, { rest: "[1]" }).wrong.rest ?? "", /JSON object/);
  assert.match(coerceTexts(parameters, { rest: '{"a": {}}' }).wrong.rest ?? "", /JSON object/);
  assert.deepEqual(textsOf(parameters, { units: 3, depth: 2 }), { units: "3", rest: '{"depth":2}' });
});

test("arguments come back as they were when nobody touches the form", () => {
  const values = { a: 512, b: 0.25, c: true, d: "relu", e: null, f: "128", g: "" };
  const parameters = [
    parameter("int", { name: "a" }),
    parameter("float", { name: "b" }),
    parameter("bool", { name: "c" }),
    parameter("str", { name: "d" }),
    parameter("float", { name: "e", optional: true }),
    parameter(null, { name: "f" }),
    parameter("str", { name: "g" }),
  ];
  assert.deepEqual(coerceTexts(parameters, textsOf(parameters, values)), { arguments: values, unknown: [], wrong: {} });
});

test("default reads as Python", () => {
  const shown = [
    parameter("int", { default: 128 }),
    parameter("bool", { default: false }),
    parameter("float", { optional: true }),
    parameter("int", { required: true }),
    // A default that is no JSON scalar comes as null.
    parameter(null),
  ].map(describeDefault);
  assert.deepEqual(shown, ["128", "False", "None", "", "…"]);
});
