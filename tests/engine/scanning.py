"""Trees of checkpoints by name, and what a scan of them lists."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from tb_ckptmeta.core.checkpoint import Checkpoint
from tb_ckptmeta.engine.listing import Logdir, ScanReport
from tb_ckptmeta.engine.scan import Scanner


def touch(folder: Path, *names: str) -> None:
    """Write empty files of one byte each, with the folders they need."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def v2(prefix: str, shards: int = 1) -> list[str]:
    return [f"{prefix}.index", *(f"{prefix}.data-{i:05d}-of-{shards:05d}" for i in range(shards))]


def scan(*logdirs: Path | Logdir) -> ScanReport:
    return Scanner([p if isinstance(p, Logdir) else Logdir("", str(p)) for p in logdirs]).scan()


def only(report: ScanReport) -> Checkpoint:
    (checkpoint,) = report.checkpoints
    return checkpoint


def listed(report: ScanReport) -> list[tuple[str, str]]:
    return [(c.run, c.name) for c in report.checkpoints]


def outside_checkpoint(tmp_path: Path) -> Path:
    touch(tmp_path / "outside", *v2("ckpt-1"))
    return tmp_path / "outside"


def fail_to_list(path: str, error: OSError) -> Callable[[int], object]:
    scandir = os.scandir

    def list_folder(folder: int) -> object:
        if os.path.samestat(os.fstat(folder), os.stat(path)):
            raise error
        return scandir(folder)

    return list_folder
