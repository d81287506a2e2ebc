"""What a checkpoint holds, without its weights: keys, shapes, dtypes and the object graph. Runs anywhere."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tb_ckptmeta.core.checkpoint import KERAS_FORMATS

OBJECT_GRAPH_KEY = "_CHECKPOINTABLE_OBJECT_GRAPH"
"""The key under which `tf.train.Checkpoint` stores its serialized `TrackableObjectGraph`."""

VALUE = "VARIABLE_VALUE"
"""The attribute of an object node that holds a variable's value."""
CONFIGURATION = "OBJECT_CONFIG_JSON"
"""The attribute that TensorFlow 2.0 to 2.4 wrote beside each Keras layer: a text about it, and no state."""

# The names of tensorflow/core/framework/types.proto, as `tf.DType.name` spells them.
DTYPE_NAMES: Mapping[int, str] = {
    1: "float32",
    2: "float64",
    3: "int32",
    4: "uint8",
    5: "int16",
    6: "int8",
    7: "string",
    8: "complex64",
    9: "int64",
    10: "bool",
    11: "qint8",
    12: "quint8",
    13: "qint32",
    14: "bfloat16",
    15: "qint16",
    16: "quint16",
    17: "uint16",
    18: "complex128",
    19: "float16",
    20: "resource",
    21: "variant",
    22: "uint32",
    23: "uint64",
    24: "float8_e5m2",
    25: "float8_e4m3fn",
    26: "float8_e4m3fnuz",
    27: "float8_e4m3b11fnuz",
    28: "float8_e5m2fnuz",
    29: "int4",
    30: "uint4",
    31: "int2",
    32: "uint2",
    33: "float4_e2m1fn",
}


@dataclass(frozen=True)
class StoredTensor:
    """One tensor of a checkpoint. `shape` is fully defined; `bytes` is what it takes in the shards."""

    shape: tuple[int, ...]
    dtype: str
    bytes: int


@dataclass(frozen=True)
class ObjectNode:
    """One node of a `TrackableObjectGraph`: named edges, saved attributes, and optimizer slots.

    `children`: edge name -> node id. `keys`: attribute name (`VARIABLE_VALUE`) -> checkpoint key.
    `slots`: (slot name, id of the variable it belongs to, id of the slot variable).
    """

    children: Mapping[str, int]
    keys: Mapping[str, str]
    slots: tuple[tuple[str, int, int], ...] = ()


@dataclass(frozen=True)
class ObjectGraph:
    """The tree of objects that `tf.train.Checkpoint` saved; node 0 is its root."""

    nodes: tuple[ObjectNode, ...]

    def reachable(self, start: int) -> Iterator[int]:
        """Yield the ids of `start` and of every node below it, nearest first, each once."""
        seen = {start}
        queue = [start]
        for node in queue:
            yield node
            for child in self.nodes[node].children.values():
                if child not in seen:
                    seen.add(child)
                    queue.append(child)

    def as_json(self) -> list[Any]:
        return [[dict(n.children), dict(n.keys), [list(s) for s in n.slots]] for n in self.nodes]

    @classmethod
    def from_json(cls, value: list[Any]) -> ObjectGraph:
        return cls(
            tuple(
                ObjectNode(children, keys, tuple((s[0], s[1], s[2]) for s in slots)) for children, keys, slots in value
            )
        )


@dataclass(frozen=True)
class Contents:
    """What one checkpoint holds.

    `format`: "object" (`tf.train.Checkpoint`), "name" (V2 `Saver`), "v1" (V1 `Saver`), "keras-weights"
    (`.weights.h5`) or "keras" (`.keras`).
    `tensors`: checkpoint key -> stored tensor, without the object graph's own entry. The key of a Keras file is the
    array's path in its HDF5.
    `objects`: the object graph, for "object" alone.
    `fingerprint`: hexadecimal SHA-256 of the index: the same keys, shapes and tensor checksums.
    `keras`: which Keras wrote a Keras file, "3" or "legacy"; None where that does not show.
    """

    format: str
    tensors: Mapping[str, StoredTensor]
    objects: ObjectGraph | None = None
    fingerprint: str = ""
    notes: tuple[str, ...] = field(default=())
    keras: str | None = None

    @property
    def is_keras_file(self) -> bool:
        """Whether this is one of Keras' own files, which TensorFlow itself cannot restore."""
        return self.format in KERAS_FORMATS

    @functools.cached_property
    def structure(self) -> str:
        """What all steps of one training have in common: a digest of everything but the fingerprint."""
        text = json.dumps({**self.as_json(), "fingerprint": ""}, sort_keys=True)
        return hashlib.sha256(text.encode("ascii")).hexdigest()

    def as_json(self) -> dict[str, Any]:
        return {
            "format": self.format,
            "tensors": {k: [list(t.shape), t.dtype, t.bytes] for k, t in self.tensors.items()},
            "objects": None if self.objects is None else self.objects.as_json(),
            "fingerprint": self.fingerprint,
            "notes": list(self.notes),
            "keras": self.keras,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Contents:
        objects = value["objects"]
        return cls(
            value["format"],
            {k: StoredTensor(tuple(s), d, b) for k, (s, d, b) in value["tensors"].items()},
            None if objects is None else ObjectGraph.from_json(objects),
            value["fingerprint"],
            tuple(value["notes"]),
            value["keras"],
        )
