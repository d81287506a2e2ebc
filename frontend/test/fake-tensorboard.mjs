// A stand-in for TensorBoard with made-up answers, to look at the tab and to test the API's client.
// `node test/serve.mjs` starts it for a browser.
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const staticFolder = join(here, "../../tb_ckptmeta/plugin/static");
// Fixed, or every listing would tell of checkpoints that were written again.
const now = Date.now() / 1000;
const PREFIX = "/prefix";
const BASE = `${PREFIX}/data/plugin/ckptmeta/`;

const TRACEBACK = `Traceback (most recent call last):
  File "/home/ada/models/vision_builders.py", line 14, in <module>
    from vision.backbones import resnet50_v3
ImportError: cannot import name 'resnet50_v3' from 'vision.backbones' (/home/ada/models/vision/backbones.py)
`;

export const BUILDERS = [
  {
    name: "mnist-mlp",
    checkpoints: ["mlp/*", "mlp-wide/*"],
    keras: "3",
    graph: null,
    source: "my_builders:mnist_mlp",
    parameters: [
      { name: "units", annotation: "int", required: false, default: 128, optional: false, open: false },
      { name: "dropout", annotation: "float", required: false, default: 0.1, optional: true, open: false },
      { name: "batch_norm", annotation: "bool", required: false, default: true, optional: false, open: false },
      { name: "activation", annotation: "str", required: false, default: "relu", optional: false, open: false },
    ],
    documentation: "The two-layer perceptron of the MNIST runs.",
    notes: [],
  },
  {
    name: "resnet",
    checkpoints: ["vision/**"],
    keras: "3",
    graph: null,
    source: "vision_builders:resnet",
    parameters: [{ name: "depth", annotation: "int", required: true, default: null, optional: false, open: false }],
    documentation: "",
    notes: ["Shadows the builder of the installed package vision-zoo."],
  },
  {
    name: "resnet-ema",
    checkpoints: ["vision/ema*"],
    keras: "3",
    graph: null,
    source: "vision_builders:resnet_ema",
    parameters: [],
    documentation: "",
    notes: [],
  },
  {
    name: "scoped",
    checkpoints: ["scoped/*"],
    keras: "legacy",
    graph: true,
    source: "my_builders:scoped",
    parameters: [],
    documentation: "",
    notes: [],
  },
];

const PAIRINGS = {
  mlp: { builder: "mnist-mlp", arguments: {}, reason: "pattern mlp/*", claims: ["mnist-mlp"] },
  "mlp-wide": {
    builder: "mnist-mlp",
    arguments: { units: 512 },
    reason: "recorded in mlp-wide/ckptmeta.json",
    claims: ["mnist-mlp"],
  },
  "vision/resnet50": {
    builder: "resnet",
    arguments: { depth: 50 },
    reason: "recorded in vision/resnet50/ckptmeta.json",
    claims: ["resnet"],
  },
  "vision/ema-sweep": {
    builder: null,
    arguments: {},
    reason: "patterns of resnet and resnet-ema both match",
    claims: ["resnet", "resnet-ema"],
  },
  scoped: { builder: "scoped", arguments: {}, reason: "pattern scoped/*", claims: ["scoped"] },
  "exotic/<img src=x onerror=alert(1)>": { builder: null, arguments: {}, reason: "", claims: [] },
};

function listCheckpoints(scenario) {
  if (scenario === "empty" || scenario === "bare") return [];
  const runs = Object.keys(PAIRINGS);
  const each = scenario === "many" ? 834 : 7;
  const checkpoints = [];
  runs.forEach((run, r) => {
    for (let i = 0; i < each; i++) {
      const step = (each - i) * (r === 0 ? 1000 : 2500);
      const state = r === 2 && i === 0 ? "incomplete" : r === 4 && i === 2 ? "corrupt" : i % 3 ? "listed" : "complete";
      checkpoints.push({
        id: createHash("sha256").update(`${run}/${step}`).digest("base64url").slice(0, 20),
        run,
        name: `ckpt-${step}`,
        prefix: `/data/logs/${run}/ckpt-${step}`,
        step,
        bytes: Math.round(1_234_567 * (r + 1) ** 3 * (1 + (i % 4) / 10)),
        modified: now - r * 7_300 - i * 1_900,
        format: state === "complete" ? (r === 4 ? "name" : "object") : null,
        state,
        problem:
          state === "incomplete"
            ? "Shard data-00001-of-00002 is missing; it may still be being written."
            : state === "corrupt"
              ? "The index's block 3 fails its checksum (stored 0x8d3f12aa, computed 0x00ff37c1)."
              : "",
        pairing: scenario === "no-builders" ? { builder: null, arguments: {}, reason: "", claims: [] } : PAIRINGS[run],
      });
    }
  });
  return checkpoints;
}

function answerCheckpoints(scenario) {
  return {
    logdirs: [{ name: "", path: "/data/logs" }],
    checkpoints: listCheckpoints(scenario),
    problems: scenario === "problems" ? ["/data/logs/old/ckptmeta.json is no record: line 3 is no JSON."] : [],
    builders: { state: builderState(scenario) },
    graphs:
      scenario === "detached"
        ? { attached: false, problem: "this TensorBoard has no graphs plugin to attach to." }
        : { attached: true, problem: "" },
  };
}

function builderState(scenario) {
  return { "no-builders": "none", bare: "none", loading: "loading" }[scenario] ?? "ready";
}

function answerBuilders(scenario) {
  const state = builderState(scenario);
  return {
    state,
    builders: state === "ready" ? BUILDERS : [],
    problems:
      scenario === "problems"
        ? [
            {
              code: "module_failed",
              message: "Builder module /home/ada/models/vision_builders.py could not be read; its last good builders stay.",
              details: TRACEBACK,
            },
          ]
        : [],
  };
}

const rows = (n, of) => Array.from({ length: n }, (_, i) => of(i));

function makeVerdict({ checkpoint, builder = null, arguments: values = {} }) {
  const verdict = {
    checkpoint,
    builder,
    arguments: values,
    status: "match",
    variables: 6,
    bound: 6,
    missing: [],
    unexpected: [],
    shape_mismatches: [],
    dtype_mismatches: [],
    bookkeeping: [
      { key: "save_counter/.ATTRIBUTES/VARIABLE_VALUE", shape: [], dtype: "int64" },
      ...rows(13, (i) => ({
        key: `optimizer/_variables/${i}/.ATTRIBUTES/VARIABLE_VALUE`,
        shape: i < 2 ? [] : [784, 128],
        dtype: i < 2 ? "int64" : "float32",
      })),
      ...rows(4, (i) => ({ key: `average/_trainable_variables/${i}`, shape: [128], dtype: "float32", beside: "average" })),
    ],
    renames: [],
    ambiguous_renames: [],
    renamed_status: null,
    notes: [],
    error: null,
  };
  if (builder === "scoped") {
    return {
      ...verdict,
      status: "error",
      variables: 0,
      bound: 0,
      bookkeeping: [],
      error: {
        code: "builder_failed",
        message: "Builder 'scoped' raised ImportError: cannot import name 'resnet50_v3' from 'vision.backbones'.",
        details: TRACEBACK,
      },
    };
  }
  if (builder === "resnet") {
    return {
      ...verdict,
      status: "mismatch",
      variables: 320,
      bound: 295,
      missing: rows(23, (i) => ({ name: `resnet/stage4/block${i}/conv/kernel`, shape: [3, 3, 512, 512], dtype: "float32" })),
      unexpected: rows(3, (i) => ({
        key: `model/_layers/${i}/_old_head/.ATTRIBUTES/VARIABLE_VALUE`,
        shape: [2048, 10],
        dtype: "float32",
      })),
      shape_mismatches: [
        { name: "resnet/head/kernel", key: "model/head/_kernel/.ATTRIBUTES/VARIABLE_VALUE", place: "model/head/_kernel", model: [2048, 1000], checkpoint: [2048, 10] },
        { name: "resnet/head/bias", key: "model/head/bias/.ATTRIBUTES/VARIABLE_VALUE", place: "model/head/bias", model: [1000], checkpoint: [10] },
      ],
      dtype_mismatches: [
        { name: "resnet/step", key: "model/step/.ATTRIBUTES/VARIABLE_VALUE", place: "model/step", model: "int64", checkpoint: "int32" },
      ],
      renames: [{ from: "encoder", to: "backbone/encoder", count: 54, of: 54, applied: false }],
      renamed_status: "match",
      notes: ["The variable 'aux_head/kernel' is read by no graph, and the checkpoint lacks it."],
    };
  }
  if (values.units === 512) {
    return {
      ...verdict,
      status: "partial",
      bound: 5,
      missing: [{ name: "dense_2/bias", shape: [null, 10], dtype: "float32" }],
    };
  }
  return verdict;
}

const STEPS = ["starting the worker", "importing TensorFlow", "building", "tracing", "binding", "checking"];
const STEP_MILLISECONDS = 500;

function jobAt(job) {
  const passed = Math.floor((Date.now() - job.startedAt) / STEP_MILLISECONDS);
  if (job.cancelled) return { id: job.id, state: "cancelled", step: "", steps: [], result: null, error: null };
  const done = passed >= STEPS.length;
  return {
    id: job.id,
    state: done ? "done" : "running",
    step: done ? "" : STEPS[passed],
    steps: STEPS.slice(0, passed + 1).map((name, i) => ({ name, seconds: i < passed ? 0.4 + i * 0.3 : null })),
    result: done
      ? {
          filename: job.format === "metagraph" ? "ckpt-7000.meta" : "ckpt-7000.pbtxt",
          bytes: 61_234,
          check: {
            status: job.check ? "passed" : "skipped",
            reference: "tf.train.Checkpoint's restore",
            max_abs_difference: job.check ? 0 : null,
            tolerance: job.check ? 1e-5 : null,
            note: job.check ? "" : "The check was switched off.",
          },
        }
      : null,
    error: null,
  };
}

const ENTRY_SCRIPT = 'import("./index.js").then((m) => void m.render());';
const ENTRY = `
<!DOCTYPE html>
<head><base href="plugin/ckptmeta/" /></head>
<body><script type="module">${ENTRY_SCRIPT}</script></body>
`;
// As TensorBoard sends it; a violation would show in the browser's console.
const CSP =
  "default-src 'self';font-src 'self' data:;img-src 'self' data: blob:;object-src 'none';" +
  "style-src 'self' data: 'unsafe-inline';connect-src 'self';" +
  `script-src 'self' 'sha256-${createHash("sha256").update(ENTRY_SCRIPT).digest("base64")}'`;
const AROUND = `<!DOCTYPE html><html><head><title>TensorBoard</title><style>
html,body{margin:0;height:100%}body{display:flex;flex-direction:column;font-family:Roboto,sans-serif}
header{flex:none;height:56px;background:#f57c00;color:#fff;display:flex;align-items:center;padding:0 16px;font-size:20px}
body.dark-mode{background:#303030}body.dark-mode header{background:#ef6c00}
iframe{flex:1;border:0;width:100%}</style></head>
<body><header>TensorBoard</header><iframe src="data/plugin_entry.html?name=ckptmeta"></iframe></body></html>`;

const SOURCES = [
  { kind: "keras_config", title: "Keras configuration", where: "train/events.out.tfevents.1", description: "Read when asked for.", asked: true },
  { kind: "objects", title: "Tree of variables", where: "ckpt-7000", description: "What the checkpoint itself holds.", asked: false },
];
const SUM = { bookkeeping: false, variables: 1, parameters: 32, bytes: 128 };
const KERNEL = { ...SUM, name: "kernel", key: "model/kernel/.ATTRIBUTES/VARIABLE_VALUE", shape: [4, 8], dtype: "float32" };
const CONTENTS = {
  format: "object",
  root: { ...SUM, name: "ckpt-7000", children: [{ ...SUM, name: "model", children: [KERNEL] }] },
  left_out: 0,
  notes: [],
};

/** Starts the stand-in; `requests` tells what it was asked, `answers` overrides what a route answers. */
export async function startFakeTensorBoard({ port = 0, scenario = "usual", delay = 1_500 } = {}) {
  const jobs = new Map();
  const requests = [];
  const answers = new Map();
  let current = scenario;

  async function answer(method, path, body, respond) {
    const route = `${method} ${path}`;
    const made = answers.get(route);
    if (made) return respond(...(await made(body)));
    if (route === "GET checkpoints") return respond(200, answerCheckpoints(current));
    if (route === "GET builders") return respond(200, answerBuilders(current));
    if (route === "GET sources") return respond(200, { sources: SOURCES });
    if (route === "GET contents") return respond(200, CONTENTS);
    if (route === "POST verdict") {
      await new Promise((resolve) => setTimeout(resolve, delay));
      return respond(200, makeVerdict(body));
    }
    if (route === "POST open") {
      return respond(200, { run: `• mlp • ckpt-7000 • ${body.builder ?? "meta"}`, tag: "forward", key: "bWxw_LTcw-A" });
    }
    if (route === "POST export") {
      // An id that only arrives whole when it is quoted.
      const job = { id: `job?${jobs.size + 1}`, startedAt: Date.now(), cancelled: false, ...body };
      jobs.set(job.id, job);
      return respond(202, { job: jobAt(job) }, { Location: `jobs/${encodeURIComponent(job.id)}` });
    }
    const [, id, file] = /^jobs\/([^/]+)(\/file)?$/.exec(path) ?? [];
    const job = id && jobs.get(decodeURIComponent(id));
    if (job && method === "DELETE") {
      job.cancelled = true;
      return respond(204, "");
    }
    if (job && file) return respond(200, "meta graph", { "Content-Disposition": 'attachment; filename="ckpt-7000.meta"' });
    if (job) return respond(200, jobAt(job));
    return respond(404, { error: { code: "not_found", message: `There is no ${path}.`, details: "" } });
  }

  const server = createServer(async (request, response) => {
    const { pathname, searchParams } = new URL(request.url, "http://localhost");
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const text = Buffer.concat(chunks).toString();
    const respond = (status, content, headers = {}) => {
      const json = typeof content !== "string";
      response.writeHead(status, { "Content-Type": json ? "application/json" : "text/html; charset=utf-8", ...headers });
      response.end(json ? JSON.stringify(content) : content);
    };
    if (searchParams.has("scenario")) current = searchParams.get("scenario");
    if (pathname === `${PREFIX}/`) return respond(200, AROUND);
    if (pathname === `${PREFIX}/data/plugin_entry.html`) return respond(200, ENTRY, { "Content-Security-Policy": CSP });
    if (pathname === `${BASE}index.js`) {
      return respond(200, await readFile(join(staticFolder, "index.js"), "utf8"), { "Content-Type": "text/javascript" });
    }
    if (!pathname.startsWith(BASE)) return respond(404, "Not found");
    const body = text ? JSON.parse(text) : undefined;
    const path = pathname.slice(BASE.length);
    requests.push({ method: request.method, path, headers: request.headers, body });
    return answer(request.method, path, body, respond);
  });
  await new Promise((resolve) => server.listen(port, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${server.address().port}`;
  return { url: `${url}${PREFIX}/`, base: `${url}${BASE}`, requests, answers, close: () => server.close() };
}
