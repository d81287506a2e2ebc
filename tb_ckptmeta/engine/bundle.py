"""A reader of what checkpoints hold, without TensorFlow and without weights. Runs in the caller's process."""

from __future__ import annotations

import hashlib
import io
import math
import os
import re
import stat
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError
from tensorboard.compat.proto.trackable_object_graph_pb2 import TrackableObjectGraph

from tb_ckptmeta.core.contents import (
    DTYPE_NAMES,
    OBJECT_GRAPH_KEY,
    Contents,
    ObjectGraph,
    ObjectNode,
    StoredTensor,
)
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.engine.sstable import MalformedError, Table, crc32c, decode_varint, unmask_crc

_DT_STRING = 7
# Bytes of one element in a shard. A string, a resource or a variant has no fixed size.
_ITEM_BYTES: Mapping[int, int] = {
    **dict.fromkeys((4, 6, 10, 11, 12, *range(24, 34)), 1),
    **dict.fromkeys((5, 14, 15, 16, 17, 19), 2),
    **dict.fromkeys((1, 3, 13, 22), 4),
    **dict.fromkeys((2, 8, 9, 23), 8),
    18: 16,
}

# The newest reader that either format has known (tensor_bundle.cc, public/version.h).
_READER_VERSION = 1
_MAX_RANK = 254
_MAX_SHARDS = 99_999
# Millions of variables: more is a crafted file, not a checkpoint.
_LARGEST_INDEX = 1 << 29
_LARGEST_OBJECT_GRAPH = 1 << 29


def read_contents(prefix: str) -> Contents:
    """Read the keys, shapes, dtypes and object graph of the checkpoint that `prefix` names.

    V2 (tensor_bundle.proto): `prefix.index`, and of the shards their sizes and the object graph's own bytes.
    V1 (saved_tensor_slice.proto): the file `prefix`, or its shards `prefix-?????-of-?????`. Its metadata has
    no sizes: `bytes` is then what a tensor takes in memory, and 0 for strings.

    Raises:
        CkptMetaError: CHECKPOINT_MISSING (no index), CHECKPOINT_INCOMPLETE (a shard is not there),
            CHECKPOINT_CORRUPT, CHECKPOINT_UNREADABLE (the system refuses), UNSUPPORTED_CHECKPOINT
            (big-endian, a format or type later than TensorFlow 2.21, several V1 checkpoints of one name).
    """
    index = f"{prefix}.index"
    if _file_size(index) is not None:
        return _read_bundle(prefix, index)
    paths = [prefix] if _file_size(prefix) is not None else _find_v1_shards(prefix)
    if paths:
        return _read_v1(paths)
    raise CkptMetaError(
        Code.CHECKPOINT_MISSING,
        f"There is no checkpoint {prefix}: neither {index} nor a V1 file of that name.",
    )


def shard_paths(prefix: str, shards: int) -> tuple[str, ...]:
    """Return the paths of a V2 checkpoint's data shards, in order."""
    return tuple(_shard_path(prefix, shard, shards) for shard in range(shards))


def _shard_path(prefix: str, shard: int, shards: int) -> str:
    return f"{prefix}.data-{shard:05d}-of-{shards:05d}"


# --- V2: the tensor bundle


@dataclass
class _Bundle:
    """What an index says, as it is gathered entry by entry."""

    shards: int
    tensors: dict[str, StoredTensor] = field(default_factory=dict)
    graph: Any = None
    # Partitioned tensors: how many slices the full entry names; how many are there, and their bytes.
    slices_named: dict[str, int] = field(default_factory=dict)
    slices_held: dict[str, tuple[int, int]] = field(default_factory=dict)
    # Shard -> how long its file must be, and the key that needs it.
    ends: dict[int, tuple[int, str]] = field(default_factory=dict)


def _read_bundle(prefix: str, index: str) -> Contents:
    data = _read_index(index)
    bundle: _Bundle | None = None
    for key, value in Table(io.BytesIO(data), index).entries():
        if bundle is None:
            bundle = _Bundle(_read_header(index, key, value))
        else:
            _add_entry(bundle, index, key, _parse(_Entry, value, index, "an entry"))
    if bundle is None:
        raise _corrupt(index, "it holds no entries")
    _join_slices(bundle, index)
    _check_shards(bundle, prefix)
    objects, notes = None, list[str]()
    if bundle.graph is not None:
        graph = _read_object_graph(_shard_path(prefix, bundle.graph.shard_id, bundle.shards), bundle.graph)
        objects, notes = _convert_object_graph(graph, bundle.tensors, index)
    return Contents(
        "name" if objects is None else "object",
        bundle.tensors,
        objects,
        hashlib.sha256(data).hexdigest(),
        tuple(notes),
    )


def _read_index(index: str) -> bytes:
    with _open(index, Code.CHECKPOINT_MISSING) as file:
        data = file.read(_LARGEST_INDEX + 1)
    if len(data) > _LARGEST_INDEX:
        raise _corrupt(index, f"it has more than {_LARGEST_INDEX} bytes")
    return data


def _read_header(index: str, key: bytes, value: bytes) -> int:
    """Return the number of shards."""
    if key != b"":
        raise _corrupt(index, "it has no header")
    header = _parse(_Header, value, index, "the header")
    if header.endianness != 0:
        raise CkptMetaError(
            Code.UNSUPPORTED_CHECKPOINT,
            f"{index} was written on a big-endian machine, and such checkpoints are not supported.",
        )
    _check_version(index, header.version)
    if not 0 <= header.num_shards <= _MAX_SHARDS:
        raise _corrupt(index, f"it claims {header.num_shards} shards")
    return int(header.num_shards)


def _add_entry(bundle: _Bundle, index: str, raw_key: bytes, entry: Any) -> None:
    is_slice = raw_key.startswith(b"\0")
    key = _decode_key(_tensor_of_slice(raw_key, index) if is_slice else raw_key, index)
    number = entry.dtype
    shape, elements = _read_shape(entry.shape, key, index)
    dtype = _dtype_name(number, key, index)
    size = entry.size
    if key == OBJECT_GRAPH_KEY and (number != _DT_STRING or shape != () or is_slice or entry.slices):
        raise _corrupt(index, f"{key} is not a scalar string")

    if entry.slices:
        if is_slice:
            raise _corrupt(index, f"a slice of {key} is sliced itself")
        bundle.slices_named[key] = len(entry.slices)
        bundle.tensors[key] = StoredTensor(shape, dtype, 0)
        return

    item = _ITEM_BYTES.get(number)
    if size < 0 or (item is not None and size != elements * item):
        raise _corrupt(index, f"{key} takes {size} bytes, which does not fit its shape {list(shape)} of {dtype}")
    if entry.offset < 0 or not 0 <= entry.shard_id < bundle.shards:
        raise _corrupt(index, f"{key} lies at byte {entry.offset} of shard {entry.shard_id} of {bundle.shards}")
    end = entry.offset + size
    if end > bundle.ends.get(entry.shard_id, (-1, ""))[0]:
        bundle.ends[entry.shard_id] = (end, key)

    if is_slice:
        count, held = bundle.slices_held.get(key, (0, 0))
        bundle.slices_held[key] = (count + 1, held + size)
    elif key == OBJECT_GRAPH_KEY:
        bundle.graph = entry
    else:
        bundle.tensors[key] = StoredTensor(shape, dtype, size)


def _join_slices(bundle: _Bundle, index: str) -> None:
    """Give every partitioned tensor the bytes of its slices."""
    for key, (count, held) in bundle.slices_held.items():
        if bundle.slices_named.get(key) != count:
            raise _corrupt(
                index,
                f"{key} has {bundle.slices_named.get(key, 0)} slices by its own entry, and {count} are held",
            )
        full = bundle.tensors[key]
        bundle.tensors[key] = StoredTensor(full.shape, full.dtype, held)
    for key in bundle.slices_named.keys() - bundle.slices_held.keys():
        raise _corrupt(index, f"the slices of {key} are not in it")


def _check_shards(bundle: _Bundle, prefix: str) -> None:
    """Compare the shards' sizes with what the index needs; shards that hold nothing are not asked for."""
    missing = []
    for shard, (needed, key) in sorted(bundle.ends.items()):
        path = _shard_path(prefix, shard, bundle.shards)
        size = _file_size(path)
        if size is None:
            missing.append(path)
        elif size < needed:
            raise CkptMetaError(
                Code.CHECKPOINT_CORRUPT,
                f"The shard {path} is truncated: it has {size} bytes, {needed} are needed for {key}.",
            )
    if missing:
        raise _incomplete(prefix, missing)


# --- The object graph


def _read_object_graph(path: str, entry: Any) -> Any:
    """Read a string scalar from a shard: its length, the length's checksum, its bytes (tensor_bundle.cc)."""
    if entry.size > _LARGEST_OBJECT_GRAPH:
        raise _corrupt(path, f"its object graph claims {entry.size} bytes")
    with _open(path, Code.CHECKPOINT_INCOMPLETE) as file:
        file.seek(entry.offset)
        stored = file.read(entry.size)
    try:
        length, at = decode_varint(stored, 0)
        start = at + 4
        if start + length != len(stored):
            raise MalformedError("is corrupt: the length of its object graph is wrong")
        # The checksum covers the length as a fixed 4-byte number, not as the varint that is stored.
        if crc32c(length.to_bytes(4, "little") + stored[at:]) != unmask_crc(entry.crc32c):
            raise MalformedError("is corrupt: the checksum of its object graph does not match")
    except MalformedError as error:
        raise CkptMetaError(Code.CHECKPOINT_CORRUPT, f"The shard {path} {error}.") from None
    return _parse(TrackableObjectGraph, stored[start:], path, "the object graph")


def _convert_object_graph(graph: Any, tensors: Mapping[str, StoredTensor], index: str) -> tuple[ObjectGraph, list[str]]:
    """Return the object graph, whose every key is one of `tensors`, and notes on the keys that are not."""
    count = len(graph.nodes)
    if not count:
        raise _corrupt(index, "its object graph has no root")
    nodes = []
    derived: dict[str, list[tuple[str, str]]] | None = None
    absent = []
    for number, node in enumerate(graph.nodes):
        children = {child.local_name: child.node_id for child in node.children}
        slots = tuple(
            [(s.slot_name, s.original_variable_node_id, s.slot_variable_node_id) for s in node.slot_variables]
        )
        for target in (*children.values(), *[end for _, *ends in slots for end in ends]):
            if not 0 <= target < count:
                raise _corrupt(
                    index, f"node {number} of its object graph refers to node {target}, and there are {count}"
                )
        keys = {}
        for attribute in node.attributes:
            key = attribute.checkpoint_key
            if key in tensors:
                keys[attribute.name] = key
                continue
            if derived is None:
                derived = _group_derived_keys(tensors)
            # Each group is handed out once, so that a crafted graph cannot ask for it a million times.
            group = derived.pop(key, None)
            if group is None:
                absent.append(key)
            else:
                keys.update((attribute.name + suffix, name) for name, suffix in group)
        nodes.append(ObjectNode(children, keys, slots))
    notes = []
    if absent:
        shown = ", ".join(absent[:5]) + (", …" if len(absent) > 5 else "")
        notes.append(f"The object graph names keys that the checkpoint does not hold ({len(absent)}): {shown}")
    return ObjectGraph(tuple(nodes)), notes


def _group_derived_keys(tensors: Mapping[str, StoredTensor]) -> dict[str, list[tuple[str, str]]]:
    """Group keys like `x/table-keys`, `x/table-values` and `x/ITERATOR_STATE` by what precedes their suffix.

    A lookup table or an iterator has one attribute, `x/table`, and stores its tensors under such keys.
    """
    groups = defaultdict(list)
    for name in tensors:
        cut = max(name.rfind("-"), name.rfind("_"))
        if cut > name.rfind("/"):
            groups[name[:cut]].append((name, name[cut:]))
    return dict(groups)


# --- V1: one table that holds metadata and weights


def _find_v1_shards(prefix: str) -> list[str]:
    """Return the shards of a V1 checkpoint in order, none when there is no such checkpoint."""
    # `Saver.save` returns, and the `checkpoint` file records, "ckpt-?????-of-00002" for such a checkpoint.
    asked = re.search(r"-\?{5}-of-(\d{5})$", prefix)
    stem = prefix[: asked.start()] if asked else prefix
    folder, base = os.path.split(stem)
    pattern = re.compile(re.escape(base) + (r"-(\d{5})-of-" + (asked[1] if asked else r"\d{5}")))
    found: dict[str, list[str]] = defaultdict(list)
    try:
        names = sorted(os.listdir(folder or "."))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return []
    except OSError as error:
        raise _unreadable(folder, error) from None
    for name in names:
        if pattern.fullmatch(name):
            found[name[-5:]].append(os.path.join(folder, name))
    if len(found) > 1:
        raise CkptMetaError(
            Code.UNSUPPORTED_CHECKPOINT,
            f"{prefix} names V1 checkpoints of {', '.join(sorted(found))} shards: "
            f"ask for one of them, as {stem}-?????-of-{min(found)}.",
        )
    for count, paths in found.items():
        expected = [f"{stem}-{shard:05d}-of-{count}" for shard in range(int(count))]
        missing = [path for path in expected if path not in paths]
        if missing:
            raise _incomplete(prefix, missing)
        return expected
    return []


def _read_v1(paths: list[str]) -> Contents:
    shapes: dict[str, tuple[tuple[int, ...], str]] = {}
    sizes: dict[str, int] = defaultdict(int)
    digest = hashlib.sha256()
    for path in paths:
        metadata = _read_v1_metadata(path, digest)
        for tensor in metadata.tensor:
            name = _decode_key(tensor.name, path)
            shape, _ = _read_shape(tensor.shape, name, path)
            described = (shape, _dtype_name(tensor.type, name, path))
            if shapes.setdefault(name, described) != described:
                raise _corrupt(path, f"{name} has another shape or type in another shard")
            item = _ITEM_BYTES.get(tensor.type, 0)
            for extents in tensor.slice:
                sizes[name] += item * _count_slice_elements(extents.extent, shape, name, path)
    tensors = {name: StoredTensor(shape, dtype, sizes[name]) for name, (shape, dtype) in sorted(shapes.items())}
    return Contents("v1", tensors, None, digest.hexdigest())


def _read_v1_metadata(path: str, digest: hashlib._Hash) -> Any:
    """Return the `SavedTensorSliceMeta` of one file, and add to `digest` what tells the file from others."""
    with _open(path, Code.CHECKPOINT_INCOMPLETE) as file:
        table = Table(file, path)
        key, value = table.first_entry()
        size = file.seek(0, os.SEEK_END)
        checksums = table.block_checksums()
    slices = _parse(_SavedTensorSlices, value, path, "the metadata")
    if key != b"" or not slices.HasField("meta"):
        raise _corrupt(path, "it is a table without the metadata of a V1 checkpoint")
    _check_version(path, slices.meta.versions)
    # The metadata alone is the same at every step of a training; the blocks' checksums are not.
    for part in (value, size.to_bytes(8, "little"), checksums):
        digest.update(len(part).to_bytes(8, "little") + part)
    return slices.meta


def _count_slice_elements(extents: Any, shape: tuple[int, ...], name: str, path: str) -> int:
    if len(extents) != len(shape):
        raise _corrupt(path, f"a slice of {name} has {len(extents)} dimensions, and the tensor {len(shape)}")
    elements = 1
    for extent, dimension in zip(extents, shape, strict=True):
        # An absent length means the whole dimension (tensor_slice.proto).
        length = extent.length if extent.HasField("length") and extent.length != -1 else dimension
        if extent.start < 0 or length < 0 or extent.start + length > dimension:
            raise _corrupt(path, f"a slice of {name} lies outside its shape {list(shape)}")
        elements *= length
    return elements


# --- What both formats share


def _read_shape(proto: Any, key: str, path: str) -> tuple[tuple[int, ...], int]:
    """Return a shape and its number of elements."""
    shape = tuple([dimension.size for dimension in proto.dim])
    elements = math.prod(shape)
    if proto.unknown_rank or len(shape) > _MAX_RANK or (shape and min(shape) < 0) or elements >= 1 << 63:
        raise _corrupt(path, f"{key} has no valid shape")
    return shape, elements


def _dtype_name(number: int, key: str, path: str) -> str:
    name = DTYPE_NAMES.get(number)
    if name is None:
        raise CkptMetaError(
            Code.UNSUPPORTED_CHECKPOINT,
            f"{path} holds {key} with the type number {number}, which is not one of TensorFlow's up to 2.21.",
        )
    return name


def _tensor_of_slice(raw_key: bytes, index: str) -> bytes:
    """Return the tensor's key out of a slice's, which is a zero byte, the key, a separator, and the extents.

    The format is that of ordered_code.cc. A UTF-8 key holds no 0xff, so only a zero byte needs an escape.
    """
    key, separator, _ = raw_key[1:].partition(b"\0\1")
    if not separator:
        raise _corrupt(index, "it has a malformed key of a slice")
    return key.replace(b"\0\xff", b"\0")


def _decode_key(raw_key: bytes, index: str) -> str:
    try:
        return raw_key.decode()
    except UnicodeDecodeError:
        raise _corrupt(index, f"its key {raw_key[:80]!r} is not UTF-8 text") from None


def _check_version(path: str, version: Any) -> None:
    if version.min_consumer > _READER_VERSION:
        raise CkptMetaError(
            Code.UNSUPPORTED_CHECKPOINT,
            f"{path} was written by a later TensorFlow: its format is for readers of version "
            f"{version.min_consumer}, and this is one of version {_READER_VERSION}.",
        )


def _parse(message: Any, data: bytes, path: str, what: str) -> Any:
    try:
        return message.FromString(data)
    except (DecodeError, UnicodeDecodeError):  # The latter from protobuf's implementation in Python alone.
        raise _corrupt(path, f"{what} in it is not a {message.DESCRIPTOR.name}") from None


# --- Files and errors


def _file_size(path: str) -> int | None:
    """Return the bytes of a regular file, None when there is no such file."""
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a path with a zero byte in it.
        return None
    except OSError as error:
        raise _unreadable(path, error) from None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


@contextmanager
def _open(path: str, gone: Code) -> Iterator[BinaryIO]:
    """Open a file that was there a moment ago; a training may delete old checkpoints at any time."""
    try:
        with open(path, "rb") as file:
            yield file
    except FileNotFoundError:
        raise CkptMetaError(gone, f"{path} is no longer there.") from None
    except OSError as error:
        raise _unreadable(path, error) from None


def _corrupt(path: str, reason: str) -> CkptMetaError:
    return CkptMetaError(Code.CHECKPOINT_CORRUPT, f"{path} is corrupt: {reason}.")


def _incomplete(prefix: str, missing: list[str]) -> CkptMetaError:
    others = f", and {len(missing) - 1} more with it" if len(missing) > 1 else ""
    return CkptMetaError(
        Code.CHECKPOINT_INCOMPLETE,
        f"The checkpoint {prefix} is incomplete: its shard {missing[0]} is missing{others}.",
        "\n".join(missing),
    )


def _unreadable(path: str, error: OSError) -> CkptMetaError:
    return CkptMetaError(Code.CHECKPOINT_UNREADABLE, f"{path} cannot be read: {error.strerror or error}.")


# --- Messages


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
_Header = _message("BundleHeaderProto")
_Entry = _message("BundleEntryProto")
_SavedTensorSlices = _message("SavedTensorSlices")
