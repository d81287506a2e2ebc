"""Copy a checkpoint's tensors into a new one, a piece at a time. Runs in the worker."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf

v1 = tf.compat.v1

PIECE_BYTES = 256 << 20
"""About how many bytes of tensors are in memory at once; a larger tensor is a piece of its own."""


class CheckpointWriter:
    """Writes a V2 checkpoint piece by piece: each is a shard of its own, and `finish` makes them one checkpoint.

    The format is TensorFlow's tensor bundle (tensorflow/core/util/tensor_bundle/tensor_bundle.h). In a graph and a
    session, because user code may have turned eager execution off.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._pieces: list[str] = []

    def write(self, make: Callable[[], Mapping[str, Any]], feeds: Mapping[str, Any] | None = None) -> None:
        """Write the tensors that `make` builds in the current graph, by name; `feeds` are its placeholders' values."""
        piece = f"{self._prefix}_pieces/{len(self._pieces):05d}/piece"
        os.makedirs(os.path.dirname(piece))
        with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
            tensors = dict(sorted(make().items()))
            save = tf.raw_ops.SaveV2(
                prefix=piece,
                tensor_names=list(tensors),
                shape_and_slices=[""] * len(tensors),
                tensors=list(tensors.values()),
            )
            session.run(save, feeds)
        self._pieces.append(piece)

    def finish(self) -> None:
        """Make one checkpoint of what was written."""
        with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
            session.run(
                tf.raw_ops.MergeV2Checkpoints(
                    checkpoint_prefixes=self._pieces, destination_prefix=self._prefix, delete_old_dirs=True
                )
            )
        shutil.rmtree(f"{self._prefix}_pieces", ignore_errors=True)


def copy_tensors(source: str, keys: Mapping[str, str], writer: CheckpointWriter) -> None:
    """Copy tensors of the checkpoint `source`, V1 or V2, sharded or not: `keys` is new name -> key there."""
    reader = tf.train.load_checkpoint(source)
    dtypes = reader.get_variable_to_dtype_map()
    shapes = reader.get_variable_to_shape_map()
    sizes = {name: _count_bytes(shapes[key], dtypes[key]) for name, key in keys.items()}
    for names in _cut(sizes):

        def restore(names: Sequence[str] = names) -> Mapping[str, Any]:
            tensors = tf.raw_ops.RestoreV2(
                prefix=source,
                tensor_names=[keys[n] for n in names],
                shape_and_slices=[""] * len(names),
                dtypes=[dtypes[keys[n]] for n in names],
            )
            return dict(zip(names, tensors, strict=True))

        writer.write(restore)


def write_arrays(arrays: Iterable[tuple[str, Any]], writer: CheckpointWriter) -> None:
    """Write named arrays, read from an iterator as they are needed."""
    piece: dict[str, Any] = {}
    size = 0
    for name, array in arrays:
        if piece and size + array.nbytes > PIECE_BYTES:
            _write_piece(piece, writer)
            piece, size = {}, 0
        piece[name] = array
        size += array.nbytes
    if piece:
        _write_piece(piece, writer)


def _write_piece(arrays: Mapping[str, Any], writer: CheckpointWriter) -> None:
    places = {name: f"value_{i}" for i, name in enumerate(arrays)}

    def place() -> Mapping[str, Any]:
        return {n: v1.placeholder(tf.as_dtype(a.dtype), a.shape, places[n]) for n, a in arrays.items()}

    writer.write(place, {f"{places[n]}:0": a for n, a in arrays.items()})


def _cut(sizes: Mapping[str, int]) -> Iterator[list[str]]:
    """Cut names into runs of at most PIECE_BYTES, one name at least."""
    names: list[str] = []
    total = 0
    for name, size in sizes.items():
        if names and total + size > PIECE_BYTES:
            yield names
            names, total = [], 0
        names.append(name)
        total += size
    if names:
        yield names


def _count_bytes(shape: Sequence[int], dtype: Any) -> int:
    count: int = dtype.size or 1
    for size in shape:
        count *= size
    return count
