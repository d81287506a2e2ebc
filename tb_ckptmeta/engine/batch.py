"""Find out what of a batch is left to do, given what its results hold. Runs in the caller's process."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from tb_ckptmeta.core.errors import Code
from tb_ckptmeta.core.landing import land_bytes
from tb_ckptmeta.engine.batch_plan import Item, Task
from tb_ckptmeta.engine.batch_results import Outcome, Results
from tb_ckptmeta.engine.batch_work import Line
from tb_ckptmeta.engine.current import Digests

# They say no, and would say so again.
_SETTLED = (None, Code.NOT_MATCHING.value, Code.CHECK_FAILED.value)
_CLAIMS = ".results.jsonl.planned"


class Parts(Protocol):
    """Where workers elsewhere leave lines, until they are put into the results."""

    def write(self, name: str, line: Line) -> None: ...

    def list(self) -> list[str]: ...

    def read(self, name: str) -> Line | None: ...

    def forget(self, name: str) -> None: ...

    def close(self) -> None: ...


def begin(results: Results, items: Sequence[Item], task: Task, *, overwrite: bool) -> list[Item]:
    """Return the items that the results do not hold, and take the lines away that hold no longer.

    An item is done again when its checkpoint, its pairing, a source file of its builder or the task has changed, when
    its export has gone, and when it could not be done.

    Raises:
        CkptMetaError: OUTPUT_UNWRITABLE.
    """
    digests = Digests()
    left = [i for i in items if not _is_done(results.outcomes.get(i.checkpoint.prefix), i, task, digests)]
    stale = {i.checkpoint.prefix for i in left} & results.outcomes.keys()
    if task.folder is not None:
        left = _claim(results, left, task.folder, overwrite)
    results.drop(stale)
    return left


def end(results: Results, task: Task) -> None:
    """Forget which places a batch had claimed: it has come to its end.

    A place stays its own where no line tells of an export: what an earlier batch has put there may be replaced.

    Raises:
        CkptMetaError: OUTPUT_UNWRITABLE.
    """
    if task.folder is None:
        return
    path = Path(task.folder, _CLAIMS)
    told = {o.output for o in results.outcomes.values() if o.output is not None}
    failed = _read_claims(path) - told - {f"{output}.meta" for output in told}
    left = {output for output in failed if _exists(task.folder, output)}
    if left:
        land_bytes(json.dumps(sorted(left)).encode("ascii"), path, overwrite=True)
    else:
        path.unlink(missing_ok=True)


def take_over(results: Results, parts: Parts) -> None:
    """Put the lines into the results that workers elsewhere left in a batch which did not come to its end.

    Raises:
        CkptMetaError: OUTPUT_UNWRITABLE.
    """
    lines = {name: parts.read(name) for name in parts.list()}
    whole = [line for line in lines.values() if line is not None]
    results.drop({line["prefix"] for line in whole} & results.outcomes.keys())
    for line in whole:
        results.append(line)
    for name in lines:
        parts.forget(name)
    parts.close()


def _is_done(outcome: Outcome | None, item: Item, task: Task, digests: Digests) -> bool:
    if outcome is not None and outcome.code is None and item.checkpoint.pairing.builder is None:
        return True  # its builder could not be read, or is not given this time: nothing better could come of it
    if outcome is None or outcome.fingerprint != item.fingerprint or outcome.code not in _SETTLED:
        return False
    if task.folder is not None and outcome.code is None:
        assert outcome.output is not None
        if not _exists(task.folder, outcome.output):
            return False
    return all(digests.get(path) == digest for path, digest in outcome.sources.items())


def _claim(results: Results, items: Iterable[Item], folder: str, overwrite: bool) -> list[Item]:
    """Write down which places are this batch's own, and return the items with that.

    Where a crash comes between an export and its line, the export is the batch's own all the same. What stood there
    before is not: it is never overwritten.
    """
    path = Path(folder, _CLAIMS)
    before = _read_claims(path)
    own = {o.output for o in results.outcomes.values()}
    claimed, claims = [], set()
    for item in items:
        assert item.output is not None
        names = {item.output, item.output.removesuffix(".meta")}
        mine = bool(names & (before | own)) or not _exists(folder, item.output)
        if mine:
            claims.add(item.output)
        claimed.append(replace(item, overwrite=overwrite or mine))
    land_bytes(json.dumps(sorted(before | claims)).encode("ascii"), path, overwrite=True)
    return claimed


def _read_claims(path: Path) -> set[str]:
    try:
        return set(json.loads(path.read_text(encoding="ascii")))
    except (OSError, ValueError):
        return set()


def _exists(folder: str, output: str) -> bool:
    """Tell whether an export, or the checkpoint of one, stands there."""
    path = os.path.join(folder, output)
    return any(os.path.lexists(p) for p in (path, f"{path}.index", f"{path.removesuffix('.meta')}.index"))


class FolderParts:
    """A folder with a file for each line."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, name: str, line: Line) -> None:
        self._path.mkdir(parents=True, exist_ok=True)
        # Another attempt at the same item may write it, too: the same, or as good.
        land_bytes(json.dumps(line, allow_nan=False).encode("ascii"), self._path / name, overwrite=True)

    def list(self) -> list[str]:
        try:
            return sorted(name for name in os.listdir(self._path) if not name.startswith("."))
        except FileNotFoundError:
            return []

    def read(self, name: str) -> Line | None:
        line: Line = json.loads((self._path / name).read_text(encoding="ascii"))
        return line

    def forget(self, name: str) -> None:
        (self._path / name).unlink(missing_ok=True)

    def close(self) -> None:
        try:
            self._path.rmdir()
        except OSError:  # it was never made, or an attempt that nobody waits for writes to it
            pass


def find_parts(results: Path) -> FolderParts:
    """Return where workers leave lines that share this machine's files: beside the results."""
    return FolderParts(results.with_name(f".{results.name}.parts"))
