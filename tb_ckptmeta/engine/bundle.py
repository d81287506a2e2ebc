"""A reader of what checkpoints hold, without TensorFlow and without weights. Runs in the caller's process."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass, field
from typing import Any

from tb_ckptmeta.core.contents import OBJECT_GRAPH_KEY, Contents, StoredTensor
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.engine.checkpoint_file import FindSize, corrupt_error, find_file_size, incomplete_error, open_file
from tb_ckptmeta.engine.object_graph import convert_object_graph, read_object_graph
from tb_ckptmeta.engine.sstable import Table
from tb_ckptmeta.engine.stored_messages import (
    ITEM_BYTES,
    BundleEntry,
    BundleHeader,
    check_version,
    decode_key,
    get_dtype_name,
    parse_message,
    read_shape,
)
from tb_ckptmeta.engine.v1_table import find_v1_shards, read_v1

_DT_STRING = 7
_MAX_SHARDS = 99_999
# Millions of variables: more is a crafted file, not a checkpoint.
_LARGEST_INDEX = 1 << 29


def read_contents(prefix: str, find_size: FindSize = find_file_size) -> Contents:
    """Read the keys, shapes, dtypes and object graph of the checkpoint that `prefix` names.

    `find_size`: knows its files' sizes, where a listing has told them already.

    V2 (tensor_bundle.proto): `prefix.index`, and of the shards their sizes and the object graph's own bytes.
    V1 (saved_tensor_slice.proto): the file `prefix`, or its shards `prefix-?????-of-?????`. Its metadata has
    no sizes: `bytes` is then what a tensor takes in memory, and 0 for strings.

    Raises:
        CkptMetaError: CHECKPOINT_MISSING (no index), CHECKPOINT_INCOMPLETE (a shard is not there),
            CHECKPOINT_CORRUPT, CHECKPOINT_UNREADABLE (the system refuses), UNSUPPORTED_CHECKPOINT
            (big-endian, a format or type later than TensorFlow 2.21, several V1 checkpoints of one name).
    """
    index = f"{prefix}.index"
    if find_size(index) is not None:
        return _read_bundle(prefix, index, find_size)
    paths = [prefix] if find_size(prefix) is not None else find_v1_shards(prefix)
    if paths:
        return read_v1(paths)
    raise CkptMetaError(
        Code.CHECKPOINT_MISSING,
        f"There is no checkpoint {prefix}: neither {index} nor a V1 file of that name.",
    )


def read_entries(prefix: str) -> tuple[int, list[tuple[bytes, Any]]]:
    """Return the number of a V2 checkpoint's shards, and its entries by raw key, in order and not looked at.

    Raises:
        CkptMetaError: as `read_contents`.
    """
    index = f"{prefix}.index"
    entries = list(Table(io.BytesIO(_read_index(index)), index).entries())
    if not entries:
        raise corrupt_error(index, "it holds no entries")
    shards = _read_header(index, *entries[0])
    return shards, [(k, parse_message(BundleEntry, v, index, "an entry")) for k, v in entries[1:]]


def shard_paths(prefix: str, shards: int) -> tuple[str, ...]:
    """Return the paths of a V2 checkpoint's data shards, in order."""
    return tuple(_shard_path(prefix, shard, shards) for shard in range(shards))


def _shard_path(prefix: str, shard: int, shards: int) -> str:
    return f"{prefix}.data-{shard:05d}-of-{shards:05d}"


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


def _read_bundle(prefix: str, index: str, find_size: FindSize) -> Contents:
    data = _read_index(index, find_size(index))
    bundle: _Bundle | None = None
    for key, value in Table(io.BytesIO(data), index).entries():
        if bundle is None:
            bundle = _Bundle(_read_header(index, key, value))
        else:
            _add_entry(bundle, index, key, parse_message(BundleEntry, value, index, "an entry"))
    if bundle is None:
        raise corrupt_error(index, "it holds no entries")
    _join_slices(bundle, index)
    _check_shards(bundle, prefix, find_size)
    objects, notes = None, list[str]()
    if bundle.graph is not None:
        shard = _shard_path(prefix, bundle.graph.shard_id, bundle.shards)
        graph = read_object_graph(shard, bundle.graph, find_size(shard))
        objects, notes = convert_object_graph(graph, bundle.tensors, index)
    return Contents(
        "name" if objects is None else "object",
        bundle.tensors,
        objects,
        hashlib.sha256(data).hexdigest(),
        tuple(notes),
    )


def _read_index(index: str, size: int | None = None) -> bytes:
    with open_file(index, Code.CHECKPOINT_MISSING, size) as file:
        data = file.read(_LARGEST_INDEX + 1)
    if len(data) > _LARGEST_INDEX:
        raise corrupt_error(index, f"it has more than {_LARGEST_INDEX} bytes")
    return data


def _read_header(index: str, key: bytes, value: bytes) -> int:
    """Return the number of shards."""
    if key != b"":
        raise corrupt_error(index, "it has no header")
    header = parse_message(BundleHeader, value, index, "the header")
    if header.endianness != 0:
        raise CkptMetaError(
            Code.UNSUPPORTED_CHECKPOINT,
            f"{index} was written on a big-endian machine, and such checkpoints are not supported.",
        )
    check_version(index, header.version)
    if not 0 <= header.num_shards <= _MAX_SHARDS:
        raise corrupt_error(index, f"it claims {header.num_shards} shards")
    return int(header.num_shards)


def _add_entry(bundle: _Bundle, index: str, raw_key: bytes, entry: Any) -> None:
    is_slice = raw_key.startswith(b"\0")
    key = decode_key(tensor_of_slice(raw_key, index) if is_slice else raw_key, index)
    number = entry.dtype
    shape, elements = read_shape(entry.shape, key, index)
    dtype = get_dtype_name(number, key, index)
    size = entry.size
    if key == OBJECT_GRAPH_KEY and (number != _DT_STRING or shape != () or is_slice or entry.slices):
        raise corrupt_error(index, f"{key} is not a scalar string")

    if entry.slices:
        if is_slice:
            raise corrupt_error(index, f"a slice of {key} is sliced itself")
        bundle.slices_named[key] = len(entry.slices)
        bundle.tensors[key] = StoredTensor(shape, dtype, 0)
        return

    item = ITEM_BYTES.get(number)
    if size < 0 or (item is not None and size != elements * item):
        raise corrupt_error(index, f"{key} takes {size} bytes, which does not fit its shape {list(shape)} of {dtype}")
    if entry.offset < 0 or not 0 <= entry.shard_id < bundle.shards:
        raise corrupt_error(index, f"{key} lies at byte {entry.offset} of shard {entry.shard_id} of {bundle.shards}")
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
            raise corrupt_error(
                index,
                f"{key} has {bundle.slices_named.get(key, 0)} slices by its own entry, and {count} are held",
            )
        full = bundle.tensors[key]
        bundle.tensors[key] = StoredTensor(full.shape, full.dtype, held)
    for key in bundle.slices_named.keys() - bundle.slices_held.keys():
        raise corrupt_error(index, f"the slices of {key} are not in it")


def _check_shards(bundle: _Bundle, prefix: str, find_size: FindSize) -> None:
    """Compare the shards' sizes with what the index needs; shards that hold nothing are not asked for."""
    missing = []
    for shard, (needed, key) in sorted(bundle.ends.items()):
        path = _shard_path(prefix, shard, bundle.shards)
        size = find_size(path)
        if size is None:
            missing.append(path)
        elif size < needed:
            raise CkptMetaError(
                Code.CHECKPOINT_CORRUPT,
                f"The shard {path} is truncated: it has {size} bytes, {needed} are needed for {key}.",
            )
    if missing:
        raise incomplete_error(prefix, missing)


def tensor_of_slice(raw_key: bytes, index: str) -> bytes:
    """Return the tensor's key out of a slice's, which is a zero byte, the key, a separator, and the extents.

    The format is that of ordered_code.cc. A UTF-8 key holds no 0xff, so only a zero byte needs an escape.
    """
    key, separator, _ = raw_key[1:].partition(b"\0\1")
    if not separator:
        raise corrupt_error(index, "it has a malformed key of a slice")
    return key.replace(b"\0\xff", b"\0")
