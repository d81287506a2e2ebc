"""A scanner that has scanned before: it looks at what has changed since, and never lists what is no longer so."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tb_ckptmeta.core.checkpoint import Checkpoint
from tb_ckptmeta.core.errors import CkptMetaError
from tb_ckptmeta.core.record import FILE_NAME
from tb_ckptmeta.engine import folders
from tb_ckptmeta.engine.listing import Logdir, ScanReport
from tb_ckptmeta.engine.scan import Scanner, check_confined

TICK = 0.01
"""Longer than the clock of any file system here needs to go on."""


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every folder counts as left alone for long: what is read is remembered at once."""
    monkeypatch.setattr(folders, "_SETTLED", -3600.0)


@pytest.fixture
def logdir(tmp_path: Path) -> Path:
    path = tmp_path / "logdir"
    for run in ("a", "b"):
        for step in (1, 2):
            write_checkpoint(path / run / f"ckpt-{step}")
    return path


def write_checkpoint(prefix: Path, size: int = 1) -> None:
    prefix.parent.mkdir(parents=True, exist_ok=True)
    for suffix in (".index", ".data-00000-of-00001"):
        prefix.with_name(prefix.name + suffix).write_bytes(b"x" * size)


def listed(report: ScanReport) -> list[str]:
    return [f"{c.run}/{c.name}" for c in report.checkpoints]


def rescan(logdir: Path, change: Callable[[], object]) -> tuple[ScanReport, ScanReport]:
    """Scan, change something, and scan again with the same scanner, which must see what a new one sees."""
    logdirs = [Logdir("", str(logdir))]
    scanner = Scanner(logdirs)
    before = scanner.scan()
    time.sleep(TICK)
    change()
    after = scanner.scan()
    assert after == Scanner(logdirs).scan()
    assert scanner.scan() == after
    return before, after


def get(report: ScanReport, path: str) -> Checkpoint:
    (found,) = [c for c in report.checkpoints if f"{c.run}/{c.name}" == path]
    return found


@contextlib.contextmanager
def count_listed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Say which folders are read name by name."""
    read: list[str] = []
    scandir = os.scandir

    def list_folder(folder: int) -> object:
        read.append(os.path.basename(os.readlink(f"/proc/self/fd/{folder}")))
        return scandir(folder)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", list_folder)
        yield read


# --- what is the same


@pytest.mark.usefixtures("settled")
def test_rescan_of_an_unchanged_tree_lists_no_folder_and_makes_nothing(
    logdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scanner = Scanner([Logdir("", str(logdir))])
    first = scanner.scan()
    with count_listed(monkeypatch) as read:
        again = scanner.scan()
    assert read == []
    assert len(first.checkpoints) == 4
    assert all(a is b for a, b in zip(first.checkpoints, again.checkpoints, strict=True))


@pytest.mark.usefixtures("settled")
def test_rescan_after_a_change_in_one_run_lists_that_run_alone(logdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scanner = Scanner([Logdir("", str(logdir))])
    first = scanner.scan()
    time.sleep(TICK)
    write_checkpoint(logdir / "b" / "ckpt-3")
    with count_listed(monkeypatch) as read:
        again = scanner.scan()
    assert read == ["b"]
    assert get(again, "a/ckpt-1") is get(first, "a/ckpt-1")


def test_rescan_of_a_folder_changed_a_moment_ago_lists_it_again(logdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its time may stay as it is when the next name comes within the same tick of the clock."""
    scanner = Scanner([Logdir("", str(logdir))])
    scanner.scan()
    with count_listed(monkeypatch) as read:
        scanner.scan()
    assert read == ["logdir", "a", "b"]


def test_rescan_of_a_folder_with_its_time_set_back_lists_it_again(
    logdir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in (logdir, logdir / "a", logdir / "b"):
        os.utime(folder, (1.0, 1.0))
    scanner = Scanner([Logdir("", str(logdir))])
    scanner.scan()
    with count_listed(monkeypatch) as read:
        scanner.scan()
    assert read == ["logdir", "a", "b"]


@pytest.mark.usefixtures("settled")
def test_rescan_lists_a_folder_with_links_again(logdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (logdir / "a" / "latest.index").symlink_to("ckpt-1.index")
    scanner = Scanner([Logdir("", str(logdir))])
    scanner.scan()
    with count_listed(monkeypatch) as read:
        scanner.scan()
    assert read == ["a"]


# --- what has changed


@pytest.mark.usefixtures("settled")
def test_rescan_sees_a_new_checkpoint(logdir: Path) -> None:
    _, after = rescan(logdir, lambda: write_checkpoint(logdir / "a" / "ckpt-3"))
    assert listed(after) == ["a/ckpt-1", "a/ckpt-2", "a/ckpt-3", "b/ckpt-1", "b/ckpt-2"]


@pytest.mark.usefixtures("settled")
def test_rescan_sees_a_new_run_and_one_that_has_gone(logdir: Path) -> None:
    def change() -> None:
        shutil.rmtree(logdir / "a")
        write_checkpoint(logdir / "c" / "deep" / "ckpt-1")

    _, after = rescan(logdir, change)
    assert listed(after) == ["b/ckpt-1", "b/ckpt-2", "c/deep/ckpt-1"]


@pytest.mark.usefixtures("settled")
def test_rescan_sees_that_a_shard_is_deleted(logdir: Path) -> None:
    _, after = rescan(logdir, lambda: (logdir / "a" / "ckpt-1.data-00000-of-00001").unlink())
    assert get(after, "a/ckpt-1").state == "incomplete"


@pytest.mark.usefixtures("settled")
def test_rescan_sees_that_a_shard_has_grown_in_place(logdir: Path) -> None:
    def change() -> None:
        with (logdir / "a" / "ckpt-1.data-00000-of-00001").open("ab") as file:
            file.write(b"more")

    before, after = rescan(logdir, change)
    assert (get(before, "a/ckpt-1").bytes, get(after, "a/ckpt-1").bytes) == (2, 6)
    assert get(after, "a/ckpt-1").modified > get(before, "a/ckpt-1").modified


@pytest.mark.usefixtures("settled")
def test_rescan_sees_that_a_file_is_written_anew_with_the_same_size(logdir: Path) -> None:
    index = logdir / "a" / "ckpt-1.index"
    before, after = rescan(logdir, lambda: index.write_bytes(b"y"))
    assert get(after, "a/ckpt-1").modified > get(before, "a/ckpt-1").modified
    assert get(after, "a/ckpt-1").modified == index.stat().st_mtime


@pytest.mark.usefixtures("settled")
def test_rescan_sees_a_folder_swapped_by_rename(logdir: Path) -> None:
    def change() -> None:
        write_checkpoint(logdir.parent / "other" / "ckpt-9", size=3)
        (logdir / "a").rename(logdir.parent / "old")
        (logdir.parent / "other").rename(logdir / "a")

    _, after = rescan(logdir, change)
    assert listed(after) == ["a/ckpt-9", "b/ckpt-1", "b/ckpt-2"]


@pytest.mark.usefixtures("settled")
def test_rescan_sees_two_runs_that_have_changed_places(logdir: Path) -> None:
    write_checkpoint(logdir / "b" / "ckpt-5")

    def change() -> None:
        (logdir / "a").rename(logdir / "c")
        (logdir / "b").rename(logdir / "a")
        (logdir / "c").rename(logdir / "b")

    _, after = rescan(logdir, change)
    assert listed(after) == ["a/ckpt-1", "a/ckpt-2", "a/ckpt-5", "b/ckpt-1", "b/ckpt-2"]
    assert get(after, "a/ckpt-5").prefix == str(logdir / "a" / "ckpt-5")


@pytest.mark.usefixtures("settled")
def test_rescan_of_a_file_replaced_by_a_link_out_does_not_read_it(logdir: Path) -> None:
    shard = logdir / "a" / "ckpt-1.data-00000-of-00001"
    write_checkpoint(logdir.parent / "outside" / "secret", size=99)

    def change() -> None:
        shard.unlink()
        shard.symlink_to(logdir.parent / "outside" / "secret.index")

    _, after = rescan(logdir, change)
    found = get(after, "a/ckpt-1")
    assert (found.state, found.bytes) == ("unreadable", 1)
    assert "leads out of the logdir" in found.problem
    with pytest.raises(CkptMetaError):
        check_confined(found)


@pytest.mark.usefixtures("settled")
def test_rescan_of_a_link_that_leads_out_now_does_not_follow_it(logdir: Path) -> None:
    (logdir / "latest").symlink_to("a")
    write_checkpoint(logdir.parent / "outside" / "secret-1")

    def change() -> None:
        (logdir / "latest").unlink()
        (logdir / "latest").symlink_to(logdir.parent / "outside")

    before, after = rescan(logdir, change)
    assert "latest/ckpt-1" in listed(before)
    assert listed(after) == ["a/ckpt-1", "a/ckpt-2", "b/ckpt-1", "b/ckpt-2"]
    assert f"{logdir / 'latest'} is a link that leads out" in after.notes[0]


@pytest.mark.usefixtures("settled")
def test_rescan_of_a_link_whose_target_leads_out_now_does_not_follow_it(logdir: Path) -> None:
    """Nothing has changed in the folder that the first link lies in."""
    (logdir / "b" / "hop").symlink_to(logdir / "a")
    (logdir / "latest").symlink_to("b/hop")
    write_checkpoint(logdir.parent / "outside" / "secret-1")

    def change() -> None:
        (logdir / "b" / "hop").unlink()
        (logdir / "b" / "hop").symlink_to(logdir.parent / "outside")

    before, after = rescan(logdir, change)
    assert "latest/ckpt-1" in listed(before)
    assert not [path for path in listed(after) if "latest" in path or "secret" in path]
    assert len(after.notes) == 2


@pytest.mark.usefixtures("settled")
def test_rescan_of_a_run_replaced_by_a_link_out_does_not_follow_it(logdir: Path) -> None:
    def change() -> None:
        (logdir / "a").rename(logdir.parent / "outside")
        (logdir / "a").symlink_to(logdir.parent / "outside")

    _, after = rescan(logdir, change)
    assert listed(after) == ["b/ckpt-1", "b/ckpt-2"]
    assert "leads out of the logdir" in after.notes[0]


@pytest.mark.usefixtures("settled")
def test_rescan_of_a_logdir_that_is_a_link_and_leads_elsewhere_now(logdir: Path) -> None:
    given = logdir.parent / "given"
    given.symlink_to(logdir)
    shutil.copytree(logdir, logdir.parent / "copy")

    def change() -> None:
        given.unlink()
        given.symlink_to(logdir.parent / "copy")

    before, after = rescan(given, change)
    assert listed(before) == listed(after)
    assert {c.root for c in after.checkpoints} == {str(logdir.parent / "copy")}


@pytest.mark.usefixtures("settled")
def test_rescan_sees_that_a_save_in_a_temporary_folder_is_finished(logdir: Path) -> None:
    part = logdir / "a" / "ckpt-3_temp" / "part-00000-of-00001.index"
    part.parent.mkdir()
    part.write_bytes(b"x")
    before, after = rescan(logdir, lambda: write_checkpoint(logdir / "a" / "ckpt-3"))
    assert get(before, "a/ckpt-3").state == "incomplete"
    assert get(after, "a/ckpt-3").state == "listed"


# --- records


def write_record(folder: Path, builder: str) -> None:
    (folder / FILE_NAME).write_text(f'{{"pairings": [{{"builder": "{builder}"}}]}}')


def find_builders(report: ScanReport) -> set[str]:
    return {r.builder for c in report.checkpoints for r in report.find_records(c)}


@pytest.mark.usefixtures("settled")
def test_rescan_sees_a_record_that_has_changed_in_place_and_one_that_has_gone(logdir: Path) -> None:
    write_record(logdir / "a", "one")
    before, after = rescan(logdir, lambda: write_record(logdir / "a", "two"))
    assert (find_builders(before), find_builders(after)) == ({"one"}, {"two"})
    _, after = rescan(logdir, lambda: (logdir / "a" / FILE_NAME).unlink())
    assert (find_builders(after), after.records) == (set(), {})


@pytest.mark.usefixtures("settled")
def test_rescan_sees_a_record_that_keeps_its_size_and_time(logdir: Path) -> None:
    write_record(logdir / "a", "one")
    path = logdir / "a" / FILE_NAME
    status = path.stat()

    def change() -> None:
        write_record(logdir / "a", "two")
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    _, after = rescan(logdir, change)
    assert find_builders(after) == {"two"}


@pytest.mark.usefixtures("settled")
def test_rescan_reads_a_record_again_only_when_it_has_changed(logdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_record(logdir / "a", "one")
    scanner = Scanner([Logdir("", str(logdir))])
    first = scanner.scan()

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("opened")

    with monkeypatch.context() as patch:
        patch.setattr("builtins.open", refuse)
        assert scanner.scan() == first
    assert find_builders(first) == {"one"}


@pytest.mark.usefixtures("settled")
def test_rescan_tells_of_a_broken_record_until_it_is_mended(logdir: Path) -> None:
    (logdir / "a" / FILE_NAME).write_text("{")
    scanner = Scanner([Logdir("", str(logdir))])
    assert len(scanner.scan().problems) == len(scanner.scan().problems) == 1
    time.sleep(TICK)
    write_record(logdir / "a", "one")
    report = scanner.scan()
    assert (report.problems, find_builders(report)) == ([], {"one"})


# --- a law

NAMES = st.sampled_from(
    ["a", "b", "a_temp", "ckpt-1.index", "ckpt-1.data-00000-of-00001", "part-00000-of-00001.index", FILE_NAME]
)
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(lambda parts: os.path.join(*parts))
CHANGES = st.lists(st.tuples(st.sampled_from(["write", "grow", "remove", "move", "link", "link out"]), PATHS, PATHS))


def make_change(kind: str, path: Path, other: Path, outside: Path) -> None:
    with contextlib.suppress(OSError, shutil.Error):
        path.parent.mkdir(parents=True, exist_ok=True)
        match kind:
            case "write":
                path.write_text('{"pairings": []}')
            case "grow":
                with path.open("a") as file:
                    file.write(" ")
            case "remove" if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            case "remove":
                path.unlink()
            case "move":
                path.rename(other)
            case "link":
                path.symlink_to(other)
            case "link out":
                path.symlink_to(outside)


@pytest.mark.usefixtures("settled")
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(CHANGES)
def test_rescan_after_any_changes_lists_what_a_new_scan_lists(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[str, str, str]]
) -> None:
    base = tmp_path_factory.mktemp("any").resolve()
    root, outside = base / "logdir", base / "outside"
    write_checkpoint(root / "a" / "ckpt-1")
    write_checkpoint(outside / "ckpt-1")
    logdirs = [Logdir("", str(root))]
    scanner = Scanner(logdirs)
    for kind, path, other in changes:
        assert scanner.scan() == Scanner(logdirs).scan()
        time.sleep(TICK)
        # Through a link that leads out, a change would be made there.
        if all(Path(os.path.realpath((root / p).parent)).is_relative_to(root) for p in (path, other)):
            make_change(kind, root / path, root / other, outside)
    assert scanner.scan() == Scanner(logdirs).scan()


def test_rescan_lists_a_folder_anew_after_a_while_whatever_its_times_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for suffix in (".index", ".data-00000-of-00001"):
        (tmp_path / f"ckpt-1{suffix}").touch()
    # As gcsfuse has it: the folder's stamp never changes.
    monkeypatch.setattr(folders, "make_stamp", lambda status: (1, 1, 1, 1, 1))
    scanner = Scanner([Logdir("", str(tmp_path))])
    assert [c.name for c in scanner.scan().checkpoints] == ["ckpt-1"]
    for suffix in (".index", ".data-00000-of-00001"):
        (tmp_path / f"ckpt-2{suffix}").touch()
    assert [c.name for c in scanner.scan().checkpoints] == ["ckpt-1"]
    later = time.monotonic() + folders.MOST_TRUSTED_SECONDS
    monkeypatch.setattr("tb_ckptmeta.engine.folders.time.monotonic", lambda: later)
    assert [c.name for c in scanner.scan().checkpoints] == ["ckpt-1", "ckpt-2"]
