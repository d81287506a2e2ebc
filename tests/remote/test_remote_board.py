"""A real TensorBoard on an S3 server: what it lists, verifies, shows and exports."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from s3 import S3, listings, reads
from servers import TensorBoard, serve
from tensorboard.plugins import base_plugin
from waiting import wait_until

from tb_ckptmeta.engine.listing import Logdir
from tb_ckptmeta.plugin.loader import CkptMetaLoader, find_logdirs


@pytest.fixture(scope="module")
def board(s3_server: S3, demo_builders: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TensorBoard]:
    """A TensorBoard on the demo's bucket, with TensorFlow installed."""
    folder = tmp_path_factory.mktemp("remote_board")
    arguments = ["--logdir", "s3://demo/runs", "--ckptmeta_builders", demo_builders]
    with serve(folder, *arguments, environment=s3_server.environment, module="tb_ckptmeta.plugin") as started:
        started.wait_for_builders()
        yield started


def test_board_lists_verifies_and_shows_remote_checkpoints(board: TensorBoard, s3_server: S3) -> None:
    listed = board.get("checkpoints").document
    assert listed["logdirs"] == [{"name": "", "path": "s3://demo/runs"}]
    assert len(listed["checkpoints"]) == 9
    checkpoint = board.checkpoint("mlp/ckpt-10")
    assert checkpoint["pairing"]["builder"] == "mnist-mlp"
    with s3_server.watch() as asked:
        verdict = board.post("verdict", {"checkpoint": checkpoint["id"]}).document
    assert (verdict["status"], verdict["bound"]) == ("match", 4)
    assert {"ckpt-10.index", "ckpt-10.data-00000-of-00001"} <= {name for name, _ in reads(asked)}
    assert listings(asked) > 0
    runs = board.graphs("info").document
    shown = "• mlp • ckpt-30 • mnist-mlp"
    assert shown in runs
    assert any(node.op == "MatMul" for node in board.graph(shown).node)


def test_board_reads_the_event_files_of_the_same_logdir(board: TensorBoard) -> None:
    def read() -> bool:
        runs = board.ask("GET", "data/runs").document
        return {"mlp", "custom"} <= set(runs)

    assert wait_until(read, "TensorBoard has read the runs")


def test_export_from_the_board_fetches_the_weights_as_a_step(board: TensorBoard) -> None:
    checkpoint = board.checkpoint("mlp/ckpt-10")
    body = {"checkpoint": checkpoint["id"], "format": "metagraph"}
    started = board.post("export", body, {"Prefer": "respond-async"})
    assert started.status == 202, started.body
    job = f"jobs/{started.document['job']['id']}"

    def ended() -> dict[str, Any] | None:
        document: dict[str, Any] = board.get(job).document
        return document if document["state"] != "running" else None

    document = wait_until(ended, "the export has ended", 120.0)
    assert document["state"] == "done", document
    steps = [step["name"] for step in document["steps"]]
    assert steps[0] == f"fetching {checkpoint['bytes']:,} bytes"
    assert any(name.startswith("check: ") for name in steps)
    assert document["result"]["check"]["status"] == "passed"
    assert any("tensorflow-io" in note for note in document["result"]["verdict"]["notes"])
    assert len(board.get(f"{job}/file").body) > 1000
    # Of the weights nothing stays in the job's folder.
    (folder,) = board.temporary.glob("ckptmeta-*")
    assert not list(folder.rglob("*.data-*"))


def test_logdir_spec_takes_urls_with_and_without_names() -> None:
    flags = argparse.Namespace(logdir_spec="a:s3://bucket/runs/,gs://b/x:y,memory://m,n:/local")
    assert find_logdirs("", flags) == [
        Logdir("a", "s3://bucket/runs"),
        Logdir("", "gs://b/x:y"),
        Logdir("", "memory://m"),
        Logdir("n", "/local"),
    ]
    assert find_logdirs("s3://bucket/a,b:c/", flags) == [Logdir("", "s3://bucket/a,b:c")]
    assert find_logdirs("file:///runs", flags) == [Logdir("", "/runs")]


def test_url_with_a_password_is_refused_and_not_repeated() -> None:
    with pytest.raises(base_plugin.FlagsError, match="holds a password") as refused:
        CkptMetaLoader().fix_flags(argparse.Namespace(logdir="sftp://me:s3cret@host/runs"))
    assert "s3cret" not in str(refused.value)
    assert find_logdirs("sftp://me@host/runs", argparse.Namespace()) == [Logdir("", "sftp://me@host/runs")]


def test_board_that_would_refuse_a_url_is_told_before_and_how_to_start() -> None:
    flags = argparse.Namespace(logdir="s3://bucket/runs")
    with pytest.raises(base_plugin.FlagsError, match=r"no file system for s3://.* python -m tb_ckptmeta\.plugin"):
        CkptMetaLoader().fix_flags(flags)
    for logdir in ("gs://bucket/runs", "runs", ""):  # TensorFlow has a file system for the first
        CkptMetaLoader().fix_flags(argparse.Namespace(logdir=logdir))
