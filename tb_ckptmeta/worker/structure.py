"""Name the leaves of nested inputs and outputs, in TensorFlow's own order. Runs in the worker."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf

from tb_ckptmeta.core.errors import CkptMetaError, Code


def name_inputs(args: Sequence[Any], parameters: Sequence[str]) -> tuple[list[str], tuple[Any, ...]]:
    """Name the leaves of call arguments, and return the arguments with TensorSpecs of those names.

    A leaf is called by its dict key, else its own name, else the parameter that takes it. The names stand in the
    order of `tf.nest.flatten`.

    Raises:
        CkptMetaError: UNSUPPORTED_MODEL for a leaf that is no dense tensor.
    """
    names: list[str] = []
    specs: list[tf.TensorSpec] = []
    for index, arg in enumerate(args):
        parameter = parameters[index] if index < len(parameters) else f"input_{index}"
        for path, leaf in _walk(arg):
            spec = _as_spec(leaf)
            own = path[-1] if path and isinstance(path[-1], str) else spec.name
            fallback = "_".join([parameter, *(str(p) for p in path)]) if len(path) else parameter
            names.append(_unique(str(own or fallback), names))
            specs.append(spec)
    ops: list[str] = []
    for name in names:
        ops.append(_unique(as_op_name(name), ops))
    named = [tf.TensorSpec(s.shape, s.dtype, op) for s, op in zip(specs, ops, strict=True)]
    return names, tuple(tf.nest.pack_sequence_as(list(args), named))


def name_outputs(outputs: Any) -> list[tuple[str, Any]]:
    """Return (name, tensor) for every leaf: by dict key, else `output_0`, `output_1`, …

    Names and tensors are taken from one walk: flattened apart, a dict in insertion order and one with sorted keys
    would swap names silently.

    Raises:
        CkptMetaError: UNSUPPORTED_MODEL for a leaf that is no dense tensor.
    """
    found: list[tuple[str, Any]] = []
    unnamed = 0
    for path, leaf in _walk(outputs):
        if leaf is None:
            continue
        if not isinstance(leaf, tf.Tensor):
            raise CkptMetaError(
                Code.UNSUPPORTED_MODEL,
                f"The model returns a {type(leaf).__name__} among its outputs; a signature holds dense tensors. "
                "Return tensors, or give Model(root=…, call=…) a call that does.",
            )
        keys = [p for p in path if isinstance(p, str)]
        if keys:
            name = "_".join(str(p) for p in path)
        else:
            name = f"output_{unnamed}"
            unnamed += 1
        found.append((_unique(name, [n for n, _ in found]), leaf))
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


def _as_spec(leaf: Any) -> tf.TensorSpec:
    if isinstance(leaf, tf.TensorSpec):
        return leaf
    if isinstance(leaf, tf.TypeSpec):
        raise CkptMetaError(
            Code.UNSUPPORTED_MODEL,
            f"The model takes a {type(leaf).__name__}; an exported signature feeds dense tensors. Give "
            "Model(root=…, call=…) a call that takes its components and puts them together.",
        )
    shape, dtype = getattr(leaf, "shape", None), getattr(leaf, "dtype", None)
    if shape is None or dtype is None:
        raise CkptMetaError(
            Code.INVALID_BUILDER,
            f"inputs= takes TensorSpecs (in lists, dicts or a tuple), not {leaf!r}.",
        )
    name = getattr(leaf, "name", None)
    return tf.TensorSpec(shape, dtype, name.partition(":")[0] if isinstance(name, str) else None)


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
