"""A reader of V1 checkpoints, tables that hold both metadata and weights. Runs in the caller's process."""

from __future__ import annotations

import hashlib
import os
import re
from collections import defaultdict
from typing import Any

from tb_ckptmeta.core.contents import Contents, StoredTensor
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.engine.checkpoint_file import (
    corrupt_error,
    incomplete_error,
    list_names,
    open_file,
    unreadable_error,
)
from tb_ckptmeta.engine.sstable import Table
from tb_ckptmeta.engine.stored_messages import (
    ITEM_BYTES,
    SavedTensorSlices,
    check_version,
    decode_key,
    get_dtype_name,
    parse_message,
    read_shape,
)


def find_v1_shards(prefix: str) -> list[str]:
    """Return the shards of a V1 checkpoint in order, none when there is no such checkpoint.

    Raises:
        CkptMetaError: CHECKPOINT_INCOMPLETE (a shard is not there), CHECKPOINT_UNREADABLE (the folder),
            UNSUPPORTED_CHECKPOINT (several checkpoints of that name).
    """
    # `Saver.save` returns, and the `checkpoint` file records, "ckpt-?????-of-00002" for such a checkpoint.
    asked = re.search(r"-\?{5}-of-(\d{5})$", prefix)
    stem = prefix[: asked.start()] if asked else prefix
    folder, base = os.path.split(stem)
    pattern = re.compile(re.escape(base) + (r"-(\d{5})-of-" + (asked[1] if asked else r"\d{5}")))
    found: dict[str, list[str]] = defaultdict(list)
    try:
        names = list_names(folder)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return []
    except OSError as error:
        raise unreadable_error(folder, error) from None
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
            raise incomplete_error(prefix, missing)
        return expected
    return []


def read_v1(paths: list[str]) -> Contents:
    """Read the keys, shapes and dtypes of a V1 checkpoint (saved_tensor_slice.proto), given all its files.

    Raises:
        CkptMetaError: CHECKPOINT_CORRUPT, CHECKPOINT_INCOMPLETE (a file is gone), CHECKPOINT_UNREADABLE,
            UNSUPPORTED_CHECKPOINT (a format or type later than TensorFlow 2.21).
    """
    shapes: dict[str, tuple[tuple[int, ...], str]] = {}
    sizes: dict[str, int] = defaultdict(int)
    digest = hashlib.sha256()
    for path in paths:
        metadata = _read_metadata(path, digest)
        for tensor in metadata.tensor:
            name = decode_key(tensor.name, path)
            shape, _ = read_shape(tensor.shape, name, path)
            described = (shape, get_dtype_name(tensor.type, name, path))
            if shapes.setdefault(name, described) != described:
                raise corrupt_error(path, f"{name} has another shape or type in another shard")
            item = ITEM_BYTES.get(tensor.type, 0)
            for extents in tensor.slice:
                sizes[name] += item * _count_slice_elements(extents.extent, shape, name, path)
    tensors = {name: StoredTensor(shape, dtype, sizes[name]) for name, (shape, dtype) in sorted(shapes.items())}
    return Contents("v1", tensors, None, digest.hexdigest())


def _read_metadata(path: str, digest: hashlib._Hash) -> Any:
    """Return the `SavedTensorSliceMeta` of one file, and add to `digest` what tells the file from others."""
    with open_file(path, Code.CHECKPOINT_INCOMPLETE) as file:
        table = Table(file, path)
        key, value = table.first_entry()
        size = file.seek(0, os.SEEK_END)
        checksums = table.block_checksums()
    slices = parse_message(SavedTensorSlices, value, path, "the metadata")
    if key != b"" or not slices.HasField("meta"):
        raise corrupt_error(path, "it is a table without the metadata of a V1 checkpoint")
    check_version(path, slices.meta.versions)
    # The metadata alone is the same at every step of a training; the blocks' checksums are not.
    for part in (value, size.to_bytes(8, "little"), checksums):
        digest.update(len(part).to_bytes(8, "little") + part)
    return slices.meta


def _count_slice_elements(extents: Any, shape: tuple[int, ...], name: str, path: str) -> int:
    if len(extents) != len(shape):
        raise corrupt_error(path, f"a slice of {name} has {len(extents)} dimensions, and the tensor {len(shape)}")
    elements = 1
    for extent, dimension in zip(extents, shape, strict=True):
        # An absent length means the whole dimension (tensor_slice.proto).
        length = extent.length if extent.HasField("length") and extent.length != -1 else dimension
        if extent.start < 0 or length < 0 or extent.start + length > dimension:
            raise corrupt_error(path, f"a slice of {name} lies outside its shape {list(shape)}")
        elements *= length
    return elements
