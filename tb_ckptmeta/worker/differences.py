"""Measure how far the variables of one checkpoint lie from another's. Runs in the worker.

Without TensorFlow, but for V1 checkpoints.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tb_ckptmeta.core.job import TEMPORARY, Differences
from tb_ckptmeta.worker.blocks import STRING, Array, CannotCompare, Read, open_values
from tb_ckptmeta.worker.steps import Steps

_STEP_BYTES = 1 << 30
"""How much is read before the next step is told, at least."""


def measure_differences(job: Differences, folder: Path, steps: Steps) -> dict[str, Any]:
    """Measure every pair; the result is that of `core.job.Differences`.

    Raises:
        CkptMetaError: as `worker.blocks.open_values` and what it yields.
    """
    measured: dict[str, Any] = {}
    total = sum(job.a.tensors[key].bytes for key, _ in job.pairs)
    begun = done = 0
    steps.begin("reading the values")
    with contextlib.ExitStack() as stack:
        # Two folders: what is unpacked of an archive has one name.
        read_a = stack.enter_context(open_values(job.a, _make(folder / TEMPORARY / "a"), job.limits))
        read_b = stack.enter_context(open_values(job.b, _make(folder / TEMPORARY / "b"), job.limits))
        for key, other in job.pairs:
            if done - begun > max(_STEP_BYTES, total // 20):
                begun = done
                steps.begin(f"reading the values ({100 * done // total} %)")
            one, two = job.a.tensors[key].dtype, job.b.tensors[other].dtype
            try:
                measured[key] = _measure(read_a, key, read_b, other, {one, two})
            except CannotCompare as reason:
                measured[key] = {"skipped": str(reason)}
            done += job.a.tensors[key].bytes
    return {"measured": measured}


def _make(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _measure(read_a: Read, key: str, read_b: Read, other: str, dtypes: set[str]) -> dict[str, Any]:
    if STRING in dtypes and len(dtypes) > 1:
        raise CannotCompare("for it is text in one and numbers in the other")
    measure = _TextMeasure() if STRING in dtypes else _NumberMeasure()
    for a, b in align(read_a(key), read_b(other)):
        measure.add(a, b)
    return measure.as_json()


def align(a: Iterator[Array], b: Iterator[Array]) -> Iterator[tuple[Array, Array]]:
    """Yield the elements of both side by side, however each is cut."""
    left, right = next(a, None), next(b, None)
    while left is not None and right is not None:
        count = min(left.size, right.size)
        yield left[:count], right[:count]
        left = left[count:] if count < left.size else next(a, None)
        right = right[count:] if count < right.size else next(b, None)
    assert left is right, "two tensors of one shape have as many elements"


class _TextMeasure:
    """Text is equal or not."""

    def __init__(self) -> None:
        self._differ = 0

    def add(self, a: Array, b: Array) -> None:
        self._differ += int(np.count_nonzero(a != b))

    def as_json(self) -> dict[str, Any]:
        return {"l2": None, "norm": None, "max_abs": None, "nan": [0, 0], "inf": [0, 0], "differ": self._differ}


class _NumberMeasure:
    """Numbers of every type, in float64; lengths of what is finite in both."""

    def __init__(self) -> None:
        self._moved, self._norm = _Length(), _Length()
        self._largest = 0.0
        self._nan, self._inf = [0, 0], [0, 0]
        self._differ = 0

    def add(self, a: Array, b: Array) -> None:
        distances = _find_distances(a, b)  # of integers exactly, where float64 would not tell them apart
        a, b = _widen(a), _widen(b)
        if not (_is_finite(a) and _is_finite(b)):
            a, b = self._count(a, b)
        if distances is None:
            with np.errstate(over="ignore"):
                distances = b - a
            if distances.dtype.kind == "c":
                distances = np.abs(distances)
        if distances.size:
            self._differ += int(np.count_nonzero(distances))
            self._largest = max(self._largest, float(distances.max()), -float(distances.min()))
            self._moved.add(distances)
            self._norm.add(a)

    def _count(self, a: Array, b: Array) -> tuple[Array, Array]:
        """Count what is not finite, and return the rest."""
        finite = np.isfinite(a) & np.isfinite(b)
        nan = [np.isnan(a), np.isnan(b)]
        for side, (values, is_nan) in enumerate(zip((a, b), nan, strict=True)):
            self._nan[side] += int(np.count_nonzero(is_nan))
            self._inf[side] += int(np.count_nonzero(~np.isfinite(values) & ~is_nan))
        self._differ += int(np.count_nonzero(~finite & (a != b) & ~(nan[0] & nan[1])))
        return a[finite], b[finite]

    def as_json(self) -> dict[str, Any]:
        return {
            "l2": self._moved.get(),
            "norm": self._norm.get(),
            "max_abs": self._largest if math.isfinite(self._largest) else None,
            "nan": self._nan,
            "inf": self._inf,
            "differ": self._differ,
        }


class _Length:
    """The L2 norm of what is added, which neither overflows nor vanishes where it has a value (as BLAS' `nrm2`)."""

    def __init__(self) -> None:
        self._length = 0.0

    def add(self, values: Array) -> None:
        squares = _sum_squares(values)
        if not _MOST_PLAIN > squares > 1 / _MOST_PLAIN:
            largest = float(np.abs(values).max())
            if largest and math.isfinite(largest):
                self._length = math.hypot(self._length, largest * math.sqrt(_sum_squares(values / largest)))
            else:
                self._length += largest
        else:
            self._length = math.hypot(self._length, math.sqrt(squares))

    def get(self) -> float | None:
        """Return the norm; None for one that no float64 holds."""
        return self._length if math.isfinite(self._length) else None


_MOST_PLAIN = 1e280


def _sum_squares(values: Array) -> float:
    flat = values.view(np.float64)  # of complex numbers both parts
    with np.errstate(over="ignore", invalid="ignore"):
        # Not np.dot: BLAS starts threads for it, which wait for each other where the machine is busy.
        return float(np.einsum("i,i->", flat, flat))


def _is_finite(values: Array) -> bool:
    """Tell at little cost whether all values are finite; huge ones may be taken for others."""
    return math.isfinite(_sum_squares(values))


def _widen(values: Array) -> Array:
    return values.astype(np.complex128 if values.dtype.kind == "c" else np.float64)


def _find_distances(a: Array, b: Array) -> Array | None:
    """Return how far integers of 64 bits are apart, which float64 would round; None for all other types."""
    if a.dtype != b.dtype or a.dtype.kind not in "iu" or a.dtype.itemsize < 8:
        return None
    # Modulo 2**64 the difference is right, whatever overflows.
    one, two = a.view(np.uint64), b.view(np.uint64)
    return np.where(b > a, two - one, one - two).astype(np.float64)
