"""A source is parsed once for all files that hold the same, and drawn once for all checkpoints of one structure."""

from __future__ import annotations

import os
from pathlib import Path

import google.protobuf
import pytest
import tensorboard.version
from tensorboard.compat.proto import meta_graph_pb2

from tb_ckptmeta.core.contents import Contents, StoredTensor
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.engine import checkpoint_file, drawer, without_builder
from tb_ckptmeta.engine.cache import Cache
from tb_ckptmeta.engine.drawer import Drawer
from tb_ckptmeta.engine.listing import Logdir
from tb_ckptmeta.engine.rebuild import Artifacts
from tb_ckptmeta.engine.scan import Scanner
from tb_ckptmeta.engine.sources import find_shown_source
from tb_ckptmeta.engine.without_builder import SourceReader

STEPS = 3


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """All files have been there for a while."""
    monkeypatch.setattr(checkpoint_file, "RACY_NS", 0)


@pytest.fixture
def logdir(tmp_path: Path) -> Path:
    """A run as TensorFlow 1 leaves one: a graph beside each step, the same but for the last."""
    for step in range(STEPS):
        for end in (".index", ".data-00000-of-00001"):
            (tmp_path / f"model-{step}{end}").write_bytes(b"")
        write_meta(tmp_path, step, "w" if step < STEPS - 1 else "other")
    return tmp_path


def write_meta(logdir: Path, step: int, name: str) -> None:
    meta = meta_graph_pb2.MetaGraphDef()
    meta.graph_def.node.add(name=name, op="VariableV2")
    (logdir / f"model-{step}.meta").write_bytes(meta.SerializeToString())


def read(reader: SourceReader, logdir: Path, step: int) -> Artifacts:
    checkpoints = Scanner([Logdir("", str(logdir))]).scan().checkpoints
    checkpoint = next(c for c in checkpoints if c.step == step)
    return reader.read(checkpoint, find_shown_source(checkpoint))


def count_calls(monkeypatch: pytest.MonkeyPatch, module: object, name: str) -> list[object]:
    calls: list[object] = []
    function = getattr(module, name)

    def call(*arguments: object) -> object:
        calls.append(arguments)
        return function(*arguments)

    monkeypatch.setattr(module, name, call)
    return calls


def test_all_steps_of_a_run_are_parsed_once(logdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = SourceReader()
    parsed = count_calls(monkeypatch, without_builder, "parse_metagraph")
    opened = count_calls(monkeypatch, without_builder, "read_source_file")
    found = [read(reader, logdir, step) for step in range(STEPS)]
    assert (len(parsed), len(opened)) == (2, 3)
    assert [f.rebuilt.variables[0].name for f in found] == ["w", "w", "other"]
    assert found[0].digest == found[1].digest != found[2].digest
    assert [f.table is not None for f in found] == [True, False, True]
    assert [f.rebuilt.notes[0].partition(" was")[0] for f in found] == [
        f"The MetaGraphDef model-{step}.meta" for step in range(STEPS)
    ]
    assert [read(reader, logdir, step).digest for step in range(STEPS)] == [f.digest for f in found]
    assert (len(parsed), len(opened)) == (2, 3)  # their sizes and times are the same


def test_file_that_is_another_now_is_read_again(logdir: Path) -> None:
    reader = SourceReader()
    assert read(reader, logdir, 0).rebuilt.variables[0].name == "w"
    write_meta(logdir, 0, "v")
    os.utime(logdir / "model-0.meta", (1, 1))
    assert read(reader, logdir, 0).rebuilt.variables[0].name == "v"
    (logdir / "model-0.meta").write_bytes(b"\xff")
    with pytest.raises(CkptMetaError) as caught:
        read(reader, logdir, 0)
    assert caught.value.code is Code.SOURCE_UNREADABLE


def test_file_that_is_replaced_by_one_of_its_size_and_time_is_read_again(logdir: Path) -> None:
    reader, path = SourceReader(), logdir / "model-0.meta"
    assert read(reader, logdir, 0).rebuilt.variables[0].name == "w"
    before = path.stat()
    path.rename(logdir / "aside")
    write_meta(logdir, 0, "v")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_mtime_ns, path.stat().st_size) == (before.st_mtime_ns, before.st_size)
    assert read(reader, logdir, 0).rebuilt.variables[0].name == "v"


def test_file_that_was_written_just_now_is_read_each_time(logdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock of a file system ticks every few milliseconds."""
    monkeypatch.setattr(checkpoint_file, "RACY_NS", 3600 * 10**9)
    reader = SourceReader()
    opened = count_calls(monkeypatch, without_builder, "read_source_file")
    parsed = count_calls(monkeypatch, without_builder, "parse_metagraph")
    for _ in range(3):
        read(reader, logdir, 0)
    assert (len(opened), len(parsed)) == (3, 1)


def test_only_the_last_few_graphs_are_kept(logdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(without_builder, "_MOST_GRAPHS", 1)
    reader = SourceReader()
    parsed = count_calls(monkeypatch, without_builder, "parse_metagraph")
    for step in (0, 2, 2, 0):
        read(reader, logdir, step)
    assert len(parsed) == 3


def test_all_steps_of_a_run_share_a_drawing(logdir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, drawn = SourceReader(), count_calls(monkeypatch, drawer, "draw_op_graph")
    draws = Drawer(Cache(tmp_path / "cache"))
    contents = Contents("name", {"w": StoredTensor((2,), "float32", 8)})
    drawings = [draws.draw(read(reader, logdir, step), contents, (), conceptual=False) for step in range(STEPS)]
    assert len(drawn) == 2
    assert drawings[0].content == drawings[1].content != drawings[2].content
    draws.draw(read(reader, logdir, 0), Contents("name", {}), (), conceptual=False)
    assert len(drawn) == 3
    for module, name in ((tensorboard.version, "VERSION"), (google.protobuf, "__version__")):
        monkeypatch.setattr(module, name, "another")
        draws.draw(read(reader, logdir, 0), contents, (), conceptual=False)
    assert len(drawn) == 5
