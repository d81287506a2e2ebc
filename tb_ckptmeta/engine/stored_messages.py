"""The protobuf messages of checkpoints, and what their fields mean. Runs in the caller's process."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from tb_ckptmeta.core.contents import DTYPE_NAMES
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.engine.checkpoint_file import corrupt_error

# Bytes of one element in a shard. A string, a resource or a variant has no fixed size.
ITEM_BYTES: Mapping[int, int] = {
    **dict.fromkeys((4, 6, 10, 11, 12, *range(24, 34)), 1),
    **dict.fromkeys((5, 14, 15, 16, 17, 19), 2),
    **dict.fromkeys((1, 3, 13, 22), 4),
    **dict.fromkeys((2, 8, 9, 23), 8),
    18: 16,
}

# The newest reader that either format has known (tensor_bundle.cc, public/version.h).
_READER_VERSION = 1
_MAX_RANK = 254


def read_shape(proto: Any, key: str, path: str) -> tuple[tuple[int, ...], int]:
    """Return a shape and its number of elements.

    Raises:
        CkptMetaError: CHECKPOINT_CORRUPT, a shape that no tensor can have.
    """
    shape = tuple([dimension.size for dimension in proto.dim])
    elements = math.prod(shape)
    if proto.unknown_rank or len(shape) > _MAX_RANK or (shape and min(shape) < 0) or elements >= 1 << 63:
        raise corrupt_error(path, f"{key} has no valid shape")
    return shape, elements


def get_dtype_name(number: int, key: str, path: str) -> str:
    """Return TensorFlow's name of a type (types.proto).

    Raises:
        CkptMetaError: UNSUPPORTED_CHECKPOINT, a type later than TensorFlow 2.21, or none.
    """
    name = DTYPE_NAMES.get(number)
    if name is None:
        raise CkptMetaError(
            Code.UNSUPPORTED_CHECKPOINT,
            f"{path} holds {key} with the type number {number}, which is not one of TensorFlow's up to 2.21.",
        )
    return name


def decode_key(raw_key: bytes, index: str) -> str:
    """Return a key as text.

    Raises:
        CkptMetaError: CHECKPOINT_CORRUPT, a key that is not UTF-8.
    """
    try:
        return raw_key.decode()
    except UnicodeDecodeError:
        raise corrupt_error(index, f"its key {raw_key[:80]!r} is not UTF-8 text") from None


def check_version(path: str, version: Any) -> None:
    """Refuse what was written for later readers than this one (versions.proto).

    Raises:
        CkptMetaError: UNSUPPORTED_CHECKPOINT.
    """
    if version.min_consumer > _READER_VERSION:
        raise CkptMetaError(
            Code.UNSUPPORTED_CHECKPOINT,
            f"{path} was written by a later TensorFlow: its format is for readers of version "
            f"{version.min_consumer}, and this is one of version {_READER_VERSION}.",
        )


def parse_message(message: Any, data: bytes, path: str, what: str) -> Any:
    """Parse `data`, which `path` holds as `what`, into a `message`.

    Raises:
        CkptMetaError: CHECKPOINT_CORRUPT, bytes that are no such message.
    """
    try:
        return message.FromString(data)
    except (DecodeError, UnicodeDecodeError):  # The latter from protobuf's implementation in Python alone.
        raise corrupt_error(path, f"{what} in it is not a {message.DESCRIPTOR.name}") from None


def _build_messages() -> Callable[[str], Any]:
    """Build the messages that TensorBoard has no compiled form of, in a pool where they clash with nobody's.

    Only the fields that are read; numbers and types as in tensor_bundle.proto and saved_tensor_slice.proto.
    proto2, where an absent length differs from 0; enumerations and names as they are on the wire, since a
    crafted file need not hold valid ones.
    """
    fields = descriptor_pb2.FieldDescriptorProto
    package = "tb_ckptmeta.stored"
    file = descriptor_pb2.FileDescriptorProto(name="tb_ckptmeta/stored.proto", package=package, syntax="proto2")
    for name, layout in {
        "VersionDef": "min_consumer=2:int32",
        "Dim": "size=1:int64",
        "TensorShapeProto": "dim=2:*Dim unknown_rank=3:bool",
        "Extent": "start=1:int64 length=2:int64",
        "TensorSliceProto": "extent=1:*Extent",
        "BundleHeaderProto": "num_shards=1:int32 endianness=2:int32 version=3:VersionDef",
        "BundleEntryProto": "dtype=1:int32 shape=2:TensorShapeProto shard_id=3:int32 offset=4:int64 "
        "size=5:int64 crc32c=6:fixed32 slices=7:*TensorSliceProto",
        "SavedSliceMeta": "name=1:bytes shape=2:TensorShapeProto type=3:int32 slice=4:*TensorSliceProto",
        "SavedTensorSliceMeta": "tensor=1:*SavedSliceMeta versions=2:VersionDef",
        "SavedTensorSlices": "meta=1:SavedTensorSliceMeta",
    }.items():
        message = file.message_type.add(name=name)
        for text in layout.split():
            label, number, kind = re.split("[=:]", text)
            repeated = kind.startswith("*")
            added = message.field.add(
                name=label,
                number=int(number),
                label=fields.LABEL_REPEATED if repeated else fields.LABEL_OPTIONAL,
            )
            kind = kind.lstrip("*")
            if kind[0].isupper():
                added.type = fields.TYPE_MESSAGE
                added.type_name = f".{package}.{kind}"
            else:
                added.type = fields.Type.Value(f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return lambda name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}"))


_message = _build_messages()
BundleHeader = _message("BundleHeaderProto")
BundleEntry = _message("BundleEntryProto")
SavedTensorSlices = _message("SavedTensorSlices")
