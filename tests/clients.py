"""Read exports with the clients that people have, without the model's source, and say how far their outputs are.

Usage: python -I clients.py REQUEST. REQUEST is a JSON file: {"prefix": the original checkpoint, "inputs", "expected":
`.npz` by signature name, "exports": {format: path}, "tensors": {"inputs", "outputs": {signature name: tensor name}},
"clients": [name…], "folder": a scratch folder, "hidden": [module…]}. Prints {client: {"difference": max abs difference,
or null where outputs are no numbers and equal} or {"error": text}}.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import pathlib
import shutil
import sys

import numpy as np
import tensorflow as tf

v1 = tf.compat.v1


def read_signature(path):
    meta = v1.MetaGraphDef()
    meta.ParseFromString(pathlib.Path(path).read_bytes())
    return meta.signature_def["serving_default"]


def run(session, inputs, outputs, values):
    return session.run(dict(outputs), {tensor: values[name] for name, tensor in inputs.items()})


def names_of(infos):
    return {name: info.name for name, info in infos.items()}


def restore_meta(meta, prefix, values):
    signature = read_signature(meta)
    with tf.Graph().as_default(), v1.Session() as session:
        saver = v1.train.import_meta_graph(meta)
        saver.restore(session, prefix)
        session.run(v1.tables_initializer())
        return run(session, names_of(signature.inputs), names_of(signature.outputs), values)


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
    outputs = {o.partition(":")[0]: None for o in request["tensors"]["outputs"].values()}
    inputs = {i.partition(":")[0]: None for i in request["tensors"]["inputs"].values()}
    meta = v1.MetaGraphDef.FromString(pathlib.Path(request["exports"]["metagraph"]).read_bytes())
    # What fills the tables is no output's ancestor: it has to be asked for.
    tables = list(meta.collection_def["table_initializer"].node_list.value)
    with tf.Graph().as_default():
        tool.freeze_graph_with_def_protos(
            None,
            None,
            request["prefix"],
            ",".join([*outputs, *inputs, *tables]),
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
        for file in prefix.parent.glob(f"{prefix.name}.*"):
            if not file.name.endswith(".meta"):
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
    found = run_onnx(target, {tensors["inputs"][name]: value for name, value in values.items()})
    return {name: found[tensor] for name, tensor in tensors["outputs"].items()}


def run_onnx(path, values):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    taken = {i.name for i in session.get_inputs()}
    names = [o.name for o in session.get_outputs()]
    return dict(zip(names, session.run(names, {n: v for n, v in values.items() if n in taken}), strict=True))


def onnxruntime(request, values):
    return run_onnx(request["exports"]["onnx"], values)


def openvino(request, values):
    import openvino

    meta = _beside_the_checkpoint(request)
    tensors = request["tensors"]
    model = openvino.convert_model(str(meta), input=[t.partition(":")[0] for t in tensors["inputs"].values()])
    compiled = openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    fed = {}
    for port in compiled.inputs:
        (name,) = [n for n, t in tensors["inputs"].items() if {t, t.partition(":")[0]} & port.names]
        fed[port] = values[name]
    found = compiled(fed)
    outputs = {}
    for name, tensor in tensors["outputs"].items():
        (port,) = [p for p in compiled.outputs if {tensor, tensor.partition(":")[0]} & p.names]
        outputs[name] = found[port]
    return outputs


def saved_model_cli(request, values):
    from tensorflow.python.tools import saved_model_cli as tool

    folder = pathlib.Path(request["folder"], "by_cli")
    show = ["show", "--dir", request["exports"]["saved_model"], "--all"]
    arguments = ["run", "--dir", request["exports"]["saved_model"], "--tag_set", "serve"]
    arguments += ["--signature_def", "serving_default", "--outdir", str(folder), "--overwrite", "--inputs"]
    # Its inputs are files, one for each.
    pairs = []
    for index, (name, value) in enumerate(values.items()):
        file = pathlib.Path(request["folder"], f"input_{index}.npy")
        np.save(file, value, allow_pickle=False)
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
    return {name: np.load(folder / f"{name}.npy") for name in request["tensors"]["outputs"]}


def saved_model_load(request, values):
    signature = tf.saved_model.load(request["exports"]["saved_model"]).signatures["serving_default"]
    specs = signature.structured_input_signature[1]
    found = signature(**{name: tf.constant(value, specs[name].dtype) for name, value in values.items()})
    return {name: tensor.numpy() for name, tensor in found.items()}


def saved_model_load_v1(request, values):
    with tf.Graph().as_default(), v1.Session() as session:
        meta = v1.saved_model.load(session, ["serve"], request["exports"]["saved_model"])
        signature = meta.signature_def["serving_default"]
        return run(session, names_of(signature.inputs), names_of(signature.outputs), values)


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


def compare(found, expected):
    if set(found) != set(expected):
        raise ValueError(f"outputs {sorted(found)}, not {sorted(expected)}")
    worst = None
    for name, value in expected.items():
        actual = np.asarray(found[name])
        if actual.shape != value.shape:
            raise ValueError(f"{name} has shape {actual.shape}, not {value.shape}")
        if value.dtype.kind in "fc":
            difference = float(np.abs(actual.astype("float64") - value.astype("float64")).max(initial=0.0))
            worst = difference if worst is None else max(worst, difference)
        elif not np.array_equal(actual, value):
            raise ValueError(f"{name} is not equal")
    return worst


def describe(error):
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:300]


def main():
    request = json.loads(pathlib.Path(sys.argv[1]).read_text())
    with np.load(request["inputs"], allow_pickle=True) as file:
        values = dict(file)
    with np.load(request["expected"], allow_pickle=True) as file:
        expected = dict(file)
    hidden = [m for m in request.get("hidden", []) if importlib.util.find_spec(m) is not None]
    assert not hidden, f"the model's source can be imported: {hidden}"
    report = {}
    for name in request["clients"]:
        said = io.StringIO()
        try:
            with contextlib.redirect_stdout(said):
                report[name] = {"difference": compare(CLIENTS[name](request, values), expected)}
        except (Exception, SystemExit) as error:
            report[name] = {"error": describe(error)}
    print(json.dumps(report))


if __name__ == "__main__":
    main()
