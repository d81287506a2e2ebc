"""Look at what a batch is given, before it begins: what would fail later, or cost something, is refused."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from tb_ckptmeta.core.checkpoint import KERAS_FORMATS
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.formats import FILE, get_format
from tb_ckptmeta.core.landing import unwritable
from tb_ckptmeta.engine.batch_others import Others
from tb_ckptmeta.engine.batch_plan import Item, Task
from tb_ckptmeta.engine.batch_results import Results
from tb_ckptmeta.engine.checkpoint_file import is_folder
from tb_ckptmeta.engine.folders import is_within
from tb_ckptmeta.engine.registry import Builders
from tb_ckptmeta.engine.remote import as_path, is_remote
from tb_ckptmeta.engine.scan import find_by_prefix
from tb_ckptmeta.engine.workspace import Workspace

_EXTRA = 'pip install "tensorboard-plugin-ckptmeta[beam]"'


def require_beam() -> None:
    """Make sure that Beam is installed; raises CkptMetaError, BEAM_MISSING."""
    try:
        import tb_ckptmeta.engine.batch_beam  # noqa: F401
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "apache_beam":
            raise
        message = f"Options behind `--` are Apache Beam's, and Beam is not installed. Install it: {_EXTRA}"
        raise CkptMetaError(Code.BEAM_MISSING, message) from error


def get_logdirs(given: Sequence[str]) -> list[str]:
    """Return the logdirs, paths made absolute.

    Raises:
        CkptMetaError: NOT_FOUND for what is no folder; BAD_REQUEST for a checkpoint.
    """
    for path in given:
        if is_folder(as_path(path)):
            continue
        if find_by_prefix(path) is not None:
            message = (
                f"{path} is a checkpoint, and a batch takes logdirs, of which --match GLOB names checkpoints. For one "
                "checkpoint there are `tb-ckptmeta verify` and `tb-ckptmeta export`."
            )
            raise CkptMetaError(Code.BAD_REQUEST, message)
        raise CkptMetaError(Code.NOT_FOUND, f"There is no folder {path}.")
    return [path if is_remote(path) else os.path.abspath(path) for path in map(as_path, given)]


def get_output(given: str) -> Path:
    """Return the output's absolute path; raises CkptMetaError, OUTPUT_UNWRITABLE for a URL."""
    if is_remote(given):
        message = (
            f"{given} is a URL, and a batch writes to a local path. Choose one as the output, and copy it from there."
        )
        raise CkptMetaError(Code.OUTPUT_UNWRITABLE, message)
    return Path(as_path(given)).absolute()


def make_folder(folder: str) -> None:
    """Make the folder of exports, where there is none; raises CkptMetaError, OUTPUT_UNWRITABLE."""
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise unwritable(Path(folder), error) from error


def require_outside(workspace: Workspace, task: Task, items: Sequence[Item]) -> None:
    """Make sure that exports which are checkpoints do not come into a logdir: they would be exported next.

    Raises:
        CkptMetaError: OUTPUT_UNWRITABLE.
    """
    assert task.folder is not None
    if get_format(task.format).layout == FILE and not any(i.checkpoint.format in KERAS_FORMATS for i in items):
        return
    folder = os.path.realpath(task.folder)
    for logdir in workspace.logdirs:
        if not is_remote(logdir.path) and is_within(folder, os.path.realpath(logdir.path)):
            message = (
                f"{task.folder} lies in the logdir {logdir.path}, and what is exported there would be found as "
                "checkpoints. Choose another output."
            )
            raise CkptMetaError(Code.OUTPUT_UNWRITABLE, message)


def require_builders(items: Sequence[Item], builders: Builders, results: Results) -> None:
    """Make sure that lines are not given up for a checkpoint whose builder cannot be read at the moment.

    Raises:
        CkptMetaError: as the SPECs' modules fail.
    """
    lost = [i for i in items if i.checkpoint.pairing.builder is None]
    if builders.problems and lost:
        raise CkptMetaError(
            builders.problems[0].code,
            f"{len(lost)} of {len(items)} checkpoints have no builder now, which may be for the reason above. "
            f"--overwrite would leave no more of them than that: nothing was done, and {results.path} is as it was.",
        )


def require_seen(items: Sequence[Item], others: Others, results: Results) -> None:
    """Make sure that lines are not given up for what could not be looked at: their checkpoint, or its record.

    Raises:
        CkptMetaError: CHECKPOINT_UNREADABLE.
    """
    unpaired = {i.checkpoint.prefix for i in items if i.checkpoint.pairing.builder is None}
    lost = [*others.gone, *(o for o in results.earlier.values() if o.builder is not None and o.prefix in unpaired)]
    if lost:
        raise CkptMetaError(
            Code.CHECKPOINT_UNREADABLE,
            f"{len(lost)} of {len(results.earlier)} lines are of checkpoints that are not found now, or have no "
            "builder, which may be for the reason above. --overwrite would leave no more of them than that: nothing "
            f"was done, and {results.path} is as it was.",
        )
