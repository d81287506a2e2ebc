"""Find out where in its files a checkpoint keeps its values, and read none of them. Runs in the caller's process."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from tb_ckptmeta.core.checkpoint import Checkpoint
from tb_ckptmeta.core.contents import OBJECT_GRAPH_KEY, Contents
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.values import Part, StoredValues, Values
from tb_ckptmeta.engine.bundle import read_entries, shard_paths, tensor_of_slice
from tb_ckptmeta.engine.checkpoint_file import corrupt_error
from tb_ckptmeta.engine.scan import check_confined
from tb_ckptmeta.engine.stored_messages import decode_key, get_dtype_name, read_shape


def locate_values(checkpoint: Checkpoint, contents: Contents, keys: Collection[str]) -> Values:
    """Return where the tensors `keys` of a checkpoint lie.

    Of a remote one, a local copy (engine.fetch): a worker reads no URLs.

    Raises:
        CkptMetaError: CHECKPOINT_MISSING, _CORRUPT, _UNREADABLE; OUTSIDE_LOGDIR.
    """
    check_confined(checkpoint)
    parts: dict[str, tuple[Part, ...]] = {}
    if contents.format in ("object", "name"):
        parts = _find_parts(checkpoint.prefix, contents, frozenset(keys))
    return Values(
        contents.format,
        checkpoint.prefix,
        {
            k: StoredValues(t.shape, t.dtype, t.bytes, parts.get(k, ()))
            for k, t in contents.tensors.items()
            if k in keys
        },
    )


def _find_parts(prefix: str, contents: Contents, keys: Collection[str]) -> dict[str, tuple[Part, ...]]:
    index = f"{prefix}.index"
    shards, entries = read_entries(prefix)
    paths = shard_paths(prefix, shards)
    whole: dict[str, Any] = {}
    slices: dict[str, list[Any]] = {}
    for raw_key, entry in entries:
        is_slice = raw_key.startswith(b"\0")
        key = decode_key(tensor_of_slice(raw_key, index) if is_slice else raw_key, index)
        if key not in keys or key == OBJECT_GRAPH_KEY:
            continue
        if not 0 <= entry.shard_id < shards:
            raise corrupt_error(index, f"{key} lies in shard {entry.shard_id} of {shards}")
        if is_slice:
            slices.setdefault(key, []).append(entry)
        else:
            whole[key] = entry
    found: dict[str, tuple[Part, ...]] = {}
    for key in keys:
        entry, stored = whole.get(key), contents.tensors[key]
        if entry is None or _describe(entry, key, index) != (stored.shape, stored.dtype):
            message = f"{prefix} has changed while it was read: {key} is another one now. Compare again."
            raise CkptMetaError(Code.CHECKPOINT_MISSING, message)
        if not entry.slices:
            zeros = (0,) * len(stored.shape)
            found[key] = (Part(paths[entry.shard_id], entry.offset, entry.size, zeros, stored.shape),)
            continue
        # Keys of slices are encoded so that they are in the order of their extents (ordered_code.h); the whole of a
        # dimension has the length -1 there (saved_tensor_slice_util.cc).
        extents = sorted(_read_extents(s) for s in entry.slices)
        held = slices.get(key, [])
        if len(held) != len(extents):
            raise corrupt_error(index, f"{key} has {len(extents)} slices by its own entry, and {len(held)} are held")
        found[key] = tuple(
            _make_part(paths[s.shard_id], s, e, stored.shape, key, index) for e, s in zip(extents, held, strict=True)
        )
    return found


def _describe(entry: Any, key: str, index: str) -> tuple[tuple[int, ...], str]:
    return read_shape(entry.shape, key, index)[0], get_dtype_name(entry.dtype, key, index)


def _read_extents(proto: Any) -> tuple[tuple[int, int], ...]:
    """Return (start, length) by dimension; an absent length is the whole dimension (tensor_slice.proto)."""
    return tuple((e.start, e.length if e.HasField("length") else -1) for e in proto.extent)


def _make_part(
    path: str, entry: Any, extents: tuple[tuple[int, int], ...], shape: tuple[int, ...], key: str, index: str
) -> Part:
    if len(extents) != len(shape):
        raise corrupt_error(index, f"a slice of {key} has {len(extents)} dimensions, and the tensor {len(shape)}")
    start = tuple(s for s, _ in extents)
    lengths = tuple(n if length == -1 else length for (_, length), n in zip(extents, shape, strict=True))
    inside = all(s >= 0 and n >= 0 and s + n <= size for s, n, size in zip(start, lengths, shape, strict=True))
    if not inside or lengths != read_shape(entry.shape, key, index)[0]:
        raise corrupt_error(index, f"a slice of {key} does not lie where its entry says")
    return Part(path, entry.offset, entry.size, start, lengths)
