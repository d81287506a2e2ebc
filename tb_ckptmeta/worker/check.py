"""Compare an export, used as a stranger would, with the model as TensorFlow restores it. Runs in the worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.job import INITIAL, INPUTS, OUTPUT_VALUE, RANDOM_VALUE, REFERENCE, Check
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
    "tolerance"}}, "not_compared": {name: why}}; numbers are None for outputs that are compared for equality.

    Raises:
        CkptMetaError: CHECK_FAILED, naming the first output that differs.
    """
    inputs = load_arrays(folder / INPUTS)
    reference = load_arrays(folder / REFERENCE)
    expected = {n.removeprefix(OUTPUT_VALUE): v for n, v in reference.items() if n.startswith(OUTPUT_VALUE)}
    random = {n.removeprefix(RANDOM_VALUE): v for n, v in reference.items() if n.startswith(RANDOM_VALUE)}
    initial = {n.removeprefix(INITIAL): v for n, v in reference.items() if n.startswith(INITIAL)}
    _require_restored(initial, job.unrestored)
    actual = run_export(job, inputs, initial, steps)
    steps.begin("comparing")
    if set(actual) != {*expected, *random}:
        raise CkptMetaError(
            Code.CHECK_FAILED,
            f"The export has the outputs {sorted(actual)}, the model has {sorted({*expected, *random})}.",
        )
    for name, value in random.items():  # drawn anew by each call: what can be compared is the kind
        _compare(name, np.zeros_like(actual[name]), np.zeros_like(value))
    rows = {name: _compare(name, actual[name], expected[name]) for name in sorted(expected)}
    silent = dict.fromkeys(random, "it draws anew with each call")
    silent.update({name: why for name, value in expected.items() if (why := find_silence(value))})
    differences = [r["max_abs_difference"] for r in rows.values() if r["max_abs_difference"] is not None]
    tolerances = [r["tolerance"] for r in rows.values() if r["tolerance"] is not None]
    return {
        "max_abs_difference": max(differences, default=None),
        "tolerance": min(tolerances, default=None),
        "outputs": rows,
        "not_compared": dict(sorted(silent.items())),
    }


def _require_restored(initial: Mapping[str, Any], unrestored: Sequence[str]) -> None:
    """Make sure that the reference gives no value to what the checkpoint holds: that would be no check.

    Raises:
        CkptMetaError: CHECK_FAILED.
    """
    # A partitioned variable's parts are named after it.
    given = [n for n in initial if not any(n == u or n.startswith(f"{u}/part_") for u in unrestored)]
    if given:
        raise CkptMetaError(
            Code.CHECK_FAILED,
            f"The reference has not restored {', '.join(sorted(given)[:5])}, which the verdict says the checkpoint "
            "holds. This is a defect of tb_ckptmeta; please report it.",
        )


def find_silence(expected: Any) -> str:
    """Say why an output tells nothing, or return an empty text."""
    expected = np.asarray(expected)
    if expected.size == 0:
        return "it is empty for the inputs that were drawn"
    if tf.as_dtype(expected.dtype).name in TOLERANCES and not np.isfinite(expected.astype(np.complex128)).any():
        return "it is not a number for the inputs that were drawn"
    return ""


def _allow(expected: Any, tolerance: float) -> Any:
    """Return how far each value may be off: `tolerance` x max(1, max |expected|).

    A mask of -1e9 among logits must not excuse them all: past 1e6, values of less than a thousandth of the largest are
    measured by the largest of their own.
    """
    sizes = np.where(np.isfinite(expected), np.abs(expected), 0.0)
    allowed = np.zeros(sizes.shape)
    left = np.ones(sizes.shape, bool)
    while left.any():
        largest = float(sizes[left].max())
        level = left & (sizes > 1e-3 * largest) if largest > 1e6 else left
        allowed[level] = tolerance * max(1.0, largest)
        left &= ~level
    return allowed


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
    actual, expected = np.atleast_1d(actual.astype(wide)), np.atleast_1d(expected.astype(wide))
    same = (actual == expected) | (np.isnan(actual) & np.isnan(expected))
    with np.errstate(invalid="ignore"):
        difference = np.where(same, 0.0, np.abs(actual - expected))
    allowed = _allow(expected, TOLERANCES[dtype])
    # A NaN where the model has none is a difference, too.
    wrong = ~(difference <= allowed)
    if wrong.any():
        place = np.unravel_index(
            int(np.argmax(np.where(wrong, np.nan_to_num(difference, nan=np.inf), -1.0))), wrong.shape
        )
        raise CkptMetaError(
            Code.CHECK_FAILED,
            f"Output {name!r} of the export differs from the model as TensorFlow restores it: max abs difference "
            f"{difference[place]:.3g}, tolerated {allowed[place]:.3g} ({dtype}).",
        )
    worst, tolerance = float(difference.max(initial=0.0)), float(allowed.min(initial=np.inf))
    tolerance = tolerance if np.isfinite(tolerance) else TOLERANCES[dtype]
    return {**row, "max_abs_difference": worst, "tolerance": tolerance}
