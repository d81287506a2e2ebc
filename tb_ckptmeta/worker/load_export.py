"""Load an export as its clients do, and run it. Runs in the worker, without user code."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf
from google.protobuf import text_format

from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.formats import STEM, get_format
from tb_ckptmeta.core.job import Check
from tb_ckptmeta.worker.frozen import TABLES
from tb_ckptmeta.worker.steps import Steps

v1 = tf.compat.v1

Values = dict[str, Any]


def run_export(job: Check, inputs: Values, initial: Values, steps: Steps) -> Values:
    """Load the export, give it `inputs` by signature name, and return its outputs by signature name.

    `initial`: variable -> value, for those that nothing restores: a check gives both sides the same beginning.

    Raises:
        CkptMetaError: ONNX_MISSING.
    """
    steps.begin("importing the export")
    folder = Path(job.export)
    file = folder / (STEM + get_format(job.format).suffix)
    match job.format:
        case "saved_model":
            return _run_saved_model(folder, inputs, initial, steps)
        case "checkpoint":
            return _run_metagraph(folder / (STEM + ".meta"), str(folder / STEM), inputs, initial, steps)
        case "frozen":
            return _run_frozen(file, job, inputs, initial, steps)
        case "onnx":
            return _run_onnx(file, inputs, steps)
    return _run_metagraph(file, job.prefix, inputs, initial, steps)


def _run_metagraph(file: Path, prefix: str, inputs: Values, initial: Values, steps: Steps) -> Values:
    with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
        saver = v1.train.import_meta_graph(str(file))
        if initial:
            session.run(v1.global_variables_initializer())
        if saver is not None:
            steps.begin("restoring the checkpoint")
            saver.restore(session, prefix)
        _load_initial(session, initial)
        session.run(v1.tables_initializer())
        return _run_signature(session, _read_signature(file), inputs, steps)


def _run_saved_model(folder: Path, inputs: Values, initial: Values, steps: Steps) -> Values:
    with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
        meta_graph = v1.saved_model.load(session, ["serve"], str(folder))
        _load_initial(session, initial)
        return _run_signature(session, meta_graph.signature_def["serving_default"], inputs, steps)


def _run_frozen(file: Path, job: Check, inputs: Values, initial: Values, steps: Steps) -> Values:
    graph_def = v1.GraphDef()
    graph_def.ParseFromString(file.read_bytes())
    with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
        begin = {f"{name}:0": tf.constant(value) for name, value in initial.items()}
        tf.graph_util.import_graph_def(graph_def, input_map=begin, name="")
        if any(n.name == TABLES for n in graph_def.node):
            session.run(TABLES)
        steps.begin("running the export")
        feeds = {tensor: inputs[name] for name, tensor in job.inputs.items()}
        return dict(session.run(dict(job.outputs), feeds))


def _run_onnx(file: Path, inputs: Values, steps: Steps) -> Values:
    if importlib.util.find_spec("onnxruntime") is None:
        raise CkptMetaError(
            Code.ONNX_MISSING,
            "The check of an ONNX export needs onnxruntime: "
            'pip install "tensorboard-plugin-ckptmeta[onnx]". Without the check (on the command line --no-check) it '
            "is not needed.",
        )
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    steps.begin("running the export")
    taken = {i.name for i in session.get_inputs()}  # an input that nothing reads is not among them
    names = [o.name for o in session.get_outputs()]
    return dict(zip(names, session.run(names, {n: v for n, v in inputs.items() if n in taken}), strict=True))


def _load_initial(session: Any, initial: Mapping[str, Any]) -> None:
    if initial:
        variables = {v.op.name: v for v in v1.global_variables()}
        for name, value in initial.items():
            variables[name].load(value, session)


def _run_signature(session: Any, signature: Any, inputs: Values, steps: Steps) -> Values:
    steps.begin("running the export")
    feeds = {i.name: inputs[n] for n, i in signature.inputs.items()}
    return dict(session.run({n: o.name for n, o in signature.outputs.items()}, feeds))


def _read_signature(file: Path) -> Any:
    meta_graph = v1.MetaGraphDef()
    if file.suffix == ".pbtxt":
        text_format.Parse(file.read_text(encoding="ascii"), meta_graph)
    else:
        meta_graph.ParseFromString(file.read_bytes())
    return meta_graph.signature_def["serving_default"]
