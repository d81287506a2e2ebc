"""What a remote checkpoint holds is read as of a local one, and no more is fetched than that takes."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from s3 import S3, listings, reads

from tb_ckptmeta.core.checkpoint import Checkpoint
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.engine import bundle
from tb_ckptmeta.engine import fetch as fetching
from tb_ckptmeta.engine.bundle import read_contents
from tb_ckptmeta.engine.fetch import fetch, fetched
from tb_ckptmeta.engine.inspect import COMPLETE, CORRUPT, Inspector
from tb_ckptmeta.engine.listing import Logdir
from tb_ckptmeta.engine.process import Step
from tb_ckptmeta.engine.recognise import INCOMPLETE
from tb_ckptmeta.engine.scan import Scanner, find_by_prefix

MLP = "mlp/ckpt-10"
BEING_WRITTEN = "Checkpoint ckpt-10 is being written: it changed while it was read. Ask again."


def get(prefix: str) -> Checkpoint:
    found = find_by_prefix(prefix)
    assert found is not None, prefix
    return found


@pytest.fixture
def mlp(demo_runs: Path, tmp_path: Path) -> Path:
    """One object-based checkpoint, to be changed, in a folder of its own."""
    for path in demo_runs.glob(f"{MLP}.*"):
        (tmp_path / "one" / "mlp").mkdir(parents=True, exist_ok=True)
        (tmp_path / "one" / "mlp" / path.name).write_bytes(path.read_bytes())
    return tmp_path / "one"


@pytest.mark.parametrize("name", [MLP, "custom/ckpt-30", "scoped/model.ckpt-20"])
def test_remote_checkpoint_is_read_as_a_local_one(s3: S3, demo_runs: Path, name: str) -> None:
    local = read_contents(str(demo_runs / name))
    assert Inspector().read(get(f"s3://demo/runs/{name}")) == local
    assert read_contents(f"s3://demo/runs/{name}") == local  # without a listing of before
    assert len(local.tensors) > 3


def test_reading_fetches_the_index_and_the_object_graph_alone(s3: S3, demo_runs: Path) -> None:
    checkpoint = get(f"s3://demo/runs/{MLP}")
    index, shard = f"{checkpoint.name}.index", f"{checkpoint.name}.data-00000-of-00001"
    size = (demo_runs / f"{MLP}.index").stat().st_size
    with s3.watch() as asked:
        contents = Inspector().read(checkpoint)
    assert listings(asked) == 1
    (first, whole), (second, part) = reads(asked)
    assert (first, whole, second) == (index, f"bytes=0-{size - 1}", shard)
    start, end = map(int, re.findall(r"\d+", part or ""))
    # What the shard holds beside the weights is the object graph.
    stored = (demo_runs / f"{MLP}.data-00000-of-00001").stat().st_size
    assert end - start + 1 == stored - sum(t.bytes for t in contents.tensors.values())
    assert sum(a["bytes"] for a in asked if "list-type" not in a["query"]) == size + end - start + 1


def test_reading_1_gb_fetches_less_than_1_mb(s3: S3) -> None:
    (checkpoint,) = Scanner([Logdir("", "s3://large")]).scan().checkpoints
    assert checkpoint.bytes > 1_000_000_000
    with s3.watch() as asked:
        contents = Inspector().read(checkpoint)
    assert sum(t.bytes for t in contents.tensors.values()) > 1_000_000_000
    assert contents.objects is not None
    assert 0 < sum(a["bytes"] for a in asked) < 100_000
    assert (listings(asked), len(reads(asked))) == (1, 2)


def test_contents_are_kept_while_the_files_stay_the_same(upload: Callable, s3: S3, mlp: Path, demo_runs: Path) -> None:
    url, inspector = upload(mlp), Inspector()
    listed = Scanner([Logdir("", url)]).scan().checkpoints[0]
    first = inspector.read(listed)
    with s3.watch() as asked:
        assert inspector.read(listed) is first
    assert (len(asked), listings(asked)) == (1, 1)
    assert inspector.apply(listed).state == COMPLETE
    for ending in (".index", ".data-00000-of-00001"):
        body = (demo_runs / f"mlp/ckpt-20{ending}").read_bytes()  # of the same sizes
        s3.client.put_object(Bucket=url.removeprefix("s3://"), Key=f"{MLP}{ending}", Body=body)
    assert inspector.read(listed).fingerprint == read_contents(str(demo_runs / "mlp/ckpt-20")).fingerprint
    again = Scanner([Logdir("", url)]).scan().checkpoints[0]
    assert inspector.apply(again).state == COMPLETE
    assert inspector.apply(listed).state == "listed"  # what was known of what was there before


def test_shard_that_has_gone_since_the_scan_is_missing(upload: Callable, s3: S3, mlp: Path) -> None:
    url = upload(mlp)
    listed = get(f"{url}/{MLP}")
    s3.client.delete_object(Bucket=url.removeprefix("s3://"), Key=f"{MLP}.data-00000-of-00001")
    with pytest.raises(CkptMetaError) as gone:
        Inspector().read(listed)
    assert gone.value.code is Code.CHECKPOINT_MISSING
    assert f"{url}/{MLP}.data-00000-of-00001 has gone" in gone.value.message
    (left,) = Scanner([Logdir("", url)]).scan().checkpoints
    with pytest.raises(CkptMetaError) as incomplete:
        Inspector().read(left)
    assert incomplete.value.code is Code.CHECKPOINT_INCOMPLETE


@pytest.mark.parametrize(("file", "said"), [("index", "is truncated"), ("data-00000-of-00001", "is truncated")])
def test_truncated_file_is_corrupt(memory: Callable, mlp: Path, file: str, said: str) -> None:
    path = mlp / f"{MLP}.{file}"
    path.write_bytes(path.read_bytes()[:-30])
    (listed,) = Scanner([Logdir("", memory(mlp))]).scan().checkpoints
    inspector = Inspector()
    with pytest.raises(CkptMetaError, match=said) as corrupt:
        inspector.read(listed)
    assert corrupt.value.code is Code.CHECKPOINT_CORRUPT
    assert f"{listed.prefix}.{file}" in corrupt.value.message
    assert inspector.apply(listed).state == CORRUPT


@pytest.mark.parametrize("becomes", ["half", "nothing"])
def test_checkpoint_that_is_written_while_it_is_read_is_no_corrupt_one(
    upload: Callable, s3: S3, mlp: Path, monkeypatch: pytest.MonkeyPatch, becomes: str
) -> None:
    url, inspector, actual = upload(mlp), Inspector(), bundle.read_contents
    asked = {"Bucket": url.removeprefix("s3://"), "Key": f"{MLP}.index"}
    listed = get(f"{url}/{MLP}")

    def read_half(*given: Any) -> Any:
        s3.client.put_object(**asked, Body=(mlp / f"{MLP}.index").read_bytes()[:-30])
        try:
            return actual(*given)
        finally:
            if becomes == "nothing":
                s3.client.delete_object(**asked)

    with monkeypatch.context() as patched:
        patched.setattr(bundle, "read_contents", read_half)
        found = inspector.inspect(listed)
    assert (found.state, found.problem) == (INCOMPLETE, BEING_WRITTEN)
    assert inspector.inspect(listed).state == {"half": CORRUPT, "nothing": INCOMPLETE}[becomes]


def test_empty_index_is_corrupt(upload: Callable, mlp: Path) -> None:
    (mlp / f"{MLP}.index").write_bytes(b"")
    with pytest.raises(CkptMetaError, match="is empty") as corrupt:
        Inspector().read(get(f"{upload(mlp)}/{MLP}"))
    assert corrupt.value.code is Code.CHECKPOINT_CORRUPT


def test_object_that_may_not_be_read_is_unreadable(upload: Callable, s3: S3, mlp: Path) -> None:
    url = upload(mlp)
    bucket = url.removeprefix("s3://")
    deny = {"Effect": "Deny", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{bucket}/mlp/*"}
    s3.client.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [deny]}))
    with pytest.raises(CkptMetaError, match="Forbidden") as refused:
        Inspector().read(get(f"{url}/{MLP}"))
    assert refused.value.code is Code.CHECKPOINT_UNREADABLE


def test_checkpoint_outside_its_logdir_is_refused(memory: Callable, mlp: Path) -> None:
    listed = get(f"{memory(mlp)}/{MLP}")
    with pytest.raises(CkptMetaError) as refused:
        Inspector().read(replace(listed, root=listed.root + "/elsewhere"))
    assert refused.value.code is Code.OUTSIDE_LOGDIR


def save_v1(folder: Path, shards: int) -> str:
    """Save a V1 checkpoint of 2 MB with weights in blocks of their own, whole or in shards; return its prefix."""
    tf = pytest.importorskip("tensorflow")
    folder.mkdir()
    for shard in range(shards):
        ending = "" if shards == 1 else f"-{shard:05d}-of-{shards:05d}"
        tf.raw_ops.SaveSlices(
            filename=str(folder / f"model.ckpt-3{ending}"),
            tensor_names=[f"w{shard}/{i}" for i in range(4)],
            shapes_and_slices=[""] * 4,
            data=[tf.random.stateless_uniform([256, 256], [shard, i]) for i in range(4)],
        )
    return "model.ckpt-3" if shards == 1 else f"model.ckpt-3-?????-of-{shards:05d}"


@pytest.mark.parametrize("shards", [1, 2])
def test_v1_checkpoint_is_read_by_its_blocks_ends(upload: Callable, s3: S3, tmp_path: Path, shards: int) -> None:
    name = save_v1(tmp_path / "v1", shards)
    url = upload(tmp_path / "v1")
    local = read_contents(str(tmp_path / "v1" / name))
    with s3.watch() as asked:
        (listed,) = Scanner([Logdir("", url)]).scan().checkpoints
        assert listed.prefix == f"{url}/{name}"
        assert Inspector().read(listed) == local
    assert (local.format, len(local.tensors)) == ("v1", 4 * shards)
    stored = sum(p.stat().st_size for p in (tmp_path / "v1").iterdir())
    assert stored > shards * 1_000_000
    assert sum(a["bytes"] for a in asked) < stored / 2


def test_fetched_copy_is_the_checkpoint_and_goes_again(s3: S3, demo_runs: Path, tmp_path: Path) -> None:
    told: list[Any] = []
    remote = get(f"s3://demo/runs/{MLP}")
    with fetched(remote, tmp_path, on_steps=told.append) as local:
        assert (local.listed, local.name, local.id) == (None, remote.name, remote.id)
        for path in map(Path, local.files):
            assert path.read_bytes() == (demo_runs / "mlp" / path.name).read_bytes()
        assert read_contents(local.prefix) == read_contents(str(demo_runs / MLP))
        assert Inspector().read(local) == read_contents(local.prefix)
    assert list(tmp_path.iterdir()) == []
    name = f"fetching {remote.bytes:,} bytes"
    assert told[0] == [Step(name, None)]
    ((last,),) = told[1:]
    assert last.name == name
    assert last.seconds is not None


def test_keras_file_is_fetched_to_be_read(memory: Callable, tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    (tmp_path / "keras").mkdir()
    with h5py.File(tmp_path / "keras" / "m.weights.h5", "w") as file:
        file["layers/dense/vars/0"] = [[1.0, 2.0], [3.0, 4.0]]
    (tmp_path / "keras" / "bad.weights.h5").write_bytes(b"no HDF5")
    url = memory(tmp_path / "keras")
    contents = Inspector().read(get(f"{url}/m.weights.h5"))
    assert contents.format == "keras-weights"
    assert [t.shape for t in contents.tensors.values()] == [(2, 2)]
    with pytest.raises(CkptMetaError) as corrupt:
        Inspector().read(get(f"{url}/bad.weights.h5"))
    assert corrupt.value.code is Code.CHECKPOINT_CORRUPT
    assert f"{url}/bad.weights.h5" in corrupt.value.message


def test_local_checkpoint_is_not_copied(demo_runs: Path, tmp_path: Path) -> None:
    here = get(str(demo_runs / MLP))
    with fetched(here, tmp_path) as local:
        assert local is here
        assert list(tmp_path.iterdir()) == []


def test_fetching_in_many_pieces_puts_them_together(
    memory: Callable, mlp: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "_CHUNK", 10_007)
    local = fetch(get(f"{memory(mlp)}/{MLP}"), tmp_path)
    for path in map(Path, local.files):
        assert path.read_bytes() == (mlp / "mlp" / path.name).read_bytes()


def test_fetching_ends_when_it_is_cancelled(memory: Callable, mlp: Path, tmp_path: Path) -> None:
    cancelled = threading.Event()
    cancelled.set()
    with pytest.raises(CkptMetaError) as ended, fetched(get(f"{memory(mlp)}/{MLP}"), tmp_path, cancelled=cancelled):
        raise AssertionError("it was fetched")
    assert ended.value.code is Code.CANCELLED
    assert not list(tmp_path.glob("ckptmeta*"))


def test_fetching_what_has_no_room_is_refused_before_a_byte(
    s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (listed,) = Scanner([Logdir("", "s3://large")]).scan().checkpoints
    monkeypatch.setattr(fetching, "_SPARE", 1 << 60)  # no disk has it
    with s3.watch() as asked, pytest.raises(CkptMetaError) as refused:
        fetch(listed, tmp_path)
    assert refused.value.code is Code.OUTPUT_UNWRITABLE
    assert re.search(r"1,0\d\d,\d{3},\d{3} bytes to be copied", refused.value.message)
    assert "TMPDIR" in refused.value.message
    assert reads(asked) == []
    assert list(tmp_path.iterdir()) == []
