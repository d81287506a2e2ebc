"""Logdirs for batches: checkpoints of the demo's model, in runs that a builder's pattern matches, or none does."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

Runs = Callable[..., Path]


@pytest.fixture
def builders(tmp_path: Path) -> Path:
    """A copy of `batch_builders.py` with the module that it imports, to be changed."""
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "batch_units.py").write_text("UNITS = 128\n", encoding="utf-8")
    return Path(shutil.copy(Path(__file__).with_name("batch_builders.py"), folder))


@pytest.fixture
def make_runs(demo_runs: Path, tmp_path: Path) -> Runs:
    """Make a logdir: `make_runs("runs", mlp=[10, 20], wide=[10])` copies these steps of the demo's `mlp` to runs."""

    def make(logdir: str, **steps: list[int]) -> Path:
        for run, numbers in steps.items():
            folder = tmp_path / logdir / run
            folder.mkdir(parents=True)
            for number in numbers:
                for path in demo_runs.glob(f"mlp/ckpt-{number}.*"):
                    shutil.copy(path, folder)
        return tmp_path / logdir

    return make
