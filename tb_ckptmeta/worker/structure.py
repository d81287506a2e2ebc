"""Name the leaves of nested inputs and outputs, in TensorFlow's own order. Runs in the worker."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from tb_ckptmeta.core.errors import CkptMetaError, Code


@dataclass(frozen=True)
class Named:
    """A spec with a name beside it: those of ragged and sparse tensors have none of their own."""

    spec: Any
    name: str


@dataclass(frozen=True)
class Leaf:
    """One input: its name, its spec, and the names of the dense tensors that make it up in a signature."""

    name: str
    spec: Any
    components: tuple[str, ...]


def name_inputs(args: Sequence[Any], parameters: Sequence[str]) -> tuple[list[Leaf], tuple[Any, ...]]:
    """Name the leaves of call arguments, and return the arguments with specs of those names.

    A leaf is called by its dict key, else its own name, else the parameter that takes it. The leaves stand in the
    order of `tf.nest.flatten`, their components in that of `expand_composites`. A signature feeds dense tensors: a
    ragged input is fed as `NAME_values` and `NAME_row_splits`, a sparse one as `NAME_indices`, `NAME_values` and
    `NAME_dense_shape`.

    Raises:
        CkptMetaError: UNSUPPORTED_MODEL for a leaf that is neither dense nor ragged nor sparse.
    """
    found: list[tuple[str, Any]] = []
    for index, arg in enumerate(args):
        parameter = parameters[index] if index < len(parameters) else f"input_{index}"
        for path, leaf in _walk(arg):
            spec, name = _as_spec(leaf)
            own = path[-1] if path and isinstance(path[-1], str) else name
            fallback = "_".join([parameter, *(str(p) for p in path)]) if len(path) else parameter
            found.append((_unique(str(own or fallback), [n for n, _ in found]), spec))
    ops: list[str] = []
    leaves, named = [], []
    for name, spec in found:
        leaves.append(Leaf(name, spec, tuple(name + suffix for suffix in _find_suffixes(spec))))
        if isinstance(spec, tf.TensorSpec):
            ops.append(_unique(as_op_name(name), ops))
            spec = tf.TensorSpec(spec.shape, spec.dtype, ops[-1])
        named.append(spec)
    return leaves, tuple(tf.nest.pack_sequence_as(list(args), named))


def _find_suffixes(spec: Any) -> tuple[str, ...]:
    """Return what the names of a spec's components end in, in the order of `expand_composites`."""
    if isinstance(spec, tf.SparseTensorSpec):
        return ("_indices", "_values", "_dense_shape")
    if isinstance(spec, tf.RaggedTensorSpec):
        rank = int(spec.ragged_rank)
        return ("_values", *(["_row_splits"] if rank == 1 else [f"_row_splits_{i}" for i in range(rank)]))
    return ("",)


def name_outputs(outputs: Any) -> list[tuple[str, Any]]:
    """Return (name, tensor) for every leaf: by dict key, else `output_0`, `output_1`, …; composites in their parts.

    Names and tensors are taken from one walk: flattened apart, a dict in insertion order and one with sorted keys
    would swap names silently.

    Raises:
        CkptMetaError: UNSUPPORTED_MODEL for a leaf that is no tensor.
    """
    found: list[tuple[str, Any]] = []
    unnamed = 0
    for path, leaf in _walk(outputs):
        if leaf is None:
            continue
        composite = isinstance(leaf, (tf.RaggedTensor, tf.SparseTensor))
        if not composite and not isinstance(leaf, tf.Tensor):
            raise CkptMetaError(
                Code.UNSUPPORTED_MODEL,
                f"The model returns a {type(leaf).__name__} among its outputs; a signature holds dense tensors, or "
                "the parts of ragged and sparse ones. Return tensors, or give Model(root=…, call=…) a call that does.",
            )
        keys = [p for p in path if isinstance(p, str)]
        if keys:
            name = "_".join(str(p) for p in path)
        else:
            name = f"output_{unnamed}"
            unnamed += 1
        spec = tf.type_spec_from_value(leaf) if composite else None
        for suffix, tensor in zip(_find_suffixes(spec), tf.nest.flatten(leaf, expand_composites=True), strict=True):
            found.append((_unique(name + suffix, [n for n, _ in found]), tensor))
    if not found:
        raise CkptMetaError(Code.UNSUPPORTED_MODEL, "The model returns no tensor.")
    return found


def _walk(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Yield (path, leaf) in the order of `tf.nest.flatten`: dicts by sorted key."""
    if isinstance(value, Mapping):
        for key in sorted(value):
            yield from _walk(value[key], (*path, str(key)))
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        for key, item in zip(value._fields, value, strict=True):
            yield from _walk(item, (*path, key))
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _walk(item, (*path, index))
    else:
        yield path, value


def _as_spec(leaf: Any) -> tuple[Any, str | None]:
    """Return the spec of a leaf, and its own name where it has one."""
    if isinstance(leaf, Named):
        return leaf.spec, leaf.name
    if isinstance(leaf, tf.TensorSpec):
        return leaf, leaf.name
    if isinstance(leaf, (tf.RaggedTensorSpec, tf.SparseTensorSpec)) and leaf.shape.rank is not None:
        return leaf, None
    if isinstance(leaf, tf.RaggedTensor | tf.SparseTensor):  # of a tf.Graph
        return tf.type_spec_from_value(leaf), None
    if isinstance(leaf, tf.TypeSpec):
        raise CkptMetaError(
            Code.UNSUPPORTED_MODEL,
            f"The model takes a {type(leaf).__name__}; an exported signature feeds dense tensors, or the parts of "
            "ragged and sparse ones of known rank. Give Model(root=…, call=…) a call that takes tensors and puts "
            "them together.",
        )
    shape, dtype = getattr(leaf, "shape", None), getattr(leaf, "dtype", None)
    if shape is None or dtype is None:
        raise CkptMetaError(
            Code.INVALID_BUILDER,
            f"inputs= takes TensorSpecs (in lists, dicts or a tuple), not {leaf!r}.",
        )
    name = getattr(leaf, "name", None)
    name = name.partition(":")[0] if isinstance(name, str) else None
    return tf.TensorSpec(shape, dtype, name), name


def _unique(name: str, taken: Sequence[str]) -> str:
    candidate, count = name, 0
    while candidate in taken:
        count += 1
        candidate = f"{name}_{count}"
    return candidate


def as_op_name(name: str) -> str:
    """Return a signature's name as TensorFlow takes it for an operation."""
    name = re.sub(r"[^A-Za-z0-9_.\\/-]", "_", name)
    return name if re.match(r"[A-Za-z0-9.]", name) else "input" + name
