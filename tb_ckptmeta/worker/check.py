"""Check an export as a stranger would use it: import, restore, run, compare. Runs in the worker, without user code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.job import INPUTS, REFERENCE, Check
from tb_ckptmeta.worker.arrays import load_arrays
from tb_ckptmeta.worker.reference import INITIAL, OUTPUT, RANDOM
from tb_ckptmeta.worker.steps import Steps

v1 = tf.compat.v1

# How far outputs may be apart, relative to max(1, max |reference|): about a hundred roundings of the type.
TOLERANCES = {
    "float64": 1e-5,
    "float32": 1e-5,
    "complex64": 1e-5,
    "complex128": 1e-5,
    "float16": 1e-2,
    "bfloat16": 1e-1,
}


def check(job: Check, folder: Path, steps: Steps) -> dict[str, Any]:
    """Import the export, restore it from the original checkpoint, and compare its outputs with the reference.

    Result: {"max_abs_difference", "tolerance", "outputs": {name: {"dtype", "shape", "max_abs_difference",
    "tolerance"}}}; numbers are None for outputs that are compared for equality.

    Raises:
        CkptMetaError: CHECK_FAILED, naming the first output that differs.
    """
    inputs = load_arrays(folder / INPUTS)
    reference = load_arrays(folder / REFERENCE)
    expected = {n.removeprefix(OUTPUT): v for n, v in reference.items() if n.startswith(OUTPUT)}
    random = {n.removeprefix(RANDOM): v for n, v in reference.items() if n.startswith(RANDOM)}
    initial = {n.removeprefix(INITIAL): v for n, v in reference.items() if n.startswith(INITIAL)}
    steps.begin("importing the export")
    actual = _run_metagraph(job, inputs, initial, steps)
    steps.begin("comparing")
    if set(actual) != {*expected, *random}:
        raise CkptMetaError(
            Code.CHECK_FAILED,
            f"The export has the outputs {sorted(actual)}, the model has {sorted({*expected, *random})}.",
        )
    for name, value in random.items():  # drawn anew by each call: what can be compared is the kind
        _compare(name, np.zeros_like(actual[name]), np.zeros_like(value))
    rows = {name: _compare(name, actual[name], expected[name]) for name in sorted(expected)}
    differences = [r["max_abs_difference"] for r in rows.values() if r["max_abs_difference"] is not None]
    tolerances = [r["tolerance"] for r in rows.values() if r["tolerance"] is not None]
    return {
        "max_abs_difference": max(differences, default=None),
        "tolerance": min(tolerances, default=None),
        "outputs": rows,
    }


def _run_metagraph(job: Check, inputs: dict[str, Any], initial: dict[str, Any], steps: Steps) -> dict[str, Any]:
    with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
        saver = v1.train.import_meta_graph(job.export)
        if initial:
            session.run(v1.global_variables_initializer())
        if saver is not None:
            steps.begin("restoring the original checkpoint")
            saver.restore(session, job.prefix)
        if initial:
            # What nothing restores begins at random: give both sides the same beginning.
            variables = {v.op.name: v for v in v1.global_variables()}
            for name, value in initial.items():
                variables[name].load(value, session)
        session.run(v1.tables_initializer())
        steps.begin("running the export")
        signature = _read_signature(job.export)
        feeds = {graph.get_tensor_by_name(i.name): inputs[n] for n, i in signature.inputs.items()}
        fetches = {n: graph.get_tensor_by_name(o.name) for n, o in signature.outputs.items()}
        return dict(session.run(fetches, feeds))


def _read_signature(path: str) -> Any:
    from google.protobuf import text_format

    meta_graph = v1.MetaGraphDef()
    content = Path(path).read_bytes()
    if path.endswith(".pbtxt"):
        text_format.Parse(content.decode("ascii"), meta_graph)
    else:
        meta_graph.ParseFromString(content)
    return meta_graph.signature_def["serving_default"]


def _compare(name: str, actual: Any, expected: Any) -> dict[str, Any]:
    """Compare one output.

    Raises:
        CkptMetaError: CHECK_FAILED, saying by how much it differs.
    """
    actual, expected = np.asarray(actual), np.asarray(expected)
    dtype = tf.as_dtype(expected.dtype).name
    row: dict[str, Any] = {"dtype": dtype, "shape": list(expected.shape), "max_abs_difference": None, "tolerance": None}
    if actual.shape != expected.shape:
        raise CkptMetaError(
            Code.CHECK_FAILED,
            f"Output {name!r} of the export has shape {list(actual.shape)}, the model's has {list(expected.shape)}.",
        )
    if dtype not in TOLERANCES:
        if not np.array_equal(actual, expected):
            raise CkptMetaError(Code.CHECK_FAILED, f"Output {name!r} ({dtype}) of the export is not the model's.")
        return row
    wide = np.complex128 if dtype.startswith("complex") else np.float64
    actual, expected = actual.astype(wide), expected.astype(wide)
    same = (actual == expected) | (np.isnan(actual) & np.isnan(expected))
    with np.errstate(invalid="ignore"):
        difference = np.where(same, 0.0, np.abs(actual - expected))
    finite = np.abs(expected[np.isfinite(expected)])
    tolerance = TOLERANCES[dtype] * max(1.0, float(finite.max(initial=0.0)))
    worst = float(difference.max(initial=0.0))
    if not worst <= tolerance:  # a NaN where the model has none is a difference, too
        raise CkptMetaError(
            Code.CHECK_FAILED,
            f"Output {name!r} of the export differs from the model as TensorFlow restores it: max abs difference "
            f"{worst:.3g}, tolerated {tolerance:.3g} ({dtype}).",
        )
    return {**row, "max_abs_difference": worst, "tolerance": tolerance}
