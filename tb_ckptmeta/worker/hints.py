"""Read in a graph what its inputs may be: how large an index, which words a table knows, whether text is an image. Runs
in the worker.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf

v1 = tf.compat.v1

MOST_KEYS = 64

# What hands indices on. The list may be generous: inputs that a model does not take are drawn again, narrower.
_HANDS_ON = frozenset(
    {
        "Identity",
        "Cast",
        "Reshape",
        "ExpandDims",
        "Squeeze",
        "StridedSlice",
        "Slice",
        "Transpose",
        "Pack",
        "Unpack",
        "ConcatV2",
        "Tile",
        "SelectV2",
        "AddV2",
        "Maximum",
        "Minimum",
        "ClipByValue",
        "Unique",
        "Split",
        "SplitV",
        "BroadcastTo",
        "Where",
        "GatherNd",
        "RaggedTensorToTensor",
        "Mul",
    }
)
_MOST_OPERATIONS = 500

# What takes images of any format, and what takes but one.
_DECODES_ANY = frozenset({"DecodeImage", "DecodeJpeg", "DecodePng"})
_DECODES_JPEG = "DecodeAndCropJpeg"
_IMAGES = 2
_IMAGE_SHAPE = (64, 64, 3)


@dataclass(frozen=True)
class Hints:
    """What is known of a model's inputs.

    `limits`: signature name -> the smallest table that its integers are indices of. `words`, `codes`: what the
    model's lookup tables know. `images`: encoded ones, for a model that decodes such.
    """

    limits: Mapping[str, int] = field(default_factory=dict)
    words: Sequence[bytes] = ()
    codes: Sequence[int] = ()
    images: Sequence[bytes] = ()


def find_limits(inputs: Iterable[tuple[str, Any]], find_shape: Callable[[Any], Any]) -> dict[str, int]:
    """Follow each integer input to what it is an index of; `find_shape` tells the shape of a variable's handle."""
    limits = {}
    for name, tensor in inputs:
        if tensor.dtype.is_integer:
            limit = _find_limit(tensor, find_shape)
            if limit is not None:
                limits[name] = limit
    return limits


def _find_limit(tensor: Any, find_shape: Callable[[Any], Any]) -> int | None:
    found: list[int] = []
    seen: set[str] = set()
    queue = [tensor]
    for current in queue:
        for operation in current.consumers():
            size = _find_size(operation, current, find_shape)
            if size is not None:
                found.append(int(size))
            elif operation.type in _HANDS_ON and operation.name not in seen and len(seen) < _MOST_OPERATIONS:
                seen.add(operation.name)
                queue.extend(operation.outputs)
    return min(found, default=None)


def _find_size(operation: Any, tensor: Any, find_shape: Callable[[Any], Any]) -> int | None:
    """Return how many rows `tensor` may point to in `operation`, None where it does not."""
    operands = list(operation.inputs)
    if operation.type == "GatherV2" and operands[1] is tensor:
        axis, shape = tf.get_static_value(operands[2]), operands[0].shape
        return shape[int(axis)] if axis is not None and shape.rank is not None else None
    if operation.type == "ResourceGather" and operands[1] is tensor:
        shape = find_shape(operands[0])
        return shape[0] if shape is not None and shape.rank else None
    if operation.type == "OneHot" and operands[0] is tensor:
        depth = tf.get_static_value(operands[1])
        return None if depth is None else int(depth)
    if operation.type in ("DenseBincount", "Bincount") and operands[0] is tensor:
        size = tf.get_static_value(operands[1])
        return int(size) if size is not None and int(size) > 0 else None
    return None


def find_keys(tables: Iterable[tuple[Any, Any, Any]], run: Callable[[Any], Any]) -> tuple[list[bytes], list[int]]:
    """Return the words and the integers that tables know, some of each; `tables` are (handle, key dtype, value dtype).

    `run` gives the value of a tensor. A table that cannot tell tells nothing.
    """
    words: set[bytes] = set()
    codes: set[int] = set()
    for handle, key_dtype, value_dtype in tables:
        if key_dtype not in (tf.string, tf.int32, tf.int64):
            continue
        try:
            exported = tf.raw_ops.LookupTableExportV2(table_handle=handle, Tkeys=key_dtype, Tvalues=value_dtype)
            keys = run(exported[0]).reshape(-1).tolist()
        except (tf.errors.OpError, ValueError, TypeError):
            continue
        (words if key_dtype == tf.string else codes).update(keys)
    return sorted(words)[:MOST_KEYS], sorted(codes)[:MOST_KEYS]


def find_images(graph_def: Any, run: Callable[[Any], Any]) -> list[bytes]:
    """Return encoded images, always the same, where a graph decodes such; `run` gives the value of a tensor."""
    nodes = (*graph_def.node, *(node for function in graph_def.library.function for node in function.node_def))
    decodes = {node.op for node in nodes} & {*_DECODES_ANY, _DECODES_JPEG}
    if not decodes:
        return []
    encode = tf.io.encode_jpeg if _DECODES_JPEG in decodes else tf.io.encode_png
    generator = np.random.default_rng(0)
    pixels = [generator.integers(0, 256, _IMAGE_SHAPE, np.uint8) for _ in range(_IMAGES)]
    return [bytes(run(encode(image))) for image in pixels]


def find_eager_hints(trace: Any, forward: Any, resources: Iterable[Any]) -> Hints:
    """Read the hints of a trace."""

    def find_shape(handle: Any) -> Any:
        index = forward.read_by.get(handle.op.name)
        return None if index is None else forward.resource_variables[index].shape

    tables = [
        (r.resource_handle, r.key_dtype, r.value_dtype)
        for r in resources
        if hasattr(r, "resource_handle") and hasattr(r, "key_dtype") and hasattr(r, "value_dtype")
    ]

    def run(tensor: Any) -> Any:
        return tensor.numpy()

    return Hints(find_limits(trace.inputs, find_shape), *find_keys(tables, run), find_images(forward.graph_def, run))


def find_graph_hints(graph: Any, inputs: Mapping[str, Any], session: Any) -> Hints:
    """Read the hints of a `tf.Graph` whose tables have been initialized in `session`."""

    def find_shape(handle: Any) -> Any:
        return tf.TensorShape(handle.op.get_attr("shape")) if handle.op.type == "VarHandleOp" else None

    tables = [
        (operation.outputs[0], operation.get_attr("key_dtype"), operation.get_attr("value_dtype"))
        for operation in graph.get_operations()
        if operation.type in ("HashTableV2", "MutableHashTableV2")
    ]
    images = find_images(graph.as_graph_def(), session.run)
    return Hints(find_limits(inputs.items(), find_shape), *find_keys(tables, session.run), images)
