"""V1 checkpoints, whole and in shards, and tables that only look like one."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stored import agrees_with_tensorflow, any_bytes, changes, raised, reads_or_raises, table_of, tf
from tensorflow.core.protobuf import saver_pb2
from tensorflow.core.util import saved_tensor_slice_pb2

from tb_ckptmeta.core.contents import StoredTensor
from tb_ckptmeta.core.errors import Code
from tb_ckptmeta.engine.bundle import read_contents


def test_read_contents_of_a_v1_checkpoint_agrees_with_tensorflow(save_names: Callable[..., str]) -> None:
    prefix = save_names(
        {
            "net/kernel": np.zeros([30, 40], np.float32),
            "net/größe": np.zeros([0], np.float64),
            "step": np.int64(3),
            "flag": np.array([True]),
            "half": np.zeros([3], np.float16),
            "big": np.zeros([600, 600], np.float32),
        },
        write_version=saver_pb2.SaverDef.V1,
    )
    assert os.path.isfile(prefix)
    contents = read_contents(prefix)
    assert (contents.format, contents.objects) == ("v1", None)
    assert agrees_with_tensorflow(contents, prefix)


@pytest.fixture
def v1_shards(tmp_path: Path) -> str:
    """The prefix of a V1 checkpoint in two files, with a tensor that has a slice in each."""
    for shard in range(2):
        tf.raw_ops.SaveSlices(
            filename=str(tmp_path / f"ckpt-{shard:05d}-of-00002"),
            tensor_names=["table", f"only/{shard}", f"text/{shard}"],
            shapes_and_slices=[f"6 4 {3 * shard},3:-", "", ""],
            data=[tf.zeros([3, 4]), tf.zeros([2]), tf.constant(["text"])],
        )
    return str(tmp_path / "ckpt")


def test_read_contents_of_v1_shards_joins_their_slices(v1_shards: str) -> None:
    contents = read_contents(v1_shards)
    assert contents.format == "v1"
    assert contents.tensors["table"] == StoredTensor((6, 4), "float32", 96)
    assert contents.tensors["text/0"] == StoredTensor((1,), "string", 0)
    assert agrees_with_tensorflow(contents, v1_shards + "-?????-of-00002")
    assert read_contents(v1_shards + "-?????-of-00002") == contents


def test_read_contents_of_v1_with_a_missing_shard_raises_incomplete(v1_shards: str) -> None:
    os.remove(v1_shards + "-00001-of-00002")
    code, message = raised(v1_shards)
    assert code is Code.CHECKPOINT_INCOMPLETE
    assert f"{v1_shards}-00001-of-00002 is missing" in message


def test_read_contents_of_v1_shards_of_two_counts_wants_one_named(v1_shards: str) -> None:
    Path(v1_shards + "-00000-of-00001").write_bytes(Path(v1_shards + "-00000-of-00002").read_bytes())
    code, message = raised(v1_shards)
    assert code is Code.UNSUPPORTED_CHECKPOINT
    assert "ckpt-?????-of-00001" in message
    assert len(read_contents(v1_shards + "-?????-of-00002").tensors) == 5


def test_read_contents_of_v1_reads_the_metadata_alone(
    save_names: Callable[..., str], bytes_read: dict[str, int]
) -> None:
    prefix = save_names(
        {f"w{n}": np.zeros([1000, 1000], np.float32) for n in range(3)}, write_version=saver_pb2.SaverDef.V1
    )
    assert len(read_contents(prefix).tensors) == 3
    assert bytes_read[prefix] < 10_000


def v1_metadata(**fields: Any) -> bytes:
    tensor = saved_tensor_slice_pb2.SavedSliceMeta(name="w", type=1)
    tensor.shape.dim.add(size=4)
    tensor.slice.add().extent.add(start=1, length=2)
    meta = saved_tensor_slice_pb2.SavedTensorSliceMeta(tensor=[tensor])
    change = fields.get("change")
    if change:
        change(meta)
    return bytes(saved_tensor_slice_pb2.SavedTensorSlices(meta=meta).SerializeToString())


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({}, "holds no entries"),
        ({b"": b""}, "without the metadata of a V1 checkpoint"),
        ({b"a": v1_metadata()}, "without the metadata of a V1 checkpoint"),
        ({b"": b"\xff\xff"}, "not a SavedTensorSlices"),
        ({b"": v1_metadata().replace(b"\x01w", b"\x01\xff")}, "not UTF-8"),
        ({b"": v1_metadata(change=lambda m: m.tensor[0].slice[0].extent[0].ClearField("start"))}, None),
        ({b"": v1_metadata(change=lambda m: m.tensor[0].slice[0].extent.add())}, "has 2 dimensions"),
        ({b"": v1_metadata(change=lambda m: m.tensor[0].slice.add().extent.add(length=5))}, "outside"),
        ({b"": v1_metadata(change=lambda m: m.tensor[0].slice.add().extent.add(start=-1))}, "outside"),
        ({b"": v1_metadata(change=lambda m: m.tensor.add(name="w", type=2))}, "another shape or type"),
    ],
)
def test_read_contents_of_crafted_v1_metadata_raises_corrupt(
    tmp_path: Path, entries: dict[bytes, bytes], message: str | None
) -> None:
    (tmp_path / "ckpt").write_bytes(table_of(entries))
    if message is None:
        assert read_contents(str(tmp_path / "ckpt")).tensors["w"] == StoredTensor((4,), "float32", 8)
        return
    code, text = raised(str(tmp_path / "ckpt"))
    assert code is Code.CHECKPOINT_CORRUPT
    assert message in text


def test_read_contents_of_v1_truncated_anywhere_raises_corrupt(save_names: Callable[..., str]) -> None:
    path = Path(save_names({"w": np.array([1, 2], np.float32)}, write_version=saver_pb2.SaverDef.V1))
    data = path.read_bytes()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        code, message = raised(str(path))
        assert code is Code.CHECKPOINT_CORRUPT
        assert str(path) in message


@given(st.data())
@any_bytes
def test_read_contents_of_any_v1_metadata_with_valid_checksums_raises_nothing_else(
    tmp_path: Path, data: st.DataObject
) -> None:
    path = tmp_path / "ckpt"
    path.write_bytes(table_of({b"": data.draw(changes(v1_metadata()))}))
    assert reads_or_raises(str(path))
