"""Draw inputs for a check: at random, but the same every time, and such as the model takes. Runs in the worker."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tb_ckptmeta.worker.hints import Hints
from tb_ckptmeta.worker.structure import Leaf

BATCH = 2
"""What an unknown first dimension becomes."""
OPEN = 8
"""What any other unknown dimension becomes; images get `OPEN_IMAGE`."""
OPEN_IMAGE = 64

_WORDS = (b"a", b"model", b"of", b"words", b"", b"1", b"42", b"unseen")

WIDE, NARROW = "wide", "narrow"
"""How inputs are drawn: all that the model should take; what nearly every model takes, known
words, 0 and 1 and what lies between."""

Array = np.ndarray[Any, Any]


def draw_inputs(leaves: Sequence[Leaf], hints: Hints, breadth: str = WIDE) -> dict[str, Array]:
    """Return signature name -> values for every input, for each component of the composite ones."""
    found: dict[str, Array] = {}
    for leaf in leaves:
        found.update(zip(leaf.components, _draw_leaf(leaf, hints, breadth), strict=True))
    return found


def _draw_leaf(leaf: Leaf, hints: Hints, breadth: str) -> list[Array]:
    spec = leaf.spec
    # One generator per input: adding an input does not change the others.
    generator = np.random.default_rng(zlib.crc32(leaf.name.encode("utf-8")))
    if isinstance(spec, tf.SparseTensorSpec):
        sizes = _sizes(spec.shape)
        mask = generator.integers(0, 3, size=sizes) == 0
        indices = np.argwhere(mask).astype(np.int64).reshape(-1, len(sizes))
        values = _draw(generator, leaf.components[1], (len(indices),), spec.dtype, hints, breadth)
        return [indices, values, np.array(sizes, np.int64)]
    if isinstance(spec, tf.RaggedTensorSpec):
        return _draw_ragged(generator, leaf, hints, breadth)
    return [_draw(generator, leaf.components[0], _sizes(spec.shape), spec.dtype, hints, breadth)]


def _draw_ragged(generator: np.random.Generator, leaf: Leaf, hints: Hints, breadth: str) -> list[Array]:
    """Draw rows of one to four values: an empty one has no mean, and many models take one."""
    spec = leaf.spec
    count = _sizes(spec.shape)[0]
    splits = []
    for _ in range(spec.ragged_rank):
        lengths = generator.integers(1, 5, size=count)
        splits.append(np.concatenate([[0], np.cumsum(lengths)]).astype(spec.row_splits_dtype.as_numpy_dtype))
        count = int(splits[-1][-1])
    inner = spec.shape.as_list()[spec.ragged_rank + 1 :]
    sizes = (count, *(d if d is not None else OPEN for d in inner))
    return [_draw(generator, leaf.components[0], sizes, spec.dtype, hints, breadth), *splits]


def _draw(
    generator: np.random.Generator, name: str, sizes: tuple[int, ...], dtype: Any, hints: Hints, breadth: str
) -> Array:
    dtype = tf.as_dtype(dtype)
    if dtype == tf.string:
        words = list(hints.images) or _choose_words(hints.words, breadth)
        return np.array(generator.choice(np.array(words, object), size=sizes), dtype=object)
    if dtype == tf.bool:
        return np.asarray(generator.integers(0, 2, size=sizes)).astype(bool)
    if dtype.is_integer:
        pool = _choose_integers(hints.limits.get(name), hints.codes, breadth)
        if pool is None:  # an image, most likely
            pool = 256 if dtype == tf.uint8 and len(sizes) > 2 and breadth == WIDE else 2
        return np.asarray(generator.choice(pool, size=sizes)).astype(dtype.as_numpy_dtype)
    if dtype.is_complex:
        values = generator.standard_normal(sizes) + 1j * generator.standard_normal(sizes)
        return np.asarray(values).astype(dtype.as_numpy_dtype)
    if breadth == NARROW:  # of use to square roots, logarithms and what asserts a range
        return np.asarray(generator.uniform(0.05, 0.95, sizes)).astype(dtype.as_numpy_dtype)
    return np.asarray(generator.standard_normal(sizes)).astype(dtype.as_numpy_dtype)


def _choose_words(known: Sequence[bytes], breadth: str) -> list[bytes]:
    if breadth == NARROW and known:
        return list(known)
    phrases = [b" ".join(pair) for pair in itertools.pairwise(known)]
    return [*known, *phrases[:8], *_WORDS]


def _choose_integers(limit: int | None, codes: Sequence[int], breadth: str) -> Any:
    """Return the numbers to choose from, or below which to choose; None where nothing is known."""
    if breadth == NARROW:
        return list(codes) or 2
    if limit is not None:
        return max(1, min(limit, 1 << 31))
    return [*codes, 0, 1] if codes else None


def pack_inputs(signature: Any, leaves: Sequence[Leaf], inputs: Mapping[str, Array], dtypes: Mapping[str, Any]) -> Any:
    """Put drawn inputs together as the arguments of a call."""
    flat = [tf.constant(inputs[name], dtypes[name]) for leaf in leaves for name in leaf.components]
    return tf.nest.pack_sequence_as(signature, flat, expand_composites=True)


def _sizes(shape: Any) -> tuple[int, ...]:
    if shape.rank is None:
        return (BATCH,)
    sizes = shape.as_list()
    image = len(sizes) == 4
    return tuple(
        size if size is not None else BATCH if index == 0 else OPEN_IMAGE if image else OPEN
        for index, size in enumerate(sizes)
    )
