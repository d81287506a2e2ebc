"""Scans of directory trees: every layout by its names alone."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from scanning import fail_to_list, listed, only, scan, touch, v2

from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.record import FILE_NAME, MAX_BYTES
from tb_ckptmeta.engine.listing import Logdir, ScanReport
from tb_ckptmeta.engine.recognise import parse_step
from tb_ckptmeta.engine.records import BROKEN, read_records
from tb_ckptmeta.engine.scan import find_by_prefix


@pytest.fixture
def logdir(tmp_path: Path) -> Path:
    path = tmp_path / "logdir"
    path.mkdir()
    return path


# --- layouts


def test_scan_of_an_empty_or_absent_logdir_finds_nothing(logdir: Path) -> None:
    for path in (logdir, logdir / "absent"):
        assert scan(path) == ScanReport()


def test_scan_of_a_checkpoint_gives_everything_that_names_show(logdir: Path) -> None:
    (logdir / "mlp").mkdir()
    (logdir / "mlp" / "ckpt-1000.index").write_bytes(b"12345")
    (logdir / "mlp" / "ckpt-1000.data-00000-of-00001").write_bytes(b"1234567")
    os.utime(logdir / "mlp" / "ckpt-1000.index", (1.0, 2000.5))
    os.utime(logdir / "mlp" / "ckpt-1000.data-00000-of-00001", (1.0, 1000.0))
    found = only(scan(logdir))
    prefix = str(logdir / "mlp" / "ckpt-1000")
    assert found.files == (f"{prefix}.index", f"{prefix}.data-00000-of-00001")
    assert {**found.as_json(), "id": ""} == {
        "id": "",
        "run": "mlp",
        "name": "ckpt-1000",
        "prefix": prefix,
        "step": 1000,
        "bytes": 12,
        "modified": 2000.5,
        "format": None,
        "state": "listed",
        "problem": "",
        "pairing": {"builder": None, "arguments": {}, "reason": "", "claims": []},
    }
    assert (found.pattern_path, found.root) == ("mlp/ckpt-1000", str(logdir))


@pytest.mark.parametrize(
    ("files", "name"),
    [
        (v2("ckpt-1"), "ckpt-1"),
        (v2("ckpt-1", 3), "ckpt-1"),
        ([*v2("model.ckpt-30"), "model.ckpt-30.meta"], "model.ckpt-30"),
        (v2("cp-0004.ckpt"), "cp-0004.ckpt"),
        (v2("weights"), "weights"),
        (["model.ckpt-30", "model.ckpt-30.meta"], "model.ckpt-30"),
        (["anything", "anything.meta"], "anything"),
        (["ckpt-7"], "ckpt-7"),
        (["m.weights.h5"], "m.weights.h5"),
        (["m.keras"], "m.keras"),
        (v2("a b"), "a b"),
        (v2("größe-1"), "größe-1"),
        (v2("line\nbreak-1"), "line\nbreak-1"),
        (v2("<b>&'\"-1"), "<b>&'\"-1"),
        (v2("x.index"), "x.index"),
        (v2("-1"), "-1"),
        (v2(".hidden"), ".hidden"),
    ],
)
def test_scan_of_a_whole_layout_lists_one_checkpoint(logdir: Path, files: list[str], name: str) -> None:
    touch(logdir, *files)
    found = only(scan(logdir))
    assert (found.name, found.state, found.problem, found.run) == (name, "listed", "", ".")
    assert found.prefix == str(logdir / name)
    assert sorted(os.path.basename(f) for f in found.files) == sorted(f for f in files if not f.endswith(".meta"))


@pytest.mark.parametrize(
    ("files", "name", "prefix"),
    [
        (["ckpt-7-00000-of-00002", "ckpt-7-00001-of-00002"], "ckpt-7", "ckpt-7-?????-of-00002"),
        (["old-00000-of-00001", "old.meta"], "old", "old-?????-of-00001"),
    ],
)
def test_scan_of_v1_shards_gives_the_prefix_that_tensorflow_restores(
    logdir: Path, files: list[str], name: str, prefix: str
) -> None:
    touch(logdir, *files)
    found = only(scan(logdir))
    assert (found.name, found.state, found.prefix) == (name, "listed", str(logdir / prefix))
    for path in (name, prefix):
        bare = find_by_prefix(str(logdir / path))
        assert bare is not None
        assert (bare.name, bare.prefix) == (name, str(logdir / prefix))


@pytest.mark.parametrize(
    "files",
    [
        ["checkpoint"],
        ["events.out.tfevents.1.host"],
        ["model.meta"],
        ["train-00000-of-00010", "train-00001-of-00010"],
        ["data.tfrecord-00000-of-00001"],
        ["ckpt", "ckptmeta.txt", "model.h5", "notes.txt"],
        [".index", ".weights.h5", ".keras", ".data-00000-of-00001"],
        ["x.data-0-of-1", "x.data-00000-of-00001.bak", "x.index.bak"],
        ["ckpt-1.txt", "ckpt-x"],
    ],
)
def test_scan_of_files_that_are_no_checkpoint_lists_none(logdir: Path, files: list[str]) -> None:
    touch(logdir, *files)
    report = scan(logdir)
    assert (report.checkpoints, report.problems) == ([], [])


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        (["ckpt-1.index"], "There is no shard (ckpt-1.data-00000-of-…) beside the index."),
        (["ckpt-1.data-00000-of-00001"], "ckpt-1.index is missing"),
        ([*v2("ckpt-1", 3)[:-1]], "1 of 3 shards missing: ckpt-1.data-00002-of-00003."),
        (
            ["ckpt-1.index", "ckpt-1.data-00001-of-00003"],
            "2 of 3 shards missing: ckpt-1.data-00000-of-00003 and others.",
        ),
        (["ckpt-1.index.tempstate123"], "being written"),
        (["ckpt-1.data-00000-of-00001.tempstate123"], "being written"),
        (["ckpt-1.index.tempstate123", "ckpt-1.data-00000-of-00001"], "ckpt-1.index is missing"),
        (["ckpt-1.index", "ckpt-1.data-00000-of-00001.tempstate9"], "There is no shard"),
        (["ckpt-1_temp/part-00000-of-00001.data-00000-of-00001"], "being written"),
        (["ckpt-1_temp/part-00000-of-00001.index.tempstate77"], "being written"),
        (["ckpt-1-00000-of-00002"], "1 of 2 shards missing: ckpt-1-00001-of-00002."),
    ],
)
def test_scan_of_a_part_lists_it_as_incomplete(logdir: Path, files: list[str], problem: str) -> None:
    touch(logdir, *files)
    found = only(scan(logdir))
    assert (found.run, found.name, found.state) == (".", "ckpt-1", "incomplete")
    assert found.prefix == str(logdir / "ckpt-1")
    assert problem in found.problem


def test_scan_of_a_temporary_folder_in_a_run_lists_it_in_that_run(logdir: Path) -> None:
    touch(logdir, "a/b/ckpt-1_temp/part-00000-of-00001.index")
    found = only(scan(logdir))
    assert (found.run, found.name, found.state) == ("a/b", "ckpt-1", "incomplete")
    assert found.pattern_path == "a/b/ckpt-1"


def test_scan_of_a_temporary_folder_beside_its_finished_checkpoint_lists_that_alone(logdir: Path) -> None:
    touch(logdir, *v2("ckpt-1"), "ckpt-1_temp/part-00000-of-00001.index")
    assert only(scan(logdir)).state == "listed"


def test_scan_of_a_folder_that_ends_like_a_temporary_one_is_a_run(logdir: Path) -> None:
    touch(logdir, *v2("room_temp/ckpt-1"))
    assert listed(scan(logdir)) == [("room_temp", "ckpt-1")]


def test_scan_with_stale_shards_of_another_count_takes_the_whole_set(logdir: Path) -> None:
    touch(logdir, *v2("ckpt-1", 2), "ckpt-1.data-00001-of-00003")
    found = only(scan(logdir))
    assert (found.state, len(found.files)) == ("listed", 3)
    assert all("of-00003" not in f for f in found.files)


def test_scan_of_a_finished_checkpoint_with_a_temporary_file_beside_is_listed(logdir: Path) -> None:
    touch(logdir, *v2("ckpt-1"), "ckpt-1.index.tempstate5")
    found = only(scan(logdir))
    assert (found.state, len(found.files)) == ("listed", 2)


def test_scan_of_a_v2_checkpoint_and_a_v1_one_of_its_name_lists_the_v2_one(logdir: Path) -> None:
    touch(logdir, *v2("ckpt-1"), "ckpt-1", "ckpt-1.meta")
    assert len(only(scan(logdir)).files) == 2


def test_scan_of_keras_files_says_their_format(logdir: Path) -> None:
    touch(logdir, "a.weights.h5", "b.keras", *v2("c"))
    assert [c.format for c in scan(logdir).checkpoints] == ["keras-weights", "keras", None]


def test_scan_of_a_saved_model_lists_its_variables(logdir: Path) -> None:
    touch(logdir, "export/saved_model.pb", *v2("export/variables/variables"))
    found = only(scan(logdir))
    assert (found.run, found.name, found.step) == ("export/variables", "variables", None)


def test_scan_of_folders_named_like_files_of_a_checkpoint_goes_through_them(logdir: Path) -> None:
    touch(logdir, *v2("x.index/ckpt-1"), *v2("m.keras/ckpt-2"))
    assert listed(scan(logdir)) == [("m.keras", "ckpt-2"), ("x.index", "ckpt-1")]


def test_scan_of_fifos_and_sockets_reads_none(logdir: Path) -> None:
    os.mkfifo(logdir / "ckpt-1.index")
    os.mkfifo(logdir / FILE_NAME)
    report = scan(logdir)
    assert (report.checkpoints, report.problems) == ([], [])


def test_scan_never_reads_the_state_file(logdir: Path, tmp_path: Path) -> None:
    touch(tmp_path, *v2("secret/ckpt-9"))
    touch(logdir, *v2("ckpt-1"))
    os.mkfifo(logdir / "checkpoint")  # whoever opens it waits for ever
    assert listed(scan(logdir)) == [(".", "ckpt-1")]
    (logdir / "checkpoint").unlink()
    (logdir / "checkpoint").write_text(f'model_checkpoint_path: "{tmp_path}/secret/ckpt-9"\n')
    assert listed(scan(logdir)) == [(".", "ckpt-1")]


def test_scan_opens_no_checkpoint(logdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(logdir, *v2("ckpt-1"), "m.weights.h5", "ckpt-2")

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("opened")

    monkeypatch.setattr("builtins.open", refuse)
    assert len(scan(logdir).checkpoints) == 3


AUDIT = """
import json, os, sys
from tb_ckptmeta.engine.workspace import open_workspace

opened = []
watching = False

def watch(event, arguments):
    # Whatever Python opens, as a file, by os.open, by mmap or by a C module of its own, is told here.
    if watching and event == "open":
        opened.append(str(arguments[0]))

sys.addaudithook(watch)
workspace = open_workspace(sys.argv[1])
builders = workspace.registry.read()
watching = True
first = workspace.list_checkpoints(builders)
again = workspace.list_checkpoints(builders)
asked_for = len(opened)
workspace.inspect(next(c for c in first if c.name == "ckpt-1"))
print(json.dumps({"listed": [len(first), len(again)], "opened": opened[:asked_for], "asked": opened[asked_for:]}))
"""


def test_scan_and_rescan_open_records_and_nothing_else_until_someone_asks(logdir: Path) -> None:
    for run in ("a", "b/c"):
        touch(logdir, *v2(f"{run}/ckpt-1"), *v2(f"{run}/ckpt-2", 3), f"{run}/m.weights.h5", f"{run}/m.keras")
        touch(logdir, f"{run}/checkpoint", f"{run}/events.out.tfevents.1.host", f"{run}/ckpt-7", f"{run}/ckpt-2.meta")
        (logdir / run / FILE_NAME).write_text('{"pairings": []}')
    command = [sys.executable, "-c", AUDIT, str(logdir)]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert found["listed"] == [10, 10]
    folders = {str(logdir), *(str(p) for p in logdir.rglob("*") if p.is_dir())}
    assert {path for path in found["opened"] if path not in folders} == {
        str(logdir / "a" / FILE_NAME),
        str(logdir / "b" / "c" / FILE_NAME),
    }
    assert str(logdir / "a" / "ckpt-1.index") in found["asked"]  # so the hook does hear of it


# --- steps


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("ckpt-1000", 1000),
        ("model.ckpt-0", 0),
        ("cp-0004.ckpt", 4),
        ("cp_0004.ckpt", 4),
        ("weights.10-0.32.weights.h5", 10),
        ("weights.07.weights.h5", 7),
        ("model-12.keras", 12),
        ("weights.10-0.32", 10),
        ("variables", None),
        ("model.ckpt", None),
        ("ckpt1000", None),
        ("ckpt-12.weights.h5", 12),
        ("epoch_3.keras", 3),
        ("epoch3.keras", 3),
        ("05.weights.h5", 5),
        ("resnet50.keras", None),
        ("latest.weights.h5", None),
        ("resnet50", None),
        ("ckpt-" + "9" * 30, None),
        ("ckpt-١٢", 12),
        ("", None),
    ],
)
def test_parse_step_of_a_name_reads_what_its_writer_meant(name: str, step: int | None) -> None:
    assert parse_step(name) == step


# --- runs, order and ids


def test_scan_lists_runs_in_natural_order_and_steps_ascending(logdir: Path) -> None:
    for run in ("run10", "run9", "run9/sub", "a", "run1"):
        touch(logdir, *v2(f"{run}/ckpt-1"))
    touch(logdir, *v2("ckpt-5"), *v2("run9/ckpt-10"), *v2("run9/ckpt-9"), *v2("run9/final"))
    assert listed(scan(logdir)) == [
        (".", "ckpt-5"),
        ("a", "ckpt-1"),
        ("run1", "ckpt-1"),
        ("run9", "final"),
        ("run9", "ckpt-1"),
        ("run9", "ckpt-9"),
        ("run9", "ckpt-10"),
        ("run9/sub", "ckpt-1"),
        ("run10", "ckpt-1"),
    ]


def test_scan_of_named_logdirs_puts_the_name_first(tmp_path: Path) -> None:
    touch(tmp_path / "a", *v2("ckpt-1"), *v2("x/ckpt-2"))
    touch(tmp_path / "b", *v2("ckpt-1"))
    report = scan(Logdir("first", str(tmp_path / "a")), Logdir("second", str(tmp_path / "b")))
    assert listed(report) == [("first", "ckpt-1"), ("first/x", "ckpt-2"), ("second", "ckpt-1")]
    assert [c.pattern_path for c in report.checkpoints] == ["first/ckpt-1", "first/x/ckpt-2", "second/ckpt-1"]


def test_scan_of_unnamed_logdirs_with_equal_runs_gives_every_checkpoint_its_id(tmp_path: Path) -> None:
    for folder in ("a", "b", "c"):
        touch(tmp_path / folder, *v2("ckpt-1"), *v2("run/ckpt-1"))
    report = scan(*(tmp_path / f for f in "abc"))
    assert len({c.id for c in report.checkpoints}) == len(report.checkpoints) == 6


def test_scan_again_gives_the_same_ids_wherever_the_logdir_has_moved(tmp_path: Path) -> None:
    touch(tmp_path / "a", *v2("ckpt-1"), *v2("run/ckpt-1"), *v2("run/ckpt-2", 3), "run/x.keras")
    before = {c.id: c.pattern_path for c in scan(tmp_path / "a").checkpoints}
    (tmp_path / "a").rename(tmp_path / "b")
    touch(tmp_path / "b", *v2("another/ckpt-1"))
    after = {c.id: c.pattern_path for c in scan(tmp_path / "b").checkpoints}
    assert before.items() <= after.items()
    assert (len(before), len(after)) == (4, 5)


def test_ids_are_opaque_and_fit_into_an_address(logdir: Path) -> None:
    touch(logdir, *v2("my run/größe-1"))
    id = only(scan(logdir)).id
    assert id.replace("-", "").replace("_", "").isalnum()
    assert "run" not in id


# --- what cannot be looked at


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list every folder")
def test_scan_of_a_folder_that_may_not_be_listed_names_it_and_goes_on(logdir: Path) -> None:
    touch(logdir, *v2("a/ckpt-1"), *v2("closed/ckpt-1"), *v2("z/ckpt-1"))
    (logdir / "closed").chmod(0)
    try:
        report = scan(logdir)
    finally:
        (logdir / "closed").chmod(stat.S_IRWXU)
    assert [c.run for c in report.checkpoints] == ["a", "z"]
    assert str(logdir / "closed") in report.problems[0]


def test_scan_of_a_folder_that_the_system_refuses_names_it_and_goes_on(
    logdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(logdir, *v2("a/ckpt-1"), *v2("closed/ckpt-1"), *v2("z/ckpt-1"))
    refusal = PermissionError(13, "Permission denied")
    monkeypatch.setattr(os, "scandir", fail_to_list(str(logdir / "closed"), refusal))
    report = scan(logdir)
    assert [c.run for c in report.checkpoints] == ["a", "z"]
    assert report.problems == [f"{logdir / 'closed'} cannot be listed: Permission denied."]


def test_scan_of_a_folder_that_disappears_meanwhile_goes_on(logdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(logdir, *v2("a/ckpt-1"), *v2("gone/ckpt-1"), *v2("z/ckpt-1"))
    monkeypatch.setattr(os, "scandir", fail_to_list(str(logdir / "gone"), FileNotFoundError(2, "No such file")))
    report = scan(logdir)
    assert ([c.run for c in report.checkpoints], report.problems) == (["a", "z"], [])


def test_scan_of_a_logdir_that_is_a_file_names_it(logdir: Path) -> None:
    touch(logdir, "file")
    report = scan(logdir / "file")
    assert report.checkpoints == []
    assert "cannot be listed" in report.problems[0]


# --- records


def test_scan_reads_the_record_of_every_run(logdir: Path) -> None:
    touch(logdir, *v2("ckpt-1"), *v2("a/ckpt-1"))
    (logdir / FILE_NAME).write_text('{"pairings": [{"builder": "root"}]}')
    (logdir / "a" / FILE_NAME).write_text('{"pairings": [{"builder": "mlp", "arguments": {"units": 3}}]}')
    report = scan(logdir)
    builders = {c.run: [p.builder for p in report.find_records(c)] for c in report.checkpoints}
    assert builders == {".": ["root"], "a": ["mlp"]}
    assert report.problems == []


def test_scan_of_two_unnamed_logdirs_keeps_their_records_apart(tmp_path: Path) -> None:
    for name in ("a", "b"):
        touch(tmp_path / name, *v2("ckpt-1"))
    (tmp_path / "b" / FILE_NAME).write_text('{"pairings": [{"builder": "mlp"}]}')
    report = scan(tmp_path / "a", tmp_path / "b")
    builders = {c.prefix: [p.builder for p in report.find_records(c)] for c in report.checkpoints}
    assert builders == {str(tmp_path / "a" / "ckpt-1"): [], str(tmp_path / "b" / "ckpt-1"): ["mlp"]}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"{", "is no JSON"),
        (b"[]", "pairings"),
        (b" " * (MAX_BYTES + 1), "is larger than"),
        (b'{"pairings": [{"builder": "x", "checkpoints": "../../*"}]}', "pairings[0].checkpoints"),
    ],
)
def test_scan_of_a_broken_record_names_it_and_goes_on(logdir: Path, content: bytes, problem: str) -> None:
    touch(logdir, *v2("ckpt-1"))
    (logdir / FILE_NAME).write_bytes(content)
    report = scan(logdir)
    assert listed(report) == [(".", "ckpt-1")]
    assert len(report.problems) == 1
    assert str(logdir / FILE_NAME) in report.problems[0]
    assert problem in report.problems[0]
    assert report.find_records(report.checkpoints[0]) == BROKEN


def test_scan_of_a_record_that_is_a_link_out_does_not_read_it(logdir: Path, tmp_path: Path) -> None:
    touch(logdir, *v2("ckpt-1"))
    (tmp_path / "secret").write_text('{"pairings": [{"builder": "secret"}]}')
    (logdir / FILE_NAME).symlink_to(tmp_path / "secret")
    report = scan(logdir)
    assert report.find_records(report.checkpoints[0]) == BROKEN
    (problem,) = report.problems
    assert "leads out of the logdir" in problem
    assert "secret" not in problem


def test_read_records_where_there_is_none_gives_none(logdir: Path) -> None:
    assert read_records(str(logdir)) == ()


def test_read_records_of_a_folder_of_that_name_raises(logdir: Path) -> None:
    (logdir / FILE_NAME).mkdir()
    with pytest.raises(CkptMetaError) as caught:
        read_records(str(logdir))
    assert caught.value.code is Code.INVALID_RECORD
