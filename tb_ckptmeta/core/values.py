"""Where a checkpoint's values are read from, as plain data. Runs anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Part:
    """A part of a tensor in a shard of a V2 checkpoint: the bytes `offset` to `offset + size` of the file `path`.

    `start`, `shape`: its corner in the tensor, and its extent there; of what is in one part, zeros and the whole.
    """

    path: str
    offset: int
    size: int
    start: tuple[int, ...]
    shape: tuple[int, ...]

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Part:
        return cls(value["path"], value["offset"], value["size"], tuple(value["start"]), tuple(value["shape"]))


@dataclass(frozen=True)
class StoredValues:
    """One tensor. `bytes`: as its checkpoint's contents have it. `parts`: of a V2 checkpoint alone."""

    shape: tuple[int, ...]
    dtype: str
    bytes: int
    parts: tuple[Part, ...] = ()

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> StoredValues:
        parts = tuple(Part.from_json(p) for p in value["parts"])
        return cls(tuple(value["shape"]), value["dtype"], value["bytes"], parts)


@dataclass(frozen=True)
class Values:
    """Some tensors of one checkpoint, by key.

    `format`: as the checkpoint's contents have it. `path`: what TensorFlow's restore takes; of a Keras file the file.
    """

    format: str
    path: str
    tensors: Mapping[str, StoredValues]

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Values:
        tensors = {key: StoredValues.from_json(v) for key, v in value["tensors"].items()}
        return cls(value["format"], value["path"], tensors)
