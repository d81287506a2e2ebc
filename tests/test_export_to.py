"""`Workspace.export_to`, as Python code asks it: what it replaces, and what it tells of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.engine.choice import Choice
from tb_ckptmeta.engine.workspace import Workspace, open_workspace


@pytest.fixture(scope="module")
def workspace(demo_runs: Path, demo_builders: Path) -> Iterator[Workspace]:
    with open_workspace(str(demo_runs), builders=[str(demo_builders)]) as workspace:
        yield workspace


@pytest.fixture
def choice(workspace: Workspace) -> Choice:
    (checkpoint,) = [c for c in workspace.scan().checkpoints if c.pattern_path == "mlp/ckpt-10"]
    return workspace.choose(checkpoint)


def test_export_replaces_what_it_may_and_tells_what_comes(workspace: Workspace, choice: Choice, tmp_path: Path) -> None:
    output = tmp_path / "mlp.meta"
    output.write_text("Of yesterday.")
    asked, told = [], []

    def may_replace(taken: Sequence[Path]) -> bool:
        asked.append([path.read_text() for path in taken])
        return True

    def on_landing(place: Path, files: Mapping[Path, Path]) -> None:
        told.append((place, output.read_text(), {target: path.stat().st_size for target, path in files.items()}))

    made = workspace.export_to(choice, "metagraph", output, check=False, may_replace=may_replace, on_landing=on_landing)
    assert asked == [["Of yesterday."]] * 2  # before the work, and at its end
    assert told == [(output, "Of yesterday.", {output: made.size})]
    assert output.stat().st_size == made.size


def test_what_has_come_during_the_work_is_asked_for_once_more(
    workspace: Workspace, choice: Choice, tmp_path: Path
) -> None:
    output = tmp_path / "mlp.meta"
    output.write_text("Of yesterday.")

    def may_replace(taken: Sequence[Path]) -> bool:
        (content,) = [path.read_text() for path in taken]
        output.write_text("Mine.")  # as soon as that was looked at
        return content == "Of yesterday."

    with pytest.raises(CkptMetaError, match=r"mlp\.meta exists") as refused:
        workspace.export_to(choice, "metagraph", output, check=False, may_replace=may_replace)
    assert refused.value.code is Code.OUTPUT_EXISTS
    assert output.read_text() == "Mine."
