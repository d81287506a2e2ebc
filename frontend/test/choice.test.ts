import assert from "node:assert/strict";
import { test } from "node:test";
import type { Builder, Checkpoint } from "../src/api";
import type { Source } from "../src/api";
import { addRenames, chooseArguments, choiceByPairing, chooseBuilder, planRebuild, subjectKey } from "../src/choice";

const MLP: Builder = {
  name: "mlp",
  checkpoints: ["mlp/*"],
  keras: null,
  graph: null,
  source: "my_builders:mlp",
  parameters: [{ name: "units", annotation: "int", required: false, default: 128 }],
  documentation: "",
  notes: [],
};

function checkpoint(pairing: Partial<Checkpoint["pairing"]> = {}): Checkpoint {
  return {
    id: "id",
    run: "mlp",
    name: "ckpt-1",
    prefix: "/logs/mlp/ckpt-1",
    step: 1,
    bytes: 1,
    modified: 1,
    format: null,
    state: "listed",
    problem: "",
    pairing: { builder: null, arguments: {}, reason: "", claims: [], ...pairing },
  };
}

test("choice begins with the pairing and its recorded arguments", () => {
  const paired = checkpoint({ builder: "mlp", arguments: { units: 512 } });
  const choice = choiceByPairing(paired, [MLP]);
  assert.deepEqual(choice, { builder: "mlp", texts: { units: "512" }, renames: [] });
  assert.deepEqual(planRebuild(paired, choice, [MLP]).subject, { checkpoint: "id", builder: "mlp", arguments: { units: 512 } });
});

test("choice of another builder does not take the recorded arguments along", () => {
  assert.deepEqual(chooseBuilder("mlp", checkpoint({ builder: "other", arguments: { units: 512 } }).pairing, [MLP]), {
    builder: "mlp",
    texts: {},
    renames: [],
  });
});

test("plan says even empty arguments, so that a record cannot bring back what was cleared", () => {
  const paired = checkpoint({ builder: "mlp", arguments: { units: 512 } });
  const { subject } = planRebuild(paired, { builder: "mlp", texts: { units: "" }, renames: [] }, [MLP]);
  assert.deepEqual(subject, { checkpoint: "id", builder: "mlp", arguments: {} });
});

test("plan of a checkpoint that several claim is blocked until one is chosen", () => {
  const claimed = checkpoint({ claims: ["mlp", "other"] });
  assert.match(planRebuild(claimed, choiceByPairing(claimed, [MLP]), [MLP]).blocked, /Choose a builder: mlp, other/);
  assert.equal(planRebuild(claimed, { builder: "mlp", texts: {}, renames: [] }, [MLP]).blocked, "");
});

test("plan with a wrong argument is blocked and names it", () => {
  const plan = planRebuild(checkpoint(), { builder: "mlp", texts: { units: "many" }, renames: [] }, [MLP]);
  assert.equal(plan.blocked, "units takes an int.");
});

test("plan with a recorded builder that is not registered leaves the refusal to the server", () => {
  const paired = checkpoint({ builder: "gone", arguments: { depth: 3 } });
  const plan = planRebuild(paired, choiceByPairing(paired, [MLP]), [MLP]);
  assert.deepEqual(plan.subject, { checkpoint: "id", builder: "gone", arguments: { depth: 3 } });
  assert.equal(plan.blocked, "");
});

test("key tells checkpoints, builders, arguments and rewritten files apart", () => {
  const one = checkpoint();
  const key = subjectKey(one, { checkpoint: "id", builder: "mlp", arguments: { a: 1, b: 2 } });
  assert.equal(subjectKey(one, { checkpoint: "id", builder: "mlp", arguments: { b: 2, a: 1 } }), key);
  const others = [
    subjectKey(one, { checkpoint: "id", builder: "mlp", arguments: { a: 1 } }),
    subjectKey(one, { checkpoint: "id", builder: "mlp", arguments: { a: "1", b: 2 } }),
    subjectKey(one, { checkpoint: "id", builder: "other", arguments: { a: 1, b: 2 } }),
    subjectKey({ ...one, id: "id2" }, { checkpoint: "id2", builder: "mlp", arguments: { a: 1, b: 2 } }),
    subjectKey({ ...one, modified: 2 }, { checkpoint: "id", builder: "mlp", arguments: { a: 1, b: 2 } }),
    subjectKey(one, { checkpoint: "id", builder: "mlp", arguments: { a: 1, b: 2 }, renames: ["net=tower"] }),
  ];
  assert.equal(new Set([key, ...others]).size, 7);
});

test("renames are asked for with the rest, and a new rule for one name takes the old one's place", () => {
  const chosen = addRenames({ builder: "mlp", texts: {}, renames: ["net=a", "left=right"] }, ["net=tower", "x=y"]);
  assert.deepEqual(chosen.renames, ["left=right", "net=tower", "x=y"]);
  assert.deepEqual(planRebuild(checkpoint(), chosen, [MLP]).subject.renames, chosen.renames);
});

test("plan with an argument to be found names it, and another question than with any value", () => {
  const asked = planRebuild(checkpoint(), { builder: "mlp", texts: { units: "?" }, renames: [] }, [MLP]);
  assert.deepEqual([asked.unknown, asked.blocked, asked.subject.arguments], [["units"], "", {}]);
  const plain = planRebuild(checkpoint(), { builder: "mlp", texts: {}, renames: [] }, [MLP]);
  assert.notEqual(subjectKey(checkpoint(), asked.subject, asked.unknown), subjectKey(checkpoint(), plain.subject, plain.unknown));
  assert.deepEqual(chooseArguments("mlp", { units: 512 }, [MLP]), { builder: "mlp", texts: { units: "512" }, renames: [] });
});

const SOURCES: Source[] = [
  { kind: "keras_config", title: "Keras configuration", where: "train/events", description: "", asked: true },
  { kind: "metagraph", title: "MetaGraphDef", where: "ckpt-1.meta", description: "", asked: false },
  { kind: "objects", title: "Object graph", where: "ckpt-1", description: "", asked: false },
];

test("plan without a builder takes the best source that is merely parsed, unless another was chosen", () => {
  const alone = checkpoint();
  const plan = planRebuild(alone, choiceByPairing(alone, []), [], SOURCES);
  assert.deepEqual(plan.subject, { checkpoint: "id", source: "metagraph" });
  assert.match(plan.noExport ?? "", /exported graph already/);
  assert.equal(plan.noVerdict, "");
  const asked = planRebuild(alone, { builder: "", texts: {}, renames: [], source: "keras_config" }, [], SOURCES);
  assert.deepEqual([asked.subject.source, asked.noVerdict, asked.noExport], ["keras_config", "", ""]);
  assert.match(planRebuild(alone, { builder: "", texts: {}, renames: [], source: "objects" }, [], SOURCES).noVerdict ?? "", /no model/);
});

test("plan of a checkpoint that somebody claims guesses no source", () => {
  const claimed = checkpoint({ claims: ["mlp", "other"] });
  assert.deepEqual(planRebuild(claimed, choiceByPairing(claimed, []), [], SOURCES).subject, { checkpoint: "id" });
});

test("subject key tells sources from each other and from builders", () => {
  const keys = (["metagraph", "objects", undefined] as const).map((source) => subjectKey(checkpoint(), { checkpoint: "id", source }));
  assert.equal(new Set(keys).size, 3);
});
