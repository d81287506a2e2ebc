"""What is asked for without a builder goes by the record as it stands, not as it was when the logdir was listed."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.record import FILE_NAME, record
from tb_ckptmeta.engine.workspace import open_workspace


def test_choice_goes_by_the_record_of_now(
    demo_runs: Path, demo_builders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Path(shutil.copytree(demo_runs / "mlp", tmp_path / "renamed"))
    monkeypatch.setattr(time, "monotonic", later := Later())
    with open_workspace(str(tmp_path), builders=[str(demo_builders)]) as workspace:
        checkpoint = workspace.scan().checkpoints[0]
        for units in (24, 32):
            record(run, "mnist-mlp", arguments={"units": units})
            later.by(3.0)
            assert workspace.choose(workspace.get_checkpoint(checkpoint.id)).arguments == {"units": units}
        (run / FILE_NAME).unlink()
        later.by(3.0)
        with pytest.raises(CkptMetaError) as raised:
            workspace.choose(workspace.get_checkpoint(checkpoint.id))
        assert raised.value.code is Code.NO_BUILDER


class Later:
    """A clock that can be put forward."""

    def __init__(self) -> None:
        self._actual: Callable[[], float] = time.monotonic
        self._more = 0.0

    def __call__(self) -> float:
        return self._actual() + self._more

    def by(self, seconds: float) -> None:
        self._more += seconds
