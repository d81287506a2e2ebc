"""Logdirs for batches: checkpoints of the demo's model, in runs that a builder's pattern matches, or none does."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tb_ckptmeta.engine.workspace import Workspace, open_workspace

Runs = Callable[..., Path]

_CODE = Path(__file__).with_name("batch_builders.py")


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


@pytest.fixture(scope="module")
def place(demo_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `code`, and the logdir `runs`: two checkpoints that match, one that does not, and one without."""
    folder = tmp_path_factory.mktemp("resume")
    (folder / "code").mkdir()
    shutil.copy(_CODE, folder / "code")
    (folder / "code" / "batch_units.py").write_text("UNITS = 128\n", encoding="utf-8")
    for run, step in (("mlp", 10), ("mlp", 20), ("wide", 10), ("alien", 10)):
        (folder / "runs" / run).mkdir(parents=True, exist_ok=True)
        for path in demo_runs.glob(f"mlp/ckpt-{step}.*"):
            shutil.copy(path, folder / "runs" / run)
    return folder


@pytest.fixture(scope="module")
def workspace(place: Path) -> Iterator[Workspace]:
    with open_workspace(str(place / "runs"), builders=[str(place / "code" / _CODE.name)]) as workspace:
        yield workspace
