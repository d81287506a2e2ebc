"""Checkpoints of Keras 3 that were saved with their optimizer and another model, as a CheckpointManager leaves them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BLOCKS = Path(__file__).with_name("blocks.py")


@pytest.fixture(scope="session")
def blocks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A logdir with `clf/ckpt-1`, of two blocks, and `other/ckpt-1`, of three. Copy what a test changes."""
    logdir = tmp_path_factory.mktemp("blocks") / "runs"
    for run in ("clf", "other"):
        (logdir / run).mkdir(parents=True)
    wanted = [f"{logdir}/clf/ckpt-1=2", f"{logdir}/other/ckpt-1=3"]
    ended = subprocess.run([sys.executable, str(BLOCKS), *wanted], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-4000:]
    return logdir
