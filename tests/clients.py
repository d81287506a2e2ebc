"""Read exports with the clients that people have, without the models' source, and say how far their outputs are.

Usage: python -I clients.py REQUEST. REQUEST is a JSON file: {"rows": [{"id", "exports": {format: path}, "prefix": of
the original checkpoint, "inputs", "outputs": `.npz` by signature name, "tensors": {"inputs", "outputs": {signature
name: tensor name}}, "tolerance", "random": outputs that cannot be compared, "clients": [name…]}…], "scratch": a
folder, "report": a file, "hidden": modules that must be out of reach}. To the report a line of JSON is added for each
client of each row, before it begins, {"row", "client"}, and when it has ended, {"row", "client", "outcome"}:
{"difference", "within"} or {"error"}. The last line is {"foreign": modules of ours or of the models' that were
imported}.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import pathlib
import re
import shutil
import sys
import tempfile

import numpy as np
import tensorflow as tf

v1 = tf.compat.v1


def read_meta(path):
    return v1.MetaGraphDef.FromString(pathlib.Path(path).read_bytes())


def find_input(name, names, values):
    """Return what an input is fed: `*` is that of a model with one input, `*_values` a component of it."""
    if name in values:
        return values[name]
    if len(names) == 1 and "*" in values:
        return values["*"]
    (found,) = [value for key, value in values.items() if key.startswith("*_") and name.endswith(key[1:])]
    return found


def feed(inputs, values):
    """Return tensor name -> value for inputs: signature name -> tensor name."""
    return {tensor: find_input(name, inputs, values) for name, tensor in inputs.items()}


def run(session, inputs, outputs, values):
    return session.run(dict(outputs), feed(inputs, values))


def names_of(infos):
    return {name: info.name for name, info in infos.items()}


def run_signature(session, signature, values):
    return run(session, names_of(signature.inputs), names_of(signature.outputs), values)


def restore_meta(meta, prefix, values):
    with tf.Graph().as_default(), v1.Session() as session:
        saver = v1.train.import_meta_graph(meta)
        if saver is not None:
            saver.restore(session, prefix)
        session.run(v1.tables_initializer())
        left = session.run(v1.report_uninitialized_variables())
        if left.size:
            session.run(v1.variables_initializer([v for v in v1.global_variables() if v.op.name.encode() in left]))
        return run_signature(session, read_meta(meta).signature_def["serving_default"], values)


def run_graph_def(path, tensors, values, tables=("init_all_tables",)):
    graph_def = v1.GraphDef.FromString(pathlib.Path(path).read_bytes())
    with tf.Graph().as_default(), v1.Session() as session:
        tf.import_graph_def(graph_def, name="")
        session.run([node.name for node in graph_def.node if node.name in tables])
        return run(session, tensors["inputs"], tensors["outputs"], values)


def import_meta_graph(request, values):
    return restore_meta(request["exports"]["metagraph"], request["prefix"], values)


def freeze_graph(request, values):
    from tensorflow.python.tools import freeze_graph as tool

    target = str(pathlib.Path(request["folder"], "by_freeze_graph.pb"))
    meta = read_meta(request["exports"]["metagraph"])
    if not meta.HasField("saver_def"):
        raise ValueError("there is no variable to freeze")
    names = {t.partition(":")[0]: None for side in request["tensors"].values() for t in side.values()}
    # What fills the tables is no output's ancestor: it has to be asked for.
    collection = meta.collection_def["table_initializer"]
    tables = [*collection.node_list.value, *(name.decode() for name in collection.bytes_list.value)]
    with tf.Graph().as_default():
        tool.freeze_graph_with_def_protos(
            None,
            None,
            request["prefix"],
            ",".join([*names, *tables]),
            None,
            None,
            target,
            True,
            "",
            input_meta_graph_def=meta,
        )
    return run_graph_def(target, request["tensors"], values, tables)


def _beside_the_checkpoint(request):
    """Return a `.meta` with links to the checkpoint's files beside it, as clients that take one path want it."""
    folder = pathlib.Path(request["folder"], "beside")
    if not folder.exists():
        folder.mkdir()
        shutil.copy(request["exports"]["metagraph"], folder / "model.meta")
        prefix = pathlib.Path(request["prefix"])
        # Of the V1 format the checkpoint is one file, called like the prefix.
        for file in [prefix, *prefix.parent.glob(f"{prefix.name}.*")]:
            if file.is_file() and not file.name.endswith(".meta"):
                (folder / f"model{file.name.removeprefix(prefix.name)}").symlink_to(file.resolve())
    return folder / "model.meta"


def tf2onnx_checkpoint(request, values):
    from tf2onnx import convert

    target = pathlib.Path(request["folder"], "by_tf2onnx.onnx")
    meta = _beside_the_checkpoint(request)
    tensors = request["tensors"]
    arguments = ["tf2onnx", "--checkpoint", str(meta), "--output", str(target), "--opset", "18"]
    arguments += ["--inputs", ",".join(tensors["inputs"].values())]
    arguments += ["--outputs", ",".join(tensors["outputs"].values())]
    before, sys.argv = sys.argv, arguments
    try:
        convert.main()
    finally:
        sys.argv = before
    found = run_onnx(target, feed(tensors["inputs"], values))
    return {name: found[tensor] for name, tensor in tensors["outputs"].items()}


def run_onnx(path, values):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    taken = {i.name for i in session.get_inputs()}
    names = [o.name for o in session.get_outputs()]
    return dict(zip(names, session.run(names, {n: v for n, v in values.items() if n in taken}), strict=True))


def onnxruntime(request, values):
    inputs = request["tensors"]["inputs"]
    return run_onnx(request["exports"]["onnx"], {name: find_input(name, inputs, values) for name in inputs})


def openvino(request, values):
    import openvino

    meta = _beside_the_checkpoint(request)
    tensors = request["tensors"]
    compiled = openvino.compile_model(
        openvino.convert_model(str(meta)), "CPU", {"INFERENCE_PRECISION_HINT": "f32", "EXECUTION_MODE_HINT": "ACCURACY"}
    )
    fed = {}
    for port in compiled.inputs:
        (name,) = [n for n, t in tensors["inputs"].items() if {n, t, t.partition(":")[0]} & port.names]
        fed[port] = find_input(name, tensors["inputs"], values)
    found = compiled(fed)
    outputs = {}
    for name, tensor in tensors["outputs"].items():
        ports = [p for p in compiled.outputs if {name, tensor, tensor.partition(":")[0]} & p.names]
        if not ports:
            raise ValueError(f"no output is called {tensor}, but {[sorted(p.names) for p in compiled.outputs]}")
        outputs[name] = found[ports[0]]
    return outputs


def saved_model_cli(request, values):
    from tensorflow.python.tools import saved_model_cli as tool

    folder = pathlib.Path(request["folder"], "by_cli")
    show = ["show", "--dir", request["exports"]["saved_model"], "--all"]
    arguments = ["run", "--dir", request["exports"]["saved_model"], "--tag_set", "serve"]
    arguments += ["--signature_def", "serving_default", "--outdir", str(folder), "--overwrite", "--inputs"]
    # Its inputs are files, one for each.
    pairs = []
    for index, name in enumerate(request["tensors"]["inputs"]):
        file = pathlib.Path(request["folder"], f"input_{index}.npy")
        value = np.asarray(find_input(name, request["tensors"]["inputs"], values))
        np.save(file, value.astype(bytes) if value.dtype.kind in "OU" else value, allow_pickle=False)
        pairs.append(f"{name}={file}")
    before = sys.argv
    for call in (show, [*arguments, ";".join(pairs)]):
        sys.argv = ["saved_model_cli", *call]
        try:
            tool.main()
        except SystemExit as ended:
            if ended.code:
                raise
        finally:
            sys.argv = before
    # Strings it saves as Python's objects.
    return {name: np.load(folder / f"{name}.npy", allow_pickle=True) for name in request["tensors"]["outputs"]}


def saved_model_load(request, values):
    signature = tf.saved_model.load(request["exports"]["saved_model"]).signatures["serving_default"]
    specs = signature.structured_input_signature[1]
    found = signature(**{n: tf.constant(find_input(n, specs, values), spec.dtype) for n, spec in specs.items()})
    return {name: tensor.numpy() for name, tensor in found.items()}


def saved_model_load_v1(request, values):
    with tf.Graph().as_default(), v1.Session() as session:
        meta = v1.saved_model.load(session, ["serve"], request["exports"]["saved_model"])
        return run_signature(session, meta.signature_def["serving_default"], values)


def import_graph_def(request, values):
    return run_graph_def(request["exports"]["frozen"], request["tensors"], values)


def saver(request, values):
    prefix = request["exports"]["checkpoint"]
    return restore_meta(prefix + ".meta", prefix, values)


CLIENTS = {
    "import_meta_graph": import_meta_graph,
    "freeze_graph": freeze_graph,
    "tf2onnx --checkpoint": tf2onnx_checkpoint,
    "OpenVINO": openvino,
    "saved_model_cli": saved_model_cli,
    "tf.saved_model.load": saved_model_load,
    "v1.saved_model.load": saved_model_load_v1,
    "import_graph_def": import_graph_def,
    "Saver": saver,
    "onnxruntime": onnxruntime,
}


def compare(found, expected, row):
    """Return the largest difference of all outputs, and whether each is within the row's tolerance."""
    if set(found) != set(expected):
        raise ValueError(f"outputs {sorted(found)}, the model has {sorted(expected)}")
    worst, within = 0.0, True
    for name, value in expected.items():
        actual = np.asarray(found[name])
        if actual.shape != value.shape:
            raise ValueError(f"output {name} is {actual.shape}, the model's is {value.shape}")
        if name in row["random"]:
            continue
        if value.dtype.kind not in "fc":
            same = np.array_equal(actual.astype(value.dtype), value)
            worst, within = (worst, within) if same else (float("inf"), False)
            continue
        difference = np.abs(actual.astype(np.complex128 if value.dtype.kind == "c" else np.float64) - value)
        difference = float(np.where(np.isnan(actual) & np.isnan(value), 0.0, difference).max(initial=0.0))
        bound = row["tolerance"] * max(1.0, float(np.nanmax(np.abs(value), initial=0.0)))
        worst, within = max(worst, difference), within and difference <= bound
    return {"difference": worst, "within": within}


def describe(error):
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # OpenVINO tells the place in its own source first.
    told = [line for line in lines if not line.startswith(("Check 'false' failed at", "FrontEnd API failed"))]
    told = [line for line in told if not line.endswith("detailed log:")] or lines or [""]
    if told[0].endswith(":"):
        told[0] = " ".join(told[:2])
    # Where the files lay today, and how a table is called today, is nobody's limit.
    text = re.sub(r"/[^ :'\"]*/", "", f"{type(error).__name__}: {told[0]}")
    return re.sub(r"hash_table_[\w.-]+", "hash_table_…", text)[:250]


def read(row, client, scratch):
    with np.load(row["inputs"], allow_pickle=True) as file:
        values = dict(file)
    with np.load(row["outputs"], allow_pickle=True) as file:
        expected = dict(file)
    try:
        with tempfile.TemporaryDirectory(dir=scratch) as folder, contextlib.redirect_stdout(io.StringIO()):
            return compare(CLIENTS[client]({**row, "folder": folder}, values), expected, row)
    except (Exception, SystemExit) as error:
        return {"error": describe(error)}


def main():
    request = json.loads(pathlib.Path(sys.argv[1]).read_text())
    within_reach = [m for m in request["hidden"] if importlib.util.find_spec(m) is not None]
    assert not within_reach, f"the models' source can be imported: {within_reach}"
    with open(request["report"], "a", encoding="utf-8", buffering=1) as report:
        for row in request["rows"]:
            for client in row["clients"]:
                known = {"row": row["id"], "client": client}
                report.write(json.dumps(known) + "\n")
                report.write(json.dumps({**known, "outcome": read(row, client, request["scratch"])}) + "\n")
        ours = ("tb_ckptmeta", "keras_hub", *request["hidden"])
        report.write(json.dumps({"foreign": sorted(m for m in sys.modules if m.partition(".")[0] in ours)}) + "\n")


if __name__ == "__main__":
    main()
