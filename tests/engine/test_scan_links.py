"""Scans of trees that mean harm: links that lead out, cycles, names of any kind."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scanning import listed, only, outside_checkpoint, scan, touch, v2

from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.record import FILE_NAME
from tb_ckptmeta.engine.scan import check_confined


@pytest.fixture
def logdir(tmp_path: Path) -> Path:
    path = tmp_path / "logdir"
    path.mkdir()
    return path


def test_scan_follows_a_folder_link_that_stays_inside(logdir: Path) -> None:
    touch(logdir, *v2("real/ckpt-1"))
    (logdir / "best").symlink_to(logdir / "real")
    report = scan(logdir)
    assert listed(report) == [("best", "ckpt-1"), ("real", "ckpt-1")]
    assert report.problems == []
    for checkpoint in report.checkpoints:
        check_confined(checkpoint)


def test_scan_does_not_follow_a_folder_link_that_leads_out_and_says_so(logdir: Path, tmp_path: Path) -> None:
    (logdir / "away").symlink_to(outside_checkpoint(tmp_path))
    report = scan(logdir)
    assert report.checkpoints == []
    (note,) = report.notes
    assert str(logdir / "away") in note
    assert "--logdir_spec" in note
    assert report.problems == []  # nothing that was asked for was not looked at


def test_scan_of_a_folder_beside_whose_name_begins_alike_counts_as_outside(logdir: Path, tmp_path: Path) -> None:
    touch(tmp_path / "logdir2", *v2("ckpt-1"))
    (logdir / "away").symlink_to(tmp_path / "logdir2")
    assert scan(logdir).checkpoints == []


def test_scan_of_a_file_link_that_leads_out_is_unreadable_and_refused(logdir: Path, tmp_path: Path) -> None:
    outside = outside_checkpoint(tmp_path)
    touch(logdir, "ckpt-1.index")
    (logdir / "ckpt-1.data-00000-of-00001").symlink_to(outside / "ckpt-1.data-00000-of-00001")
    found = only(scan(logdir))
    assert (found.state, found.bytes) == ("unreadable", 1)
    assert "ckpt-1.data-00000-of-00001 is a link that leads out of the logdir" in found.problem
    with pytest.raises(CkptMetaError) as caught:
        check_confined(found)
    assert caught.value.code is Code.OUTSIDE_LOGDIR


def test_scan_of_file_links_that_stay_inside_is_listed(logdir: Path) -> None:
    touch(logdir, *v2("store/blob-1"))
    (logdir / "ckpt-1.index").symlink_to("store/blob-1.index")
    (logdir / "ckpt-1.data-00000-of-00001").symlink_to("store/blob-1.data-00000-of-00001")
    found = {c.name: c for c in scan(logdir).checkpoints}
    assert found["ckpt-1"].state == "listed"
    assert found["ckpt-1"].bytes == 2
    check_confined(found["ckpt-1"])


def test_check_confined_of_a_file_that_became_a_link_out_refuses(logdir: Path, tmp_path: Path) -> None:
    outside = outside_checkpoint(tmp_path)
    touch(logdir, *v2("ckpt-1"))
    found = only(scan(logdir))
    check_confined(found)
    (logdir / "ckpt-1.index").unlink()
    (logdir / "ckpt-1.index").symlink_to(outside / "ckpt-1.index")
    with pytest.raises(CkptMetaError) as caught:
        check_confined(found)
    assert caught.value.code is Code.OUTSIDE_LOGDIR


def test_check_confined_of_a_folder_that_became_a_link_out_refuses(logdir: Path, tmp_path: Path) -> None:
    outside = outside_checkpoint(tmp_path)
    touch(logdir, *v2("run/ckpt-1"))
    found = only(scan(logdir))
    (logdir / "run").rename(tmp_path / "moved")
    (logdir / "run").symlink_to(outside)
    with pytest.raises(CkptMetaError) as caught:
        check_confined(found)
    assert caught.value.code is Code.OUTSIDE_LOGDIR


def test_check_confined_with_a_shard_that_the_listing_left_out_refuses(logdir: Path, tmp_path: Path) -> None:
    outside = outside_checkpoint(tmp_path)
    touch(logdir, *v2("ckpt-1"))
    found = only(scan(logdir))
    # The index may name two shards whatever the names of its files say.
    (logdir / "ckpt-1.data-00001-of-00002").symlink_to(outside / "ckpt-1.data-00000-of-00001")
    with pytest.raises(CkptMetaError) as caught:
        check_confined(found)
    assert caught.value.code is Code.OUTSIDE_LOGDIR


def test_check_confined_beside_a_link_of_another_checkpoint_passes(logdir: Path, tmp_path: Path) -> None:
    outside = outside_checkpoint(tmp_path)
    touch(logdir, *v2("ckpt-1"))
    (logdir / "ckpt-10.index").symlink_to(outside / "ckpt-1.index")
    check_confined(next(c for c in scan(logdir).checkpoints if c.name == "ckpt-1"))


def test_check_confined_of_a_file_that_has_gone_says_so(logdir: Path) -> None:
    touch(logdir, *v2("ckpt-1"))
    found = only(scan(logdir))
    (logdir / "ckpt-1.data-00000-of-00001").unlink()
    with pytest.raises(CkptMetaError) as caught:
        check_confined(found)
    assert caught.value.code is Code.CHECKPOINT_MISSING


def test_scan_of_link_cycles_ends(logdir: Path) -> None:
    touch(logdir, *v2("a/ckpt-1"))
    (logdir / "a" / "self").symlink_to(logdir / "a")
    (logdir / "a" / "up").symlink_to(logdir)
    (logdir / "loop").symlink_to(logdir / "loop")
    (logdir / "ping").symlink_to(logdir / "pong")
    (logdir / "pong").symlink_to(logdir / "ping")
    report = scan(logdir)
    assert ("a", "ckpt-1") in listed(report)
    assert {c.name for c in report.checkpoints} == {"ckpt-1"}


def test_scan_of_two_folders_that_link_to_each_other_ends_soon(logdir: Path) -> None:
    for a, b in (("a", "b"), ("b", "a")):
        touch(logdir, *v2(f"{a}/ckpt-1"))
        (logdir / a / "other").symlink_to(logdir / b)
    assert len(scan(logdir).checkpoints) <= 4


def test_scan_of_links_that_double_at_every_step_follows_a_few(logdir: Path) -> None:
    depth = 14
    for level in range(depth):
        touch(logdir, *v2(f"{level:02}/ckpt-1"))
        for name in ("left", "right"):
            (logdir / f"{level:02}" / name).symlink_to(logdir / f"{level + 1:02}")
    report = scan(logdir)
    assert {f"{level:02}" for level in range(depth)} <= {c.run for c in report.checkpoints}
    assert len(report.checkpoints) < depth * 18  # not 2 ** depth
    assert "reached by more than 16 links" in report.notes[0]


def test_scan_of_broken_links_lists_nothing(logdir: Path) -> None:
    (logdir / "ckpt-1.index").symlink_to(logdir / "nowhere")
    (logdir / "gone").symlink_to(logdir / "nothing")
    (logdir / FILE_NAME).symlink_to(logdir / "no record")
    report = scan(logdir)
    assert (report.checkpoints, report.problems) == ([], [])


def test_scan_of_broken_links_that_lead_out_reads_nothing(logdir: Path, tmp_path: Path) -> None:
    (logdir / "ckpt-1.index").symlink_to(tmp_path / "nowhere")
    assert only(scan(logdir)).state in ("unreadable", "incomplete")


def test_scan_of_a_logdir_that_is_a_link_itself_is_within_it(logdir: Path, tmp_path: Path) -> None:
    touch(logdir, *v2("ckpt-1"))
    (tmp_path / "alias").symlink_to(logdir)
    found = only(scan(tmp_path / "alias"))
    assert found.prefix == str(tmp_path / "alias" / "ckpt-1")
    check_confined(found)


SUFFIX = st.sampled_from(
    [
        "",
        ".index",
        ".meta",
        ".data-00000-of-00001",
        ".data-00001-of-00002",
        ".data-99999-of-00000",
        ".data-00000-of-00000",
        ".index.tempstate1",
        "-00000-of-00002",
        "-00000-of-00000",
        ".weights.h5",
        ".keras",
        "_temp",
    ]
)
STEM = st.one_of(
    st.sampled_from(["ckpt-1", "ckpt-2", "part-00000-of-00001", "checkpoint", FILE_NAME, "a b", "ü\n"]),
    st.text(st.characters(exclude_characters="/\0", exclude_categories=("Cs",)), min_size=1, max_size=6),
)
NAME = st.builds(lambda s, e: s + e, STEM, SUFFIX).filter(lambda n: n not in (".", "..") and len(n.encode()) < 200)
PATH = st.lists(NAME, min_size=1, max_size=3)
KIND = st.sampled_from(["file", "file", "file", "link in", "link out", "link to a folder out", "broken link", "folder"])


def plant(root: Path, outside: Path, tree: Iterable[tuple[list[str], str]]) -> None:
    for parts, kind in tree:
        path = root.joinpath(*parts)
        if os.path.lexists(path) or not path.parent.resolve().is_relative_to(root):
            continue
        with contextlib.suppress(FileExistsError, NotADirectoryError, FileNotFoundError):
            path.parent.mkdir(parents=True, exist_ok=True)
        if not path.parent.is_dir() or os.path.lexists(path):
            continue
        match kind:
            case "file":
                path.write_bytes(b"x")
            case "folder":
                path.mkdir()
            case "link in":
                path.symlink_to(root)
            case "link out":
                path.symlink_to(outside / "secret")
            case "link to a folder out":
                path.symlink_to(outside)
            case "broken link":
                path.symlink_to(root / "nothing at all")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(PATH, KIND), max_size=8))
def test_scan_of_any_tree_never_fails_and_stays_inside(
    tmp_path_factory: pytest.TempPathFactory, tree: list[tuple[list[str], str]]
) -> None:
    base = tmp_path_factory.mktemp("any").resolve()
    root, outside = base / "logdir", base / "outside"
    root.mkdir()
    touch(outside, "secret", *v2("ckpt-1"))
    plant(root, outside, tree)
    report = scan(root)
    ids = [c.id for c in report.checkpoints]
    assert len(set(ids)) == len(ids)
    for checkpoint in report.checkpoints:
        assert checkpoint.state in ("listed", "incomplete", "unreadable")
        assert (checkpoint.state == "listed") == (checkpoint.problem == "")
        assert checkpoint.as_json()["prefix"].startswith(str(root))
        if checkpoint.state == "listed":
            assert checkpoint.files
            assert all(Path(f).resolve().is_relative_to(root) for f in checkpoint.files)
    assert listed(scan(root)) == listed(report)
