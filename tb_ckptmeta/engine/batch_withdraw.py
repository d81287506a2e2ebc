"""Take away what a batch had exported of a checkpoint that is refused now. Runs in the caller's process.

It goes whole or not at all, and nothing that somebody else has put there goes with it. Where nobody knows whether it is
still right, for something could not be done, it stays.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tb_ckptmeta.core.checkpoint import Checkpoint
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.formats import FILE, FOLDER, FORMATS, PREFIX, Format, get_format
from tb_ckptmeta.engine.batch_claims import Claims
from tb_ckptmeta.engine.batch_plan import Item, Task, place
from tb_ckptmeta.engine.deliver import list_taken

TAKEN_AWAY = "taken_away"
STANDING = "standing"

_UNTOUCHED = "as it was"
_UNKNOWN = "which is not known to be what a batch has put there"


@dataclass(frozen=True)
class Earlier:
    """What became of exports from before: `taken` away, or `standing` still, and why; paths relative to the folder."""

    taken: Sequence[str] = ()
    standing: Mapping[str, str] = field(default_factory=dict)

    @property
    def state(self) -> str | None:
        """What a line tells: STANDING, TAKEN_AWAY, or None where there was none."""
        return STANDING if self.standing else TAKEN_AWAY if self.taken else None

    def tell(self, error: CkptMetaError) -> CkptMetaError:
        """Return the error that keeps from an export, telling of this, too."""
        if error.code is Code.OUTPUT_EXISTS or self.state is None:  # which tells it already
            return error
        message = error.message if error.message.endswith((".", "!", "?")) else f"{error.message}."
        return CkptMetaError(error.code, " ".join((message, *self.describe())), error.details)

    def describe(self) -> list[str]:
        """Return a sentence for each."""
        told = [f"An earlier export stands there, {path}, {why}." for path, why in self.standing.items()]
        return told + ["The earlier export was taken away."] * bool(self.taken)


def settle_earlier(task: Task, item: Item, *, refused: bool) -> Earlier:
    """Look for what an earlier batch has exported of a checkpoint that is not exported now.

    Args:
        refused: the checkpoint does not match, so that the export is wrong: what is the batch's own is taken away.
    """
    assert task.folder is not None
    assert item.output is not None
    claims, checkpoint = Claims(task.folder), item.checkpoint
    taken: list[str] = []
    standing: dict[str, str] = {}
    for format, output in _find_claimed(checkpoint, claims.find(checkpoint.prefix)):
        path = Path(task.folder, output)
        try:
            files = list_taken(format, path)
            if not refused:
                standing[output] = _UNTOUCHED
            elif claims.cover(files, checkpoint.files, checkpoint.prefix):
                _take_away(files)
                taken.append(output)
            else:
                standing[output] = _UNKNOWN
        except OSError as error:
            standing[output] = f"and cannot be taken away: {error.strerror or error}"
    if list_taken(get_format(task.format), Path(task.folder, item.output)):
        standing.setdefault(item.output, _UNKNOWN if refused else _UNTOUCHED)
    return Earlier(taken, standing)


def _find_claimed(checkpoint: Checkpoint, claimed: Iterable[str]) -> list[tuple[Format, str]]:
    """Return in which formats a checkpoint has been exported, and where, given the paths of the files."""
    paths = set(claimed)
    stem = place(checkpoint, "checkpoint")
    beside = any(path == f"{stem}.index" or path.startswith(f"{stem}.data-") for path in paths)
    found = []
    for format in FORMATS.values() if paths else ():
        output = place(checkpoint, format.name)
        if format.layout == FILE:
            # The .meta of a TF1 checkpoint goes with it, or stays.
            is_there = output in paths and not (beside and format.suffix == ".meta")
        elif format.layout == FOLDER:
            is_there = any(path.startswith(f"{output}/") for path in paths)
        else:
            assert format.layout == PREFIX
            is_there = beside
        if is_there:
            found.append((format, output))
    return found


def _take_away(taken: Sequence[Path]) -> None:
    """Take files, or a folder, away, all or none; the index goes first, for without it there is no checkpoint."""
    hidden: list[tuple[Path, Path]] = []
    try:
        for path in sorted(taken, key=lambda p: p.suffix != ".index"):
            away = path.with_name(f".{path.name}.{secrets.token_hex(6)}.old")
            path.rename(away)
            hidden.append((path, away))
    except OSError:
        for path, away in reversed(hidden):
            away.rename(path)
        raise
    for _, away in hidden:
        if away.is_dir():
            shutil.rmtree(away, ignore_errors=True)
        else:
            away.unlink(missing_ok=True)
