"""Compare an export, used as a stranger would, with the model as TensorFlow restores it. Runs in the worker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.job import INITIAL, INPUTS, OUTPUT_VALUE, REFERENCE, Check
from tb_ckptmeta.worker.arrays import load_arrays
from tb_ckptmeta.worker.load_export import run_export
from tb_ckptmeta.worker.steps import Steps

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
    """Load the export, run it, and compare its outputs with the reference.

    Result: {"max_abs_difference", "tolerance", "outputs": {name: {"dtype", "shape", "max_abs_difference",
    "tolerance"}}}; numbers are None for outputs that are compared for equality.

    Raises:
        CkptMetaError: CHECK_FAILED, naming the first output that differs.
    """
    inputs = load_arrays(folder / INPUTS)
    reference = load_arrays(folder / REFERENCE)
    expected = {n.removeprefix(OUTPUT_VALUE): v for n, v in reference.items() if n.startswith(OUTPUT_VALUE)}
    initial = {n.removeprefix(INITIAL): v for n, v in reference.items() if n.startswith(INITIAL)}
    actual = run_export(job, inputs, initial, steps)
    steps.begin("comparing")
    if set(actual) != set(expected):
        raise CkptMetaError(
            Code.CHECK_FAILED,
            f"The export has the outputs {sorted(actual)}, the model has {sorted(expected)}.",
        )
    rows = {name: _compare(name, actual[name], expected[name]) for name in sorted(expected)}
    differences = [r["max_abs_difference"] for r in rows.values() if r["max_abs_difference"] is not None]
    tolerances = [r["tolerance"] for r in rows.values() if r["tolerance"] is not None]
    return {
        "max_abs_difference": max(differences, default=None),
        "tolerance": min(tolerances, default=None),
        "outputs": rows,
    }


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
