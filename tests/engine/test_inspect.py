"""Reading a listed checkpoint: its format, its true state, and when it is read again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tb_ckptmeta.core.checkpoint import Checkpoint
from tb_ckptmeta.core.contents import Contents, ObjectGraph, ObjectNode
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.legacy import find_keras
from tb_ckptmeta.engine import bundle
from tb_ckptmeta.engine.inspect import Inspector
from tb_ckptmeta.engine.listing import Logdir
from tb_ckptmeta.engine.scan import Scanner


@pytest.fixture
def runs(demo_runs: Path, tmp_path: Path) -> Path:
    """A copy of one checkpoint of each of the demo's runs."""
    for path in demo_runs.glob("*/*-10.*"):
        (tmp_path / path.parent.name).mkdir(exist_ok=True)
        shutil.copy(path, tmp_path / path.parent.name)
    return tmp_path


def scan(runs: Path) -> dict[str, Checkpoint]:
    return {c.run: c for c in Scanner([Logdir("", str(runs))]).scan().checkpoints}


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The prefixes that have been read from disk."""
    read: list[str] = []
    actual = bundle.read_contents

    def read_contents(prefix: str, *more: Any) -> Contents:
        read.append(prefix)
        return actual(prefix, *more)

    monkeypatch.setattr(bundle, "read_contents", read_contents)
    return read


def code_of(inspector: Inspector, checkpoint: Checkpoint) -> Code:
    with pytest.raises(CkptMetaError) as caught:
        inspector.read(checkpoint)
    return caught.value.code


def cut(path: str, size: int) -> None:
    with open(path, "r+b") as file:
        file.truncate(size)


# --- what it finds


def test_inspector_reads_format_and_keras_of_each_kind(runs: Path) -> None:
    inspector, found = Inspector(), scan(runs)
    contents = {run: inspector.read(c) for run, c in found.items()}
    assert {r: c.format for r, c in contents.items()} == {"mlp": "object", "custom": "object", "scoped": "name"}
    assert {r: find_keras(c) for r, c in contents.items()} == {"mlp": "3", "custom": "3", "scoped": None}
    applied = [inspector.apply(c) for c in found.values()]
    assert {(c.run, c.format, c.state, c.problem) for c in applied} == {
        ("mlp", "object", "complete", ""),
        ("custom", "object", "complete", ""),
        ("scoped", "name", "complete", ""),
    }


def test_inspector_before_any_reading_applies_nothing(runs: Path) -> None:
    checkpoint = scan(runs)["mlp"]
    assert Inspector().apply(checkpoint) is checkpoint


def test_inspector_of_a_truncated_index_calls_it_corrupt(runs: Path) -> None:
    inspector, checkpoint = Inspector(), scan(runs)["mlp"]
    cut(checkpoint.prefix + ".index", 100)
    assert code_of(inspector, checkpoint) is Code.CHECKPOINT_CORRUPT
    applied = inspector.apply(checkpoint)
    assert (applied.state, applied.format) == ("corrupt", None)
    assert "ckpt-10.index" in applied.problem


def test_inspector_of_a_truncated_shard_calls_it_corrupt(runs: Path) -> None:
    inspector, checkpoint = Inspector(), scan(runs)["mlp"]
    cut(checkpoint.prefix + ".data-00000-of-00001", 100)
    assert code_of(inspector, checkpoint) is Code.CHECKPOINT_CORRUPT
    assert inspector.apply(checkpoint).state == "corrupt"


def test_inspector_of_what_is_written_while_it_is_read_calls_it_no_corrupt_one(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inspector, checkpoint = Inspector(), scan(runs)["mlp"]
    index = Path(f"{checkpoint.prefix}.index")
    whole, actual = index.read_bytes(), bundle.read_contents

    def read_half(prefix: str, *more: Any) -> Contents:
        index.write_bytes(whole[:30])
        return actual(prefix, *more)

    with monkeypatch.context() as patched:
        patched.setattr(bundle, "read_contents", read_half)
        assert code_of(inspector, checkpoint) is Code.CHECKPOINT_INCOMPLETE
        index.write_bytes(whole)
        found = inspector.inspect(checkpoint)
        assert found.state == "incomplete"
        assert "ckpt-10 is being written: it changed while it was read" in found.problem
    assert code_of(inspector, checkpoint) is Code.CHECKPOINT_CORRUPT
    index.write_bytes(whole)
    assert inspector.inspect(checkpoint).state == "complete"


def test_inspector_of_a_shard_that_has_gone_says_so(runs: Path) -> None:
    inspector, checkpoint = Inspector(), scan(runs)["mlp"]
    os.unlink(checkpoint.prefix + ".data-00000-of-00001")
    assert code_of(inspector, checkpoint) is Code.CHECKPOINT_MISSING
    assert inspector.apply(checkpoint).state == "incomplete"
    # Listed again, the names show it, and nothing is read.
    again = scan(runs)["mlp"]
    assert again.state == "incomplete"
    assert code_of(Inspector(), again) is Code.CHECKPOINT_INCOMPLETE


def test_inspector_of_a_checkpoint_deleted_since_the_scan_says_so(runs: Path) -> None:
    inspector, checkpoint = Inspector(), scan(runs)["mlp"]
    shutil.rmtree(runs / "mlp")
    assert code_of(inspector, checkpoint) is Code.CHECKPOINT_MISSING
    assert inspector.apply(checkpoint).state == "incomplete"


def test_inspector_of_a_link_out_reads_nothing(runs: Path, readings: list[str]) -> None:
    checkpoint = scan(runs)["mlp"]
    index = Path(checkpoint.prefix + ".index")
    outside = runs.parent / (runs.name + "-outside")
    index.rename(outside)
    index.symlink_to(outside)
    assert code_of(Inspector(), checkpoint) is Code.OUTSIDE_LOGDIR
    listed = scan(runs)["mlp"]
    assert listed.state == "unreadable"
    assert code_of(Inspector(), listed) is Code.CHECKPOINT_UNREADABLE
    assert readings == []


def test_inspector_of_an_incomplete_checkpoint_reads_nothing(runs: Path, readings: list[str]) -> None:
    checkpoint = scan(runs)["mlp"]
    os.unlink(checkpoint.prefix + ".index")
    inspector, listed = Inspector(), scan(runs)["mlp"]
    assert code_of(inspector, listed) is Code.CHECKPOINT_INCOMPLETE
    assert readings == []
    applied = inspector.apply(listed)
    assert applied.state == "incomplete"
    assert "ckpt-10.index is missing" in applied.problem


# --- when it is read again


def test_inspector_of_an_unchanged_checkpoint_reads_it_once(runs: Path, readings: list[str]) -> None:
    inspector, checkpoint = Inspector(), scan(runs)["mlp"]
    first = inspector.read(checkpoint)
    assert inspector.read(scan(runs)["mlp"]) is first
    assert readings == [checkpoint.prefix]


def test_inspector_of_a_checkpoint_that_was_written_again_reads_it_again(runs: Path, readings: list[str]) -> None:
    inspector, checkpoint = Inspector(), scan(runs)["mlp"]
    first = inspector.read(checkpoint)
    for suffix in (".index", ".data-00000-of-00001"):
        shutil.copyfile(runs / "custom" / f"ckpt-10{suffix}", checkpoint.prefix + suffix)
    # What was found out about the older one is not told of the newer.
    assert inspector.apply(checkpoint).state == "listed"
    second = inspector.read(checkpoint)
    assert second.fingerprint != first.fingerprint
    assert len(readings) == 2


def test_inspector_of_a_checkpoint_that_was_mended_reads_it_again(runs: Path) -> None:
    inspector, checkpoint = Inspector(), scan(runs)["mlp"]
    whole = Path(checkpoint.prefix + ".index").read_bytes()
    cut(checkpoint.prefix + ".index", 100)
    assert code_of(inspector, checkpoint) is Code.CHECKPOINT_CORRUPT
    Path(checkpoint.prefix + ".index").write_bytes(whole)
    inspector.read(checkpoint)
    assert inspector.apply(checkpoint).state == "complete"


def test_inspector_of_more_checkpoints_than_it_keeps_forgets_the_oldest(
    runs: Path, readings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tb_ckptmeta.engine.inspect._MOST_KEPT", 2)
    inspector, checkpoint = Inspector(), scan(runs)["mlp"]
    for number in (1, 2, 3, 3, 2, 1):
        inspector.read(replace(checkpoint, id=str(number)))
    assert len(readings) == 4
    assert inspector.apply(replace(checkpoint, id="1")).state == "complete"


def test_inspector_of_more_checkpoints_than_it_knows_the_state_of_lists_the_oldest_as_before(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tb_ckptmeta.engine.inspect._MOST_STATES", 2)
    inspector, checkpoint = Inspector(), scan(runs)["mlp"]
    cut(checkpoint.prefix + ".index", 100)
    for number in (1, 2, 3):
        code_of(inspector, replace(checkpoint, id=str(number)))
    states = {number: inspector.apply(replace(checkpoint, id=str(number))).state for number in (1, 2, 3)}
    assert states == {1: "listed", 2: "corrupt", 3: "corrupt"}


# --- which Keras


def graph_of(edges: Iterable[str]) -> Contents:
    return Contents("object", {}, ObjectGraph((ObjectNode(dict.fromkeys(edges, 0), {}),)))


@pytest.mark.parametrize(
    ("edges", "expected"),
    [
        (["model", "_functional", "_operations"], "3"),
        (["dense1", "_kernel", "bias"], "3"),
        (["model", "layer_with_weights-0", "kernel"], "legacy"),
        (["layer-0"], "legacy"),
        (["dense1", "kernel", "bias"], "legacy"),
        (["w", "b"], None),
        ([], None),
    ],
)
def test_find_keras_of_an_object_graph_goes_by_its_edges(edges: list[str], expected: str | None) -> None:
    assert find_keras(graph_of(edges)) == expected


def test_find_keras_of_a_name_based_checkpoint_is_unknown() -> None:
    assert find_keras(Contents("name", {})) is None
