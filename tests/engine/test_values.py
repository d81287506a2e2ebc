"""The values of checkpoints are read a block at a time: right however they are cut, and never all at once."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stored import rewrite_index

from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.job import Limits
from tb_ckptmeta.core.values import Values
from tb_ckptmeta.engine.bundle import read_contents, read_entries
from tb_ckptmeta.engine.diff import Differ
from tb_ckptmeta.engine.inspect import Inspector
from tb_ckptmeta.engine.rebuild import Rebuilder
from tb_ckptmeta.engine.scan import find_by_prefix
from tb_ckptmeta.engine.values import locate_values
from tb_ckptmeta.worker import blocks
from tb_ckptmeta.worker.blocks import cut, open_values
from tb_ckptmeta.worker.differences import align

tf = pytest.importorskip("tensorflow")

from tensorflow.core.protobuf import tensor_bundle_pb2  # noqa: E402

LIMITS = Limits(60.0, 1 << 30)
# The fixture's files are written anew for each example.
few = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)


def locate(prefix: Path) -> Values:
    checkpoint = find_by_prefix(str(prefix))
    assert checkpoint is not None
    contents = read_contents(str(prefix))
    return locate_values(checkpoint, contents, list(contents.tensors))


def read(values: Values, key: str, folder: Path) -> Any:
    with open_values(values, folder, LIMITS) as opened:
        found = list(opened(key))
    return np.concatenate(found) if found else np.empty(0)


def save_slices(prefix: Path, value: Any, cuts: list[list[int]]) -> None:
    """Write `value` in slices that are cut, in each dimension, where `cuts` says; a shard for each."""
    starts = [sorted({0, *(c for c in cut if 0 < c < n)}) for cut, n in zip(cuts, value.shape, strict=True)]
    corners: list[tuple[tuple[int, int], ...]] = [()]
    for begins, size in zip(starts, value.shape, strict=True):
        ends = [*begins[1:], size]
        corners = [(*corner, pair) for corner in corners for pair in zip(begins, ends, strict=True)]
    parts = []
    whole = " ".join(map(str, value.shape))
    for number, corner in enumerate(corners):
        parts.append(f"{prefix}-part{number}")
        spec = ":".join(f"{b},{e - b}" for b, e in corner)
        tf.raw_ops.SaveV2(
            prefix=parts[-1],
            tensor_names=["v"],
            shape_and_slices=[f"{whole} {spec}"],
            tensors=[tf.constant(value[tuple(slice(b, e) for b, e in corner)])],
        )
    tf.raw_ops.MergeV2Checkpoints(checkpoint_prefixes=parts, destination_prefix=str(prefix))


# --- blocks


@given(st.lists(st.integers(0, 6), max_size=4), st.integers(1, 20))
def test_cut_yields_every_element_once_in_order_and_no_large_block(shape: list[int], most: int) -> None:
    value = np.arange(math.prod(shape)).reshape(shape)
    found = [value[block].reshape(-1) for block in cut(shape, most)]
    assert [int(n) for block in found for n in block] == list(range(value.size))
    assert all(0 < block.size <= most for block in found)


@few
@given(data=st.data())
def test_read_of_a_tensor_in_any_slices_gives_what_tensorflow_gives(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    shape = data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=3))
    cuts = [data.draw(st.lists(st.integers(1, 6), max_size=2)) for _ in shape]
    folder = tmp_path_factory.mktemp("slices")
    value = np.random.default_rng(0).normal(size=shape).astype(data.draw(st.sampled_from(["float32", "int16"])))
    save_slices(folder / "ckpt", value, cuts)
    block = data.draw(st.integers(value.itemsize, value.nbytes + 8))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK_BYTES", block)
        found = read(locate(folder / "ckpt"), "v", folder)
    restored = tf.train.load_checkpoint(str(folder / "ckpt")).get_tensor("v")
    np.testing.assert_array_equal(found.reshape(shape), restored)


def test_read_of_text_gives_what_tensorflow_gives(tmp_path: Path) -> None:
    words = np.array([b"", b"a" * 300, "äöü".encode(), b"\0\xff"]).reshape(2, 2)
    save = {"prefix": str(tmp_path / "ckpt"), "tensor_names": ["v"], "shape_and_slices": [""]}
    tf.raw_ops.SaveV2(**save, tensors=[tf.constant([[b"", b"a" * 300], ["äöü".encode(), b"\0\xff"]])])
    assert list(read(locate(tmp_path / "ckpt"), "v", tmp_path)) == list(words.reshape(-1))


@pytest.mark.parametrize("cuts", [([3], [1, 4]), ([], [1, 6]), ([7], [7])])
def test_align_gives_both_side_by_side_however_each_is_cut(cuts: tuple[list[int], list[int]]) -> None:
    def pieces(where: list[int]) -> Iterator[Any]:
        yield from np.split(np.arange(7), [w for w in where if w < 7])

    found = list(align(pieces(cuts[0]), pieces(cuts[1])))
    assert [int(n) for a, _ in found for n in a] == list(range(7))
    assert all((a == b).all() for a, b in found)


def test_read_of_a_shard_that_was_cut_off_says_so(tmp_path: Path) -> None:
    save = {"prefix": str(tmp_path / "ckpt"), "tensor_names": ["v"], "shape_and_slices": [""]}
    tf.raw_ops.SaveV2(**save, tensors=[tf.zeros([1000])])
    values = locate(tmp_path / "ckpt")
    shard = tmp_path / "ckpt.data-00000-of-00001"
    shard.write_bytes(shard.read_bytes()[:-4])
    with pytest.raises(CkptMetaError, match="is corrupt: it is shorter than its index says") as caught:
        read(values, "v", tmp_path)
    assert caught.value.code is Code.CHECKPOINT_CORRUPT


# --- memory

ROWS, COLUMNS = 800, 250_000
"""A tensor of 0.8 GB."""


def write_large(folder: Path, changed: dict[int, float]) -> Path:
    """Write a checkpoint with one large tensor, zeros but for the elements `changed`: a file with holes in it."""
    folder.mkdir()
    prefix = folder / "ckpt"
    save = {"prefix": str(prefix), "tensor_names": ["kernel"], "shape_and_slices": [""]}
    tf.raw_ops.SaveV2(**save, tensors=[tf.zeros([1])])

    def enlarge(entries: dict[bytes, bytes]) -> None:
        entry = tensor_bundle_pb2.BundleEntryProto.FromString(entries[b"kernel"])
        del entry.shape.dim[:]
        for size in (ROWS, COLUMNS):
            entry.shape.dim.add(size=size)
        entry.size = ROWS * COLUMNS * 4
        entries[b"kernel"] = entry.SerializeToString()

    rewrite_index(str(prefix), enlarge)
    with (folder / "ckpt.data-00000-of-00001").open("r+b") as file:
        file.truncate(ROWS * COLUMNS * 4)
        for element, value in changed.items():
            file.seek(element * 4)
            file.write(np.float32(value).tobytes())
    return prefix


@pytest.mark.slow
def test_values_of_a_tensor_larger_than_the_memory_limit_are_compared(tmp_path: Path) -> None:
    last = ROWS * COLUMNS - 1
    paths = [write_large(tmp_path / "a", {0: 3.0, last: 4.0}), write_large(tmp_path / "b", {0: 3.0, 7: 12.0})]
    a, b = (find_by_prefix(str(path)) for path in paths)
    assert a is not None
    assert b is not None
    # A quarter of one tensor, for the interpreter, numpy and the blocks.
    rebuilder = Rebuilder(Limits(300.0, 192 << 20))
    found = Differ(Inspector(), rebuilder).diff(a, b, values=True)
    assert found.moved is not None
    (row,) = found.moved
    assert (row["shape"], row["differ"], row["max_abs"]) == ([ROWS, COLUMNS], 2, 12.0)
    assert row["relative_l2"] == pytest.approx(math.sqrt(12**2 + 4**2) / 5)


def test_values_of_a_checkpoint_that_has_changed_since_it_was_inspected_are_not_compared(tmp_path: Path) -> None:
    save = {"prefix": str(tmp_path / "ckpt"), "tensor_names": ["v"], "shape_and_slices": [""]}
    tf.raw_ops.SaveV2(**save, tensors=[tf.zeros([10])])
    checkpoint = find_by_prefix(str(tmp_path / "ckpt"))
    assert checkpoint is not None
    contents = read_contents(checkpoint.prefix)
    tf.raw_ops.SaveV2(**save, tensors=[tf.zeros([11])])
    assert read_entries(checkpoint.prefix)[0] == 1
    with pytest.raises(CkptMetaError, match="has changed while it was read: v is another one now"):
        locate_values(checkpoint, contents, ["v"])
