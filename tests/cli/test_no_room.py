"""A machine that has no room: the command says what there was none of, and where, and that nothing is known."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

FULL = "No space left on device. Temporary files lie in {}: make room there, or name another folder (TMPDIR)."

Verify = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def verify(demo_runs: Path, demo_builders: Path, tmp_path: Path) -> Verify:
    """Verify a checkpoint of the demo whose builders have been listed before; `limit` is for the command alone."""
    command = [sys.executable, "-m", "tb_ckptmeta", "verify", str(demo_runs / "mlp" / "ckpt-10")]
    command += ["--builders", str(demo_builders)]

    def run(environment: dict[str, str], limit: Callable[[], None] | None = None) -> subprocess.CompletedProcess[str]:
        cache = {"TB_CKPTMETA_CACHE": str(tmp_path / "cache")}
        return subprocess.run(
            command,
            env={**os.environ, **cache, **environment},
            preexec_fn=limit,
            capture_output=True,
            text=True,
            check=False,
        )

    listed = subprocess.run(
        [sys.executable, "-m", "tb_ckptmeta", "builders", "--builders", str(demo_builders)],
        env={**os.environ, "TB_CKPTMETA_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        check=False,
    )
    assert listed.returncode == 0, listed.stderr
    return run


def test_command_that_may_write_no_file_says_so_and_has_status_3(verify: Verify) -> None:
    ended = verify({}, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64)))
    assert ended.returncode == 3, ended
    assert "File too large. This user may write no file of that size: raise the limit (ulimit -f)." in ended.stdout
    assert "Traceback" not in ended.stderr


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mount a file system of that size."""
    folder = tmp_path / "small"
    folder.mkdir()

    def mount(size: str) -> Path:
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
        if subprocess.run(command, capture_output=True, check=False).returncode != 0:
            pytest.skip("only root may mount a file system")
        return folder

    yield mount
    if os.path.ismount(folder):
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("size", ["4k", "12k"])
def test_full_disk_is_named_whoever_finds_it_full(verify: Verify, full_disk: Callable[[str], Path], size: str) -> None:
    folder = full_disk(size)
    ended = verify({"TMPDIR": str(folder)})
    assert ended.returncode == 3, ended
    assert FULL.format(folder) in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr
    assert os.listdir(folder) == []
