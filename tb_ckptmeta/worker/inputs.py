"""Draw inputs for a model: random, but the same every time. Runs in the worker."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

BATCH = 2
"""What an unknown first dimension becomes."""
OPEN = 8
"""What any other unknown dimension becomes; images get `OPEN_IMAGE`."""
OPEN_IMAGE = 64

_WORDS = (b"a", b"model", b"of", b"words", b"", b"1", b"42", b"unseen")


def draw_inputs(tensors: Sequence[tuple[str, Any]]) -> dict[str, np.ndarray[Any, Any]]:
    """Return signature name -> values for every input tensor (or TensorSpec)."""
    return {name: _draw(name, tensor.shape, tensor.dtype) for name, tensor in tensors}


def _draw(name: str, shape: Any, dtype: Any) -> np.ndarray[Any, Any]:
    sizes = _sizes(shape)
    # One generator per input: adding an input does not change the others.
    generator = np.random.default_rng(zlib.crc32(name.encode("utf-8")))
    dtype = tf.as_dtype(dtype)
    if dtype == tf.string:
        return np.array(generator.choice(np.array(_WORDS, object), size=sizes), dtype=object)
    if dtype == tf.bool:
        return np.asarray(generator.integers(0, 2, size=sizes)).astype(bool)
    if dtype.is_integer:
        # Small: an index has to lie inside a vocabulary that is not known.
        return np.asarray(generator.integers(0, 2, size=sizes)).astype(dtype.as_numpy_dtype)
    if dtype.is_complex:
        values = generator.standard_normal(sizes) + 1j * generator.standard_normal(sizes)
        return np.asarray(values).astype(dtype.as_numpy_dtype)
    return np.asarray(generator.standard_normal(sizes)).astype(dtype.as_numpy_dtype)


def _sizes(shape: Any) -> tuple[int, ...]:
    if shape.rank is None:
        return (BATCH,)
    sizes = shape.as_list()
    image = len(sizes) == 4
    return tuple(
        size if size is not None else BATCH if index == 0 else OPEN_IMAGE if image else OPEN
        for index, size in enumerate(sizes)
    )
