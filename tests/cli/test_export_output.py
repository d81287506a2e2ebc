"""Where an export may stand: what would be lost by it is refused at once, before a builder is read."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., Any]


@pytest.fixture
def refuse(cli: Cli, demo_runs: Path, demo_builders: Path, quick_tensorflow: dict[str, str]) -> Callable[..., str]:
    """Export a checkpoint of the demo to a path that is refused, and return what is said; no worker has run."""

    def export(output: object, *options: str) -> str:
        command = ("export", demo_runs / "mlp" / "ckpt-10", "--builders", demo_builders, "--output", output, *options)
        outcome = cli(*command, environment=quick_tensorflow)
        assert (outcome.status, outcome.stdout) == (2, "")
        assert outcome.stderr.startswith("tb-ckptmeta: ")
        return str(outcome.stderr)

    return export


def make_pipe(path: Path) -> None:
    os.mkfifo(path)


def make_device(path: Path) -> None:
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("only root may make devices")


def make_link_to_a_pipe(path: Path) -> None:
    make_pipe(path.with_name("pipe"))
    path.symlink_to("pipe")


@pytest.mark.parametrize("make", [make_pipe, make_device, make_link_to_a_pipe])
def test_what_is_no_file_is_not_replaced(
    refuse: Callable[..., str], tmp_path: Path, make: Callable[[Path], None]
) -> None:
    output = tmp_path / "output"
    make(output)
    before = [(p.name, p.lstat().st_ino, p.lstat().st_mode) for p in sorted(tmp_path.iterdir())]
    assert f"{output} is no file but a device, a pipe or the like." in refuse(output, "--overwrite")
    assert [(p.name, p.lstat().st_ino, p.lstat().st_mode) for p in sorted(tmp_path.iterdir())] == before


def test_folder_that_cannot_be_written_to_is_refused_at_once(
    refuse: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Not even root may make files there.
    assert "/proc/x.meta cannot be written: " in refuse("/proc/x.meta")


def test_file_of_the_builders_is_not_overwritten(
    refuse: Callable[..., str], demo_builders: Path, tmp_path: Path
) -> None:
    link = tmp_path / "link.meta"
    link.symlink_to(demo_builders)
    for output in (demo_builders, link):
        assert "is the file that registers the builder" in refuse(output, "--overwrite")


def test_link_to_a_part_of_a_checkpoint_is_not_written_through(
    refuse: Callable[..., str], demo_runs: Path, tmp_path: Path
) -> None:
    part = shutil.copy(demo_runs / "mlp" / "ckpt-20.index", tmp_path)
    (tmp_path / "link.meta").symlink_to(part)
    assert "has the name of a checkpoint's part" in refuse(tmp_path / "link.meta", "--overwrite")


def test_minus_is_no_path(refuse: Callable[..., str]) -> None:
    assert "'-' is no path" in refuse("-")


def test_export_through_a_link_or_to_a_file_url_is_written_where_it_leads(
    cli: Cli, demo_runs: Path, demo_builders: Path, tmp_path: Path
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link.meta").symlink_to("real/x.meta")
    command = ("export", demo_runs / "mlp" / "ckpt-10", "--builders", demo_builders, "--no-check")
    taken = cli(*command, "--output", tmp_path / "link.meta")
    assert (taken.status, os.listdir(tmp_path / "real")) == (2, [])
    assert cli(*command, "--output", tmp_path / "link.meta", "--overwrite").status == 0
    assert (tmp_path / "link.meta").is_symlink()
    assert (tmp_path / "real" / "x.meta").stat().st_size > 1000
    assert cli(*command, "--output", f"file://{tmp_path}/y.meta").status == 0
    assert sorted(os.listdir(tmp_path)) == ["link.meta", "real", "y.meta"]
