"""Find out what of a batch is left to do, given what its results hold. Runs in the caller's process."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from tb_ckptmeta.core.dependencies import Dependencies
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.engine.batch_claims import Claims, are_standing
from tb_ckptmeta.engine.batch_parts import Parts
from tb_ckptmeta.engine.batch_plan import Item, Task
from tb_ckptmeta.engine.batch_results import Outcome, Results
from tb_ckptmeta.engine.batch_sources import parse_sources
from tb_ckptmeta.engine.batch_withdraw import STANDING
from tb_ckptmeta.engine.batch_work import REFUSED, Line
from tb_ckptmeta.engine.current import Digests
from tb_ckptmeta.engine.registry import Builders

_SETTLED = (None, *(code.value for code in REFUSED))


@dataclass(frozen=True)
class Begun:
    """What a batch has to do.

    `left`: the items to carry out. `unconfirmed`: items whose line stays as it is from before, and nobody can tell
    whether it still holds, for the builder that it is of is not there now.
    """

    left: list[Item]
    unconfirmed: list[Item]


def begin(results: Results, items: Sequence[Item], builders: Builders, task: Task, *, overwrite: bool) -> Begun:
    """Find the items that the results do not hold, and take the lines away that hold no longer.

    An item is done again when its checkpoint, its pairing, the task, the installation or anything that its builder has
    read has changed, when its export has gone, and when it could not be done.

    Raises:
        CkptMetaError: OUTPUT_UNWRITABLE.
    """
    digests = Digests()

    @functools.cache  # thousands of lines are of one builder call
    def are_current(sources: str) -> bool:
        read = results.sources.get(sources)
        return read is not None and digests.are_current(read)

    left, unconfirmed = [], []
    for item in items:
        outcome = results.outcomes.get(item.checkpoint.prefix)
        if outcome is None or outcome.code not in _SETTLED:
            left.append(item)
        elif _has_lost_its_builder(outcome, item, builders):
            unconfirmed.append(item)
        elif not _is_standing(outcome, item, task) or outcome.sources is None or not are_current(outcome.sources):
            left.append(item)
    stale = {i.checkpoint.prefix for i in left} & results.outcomes.keys()
    if task.folder is not None:
        _claim(results, stale, task.folder)
        left = [replace(item, overwrite=overwrite) for item in left]
    results.drop(stale)
    return Begun(left, unconfirmed)


def end(results: Results, task: Task) -> None:
    """Forget what a batch had claimed, where a line tells of it now: it has come to its end, or was ended.

    What a batch has put to a place stays its own where no line tells of it: it may be replaced.

    Raises:
        CkptMetaError: OUTPUT_UNWRITABLE.
    """
    if task.folder is not None:
        Claims(task.folder).keep(o.files for o in results.outcomes.values() if o.files is not None)


def take_over(results: Results, parts: Parts, items: Sequence[Item], task: Task) -> None:
    """Put the lines into the results that workers elsewhere left in a batch which did not come to its end.

    Where there is a line already, the other one takes its place only when it holds now, and that one does not: it may
    be the older one.

    Raises:
        CkptMetaError: OUTPUT_UNWRITABLE; as `parts`.
    """
    with _naming_parts():
        _take_over(results, parts, items, task)


def begin_anew(results: Results, left: Sequence[Parts], task: Task) -> None:
    """Take away what is there, lines that workers elsewhere left for it too: not before these can be listed.

    The exports that these lines tell of stay a batch's own.

    Raises:
        CkptMetaError: OUTPUT_UNWRITABLE; as `left`.
    """
    with _naming_parts():
        names = [parts.list() for parts in left]
        if task.folder is not None:
            _claim_told(task.folder, results.earlier.values())
        results.clear()
        for parts, found in zip(left, names, strict=True):
            _forget(parts, found)


@contextlib.contextmanager
def _naming_parts() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        message = f"{error.filename}, where workers left lines, cannot be read or taken away: {error.strerror}."
        raise CkptMetaError(Code.OUTPUT_UNWRITABLE, f"{message} Mend that, or choose another output.") from error


def _forget(parts: Parts, names: Iterable[str]) -> None:
    for name in names:
        parts.forget(name)
    parts.close()


def _take_over(results: Results, parts: Parts, items: Sequence[Item], task: Task) -> None:
    planned, digests = {item.checkpoint.prefix: item for item in items}, Digests()

    def holds(outcome: Outcome, read: Dependencies | None) -> bool:
        item = planned.get(outcome.prefix)
        known = item is not None and outcome.code in _SETTLED and _is_standing(outcome, item, task)
        return known and read is not None and digests.are_current(read)

    taken: dict[str, Line] = {}
    names = parts.list()
    for line in filter(None, map(parts.read, names)):
        if not results.fit(line):
            continue
        outcome = Outcome.from_line(line)
        there = results.outcomes.get(outcome.prefix)
        if there is not None or outcome.prefix in taken:
            read = None if line["sources"] is None else parse_sources(line["sources"])
            if not holds(outcome, read):
                continue
            if there is not None and holds(there, results.sources.get(there.sources or "")):
                continue
        taken[outcome.prefix] = line
    lost = taken.keys() & results.outcomes.keys()
    if task.folder is not None:
        _claim(results, lost, task.folder)
    results.drop(lost)
    for line in taken.values():
        results.append(line)
    _forget(parts, names)


def _has_lost_its_builder(outcome: Outcome, item: Item, builders: Builders) -> bool:
    """Tell whether nothing better than a line could come of doing its item now.

    The checkpoint has no builder (its SPEC is not given or cannot be read, its pattern has changed), or another one,
    which may be for want of the line's own, as some SPEC cannot be read.
    """
    if item.checkpoint.pairing.builder is None:
        return True
    return bool(builders.problems) and outcome.builder not in builders.by_name


def _is_standing(outcome: Outcome, item: Item, task: Task) -> bool:
    """Tell whether a line is of what its item is now, and its export stands; what its builder has read apart."""
    if outcome.fingerprint != item.fingerprint:
        return False
    if task.folder is None:
        return True
    if outcome.code is not None:  # what stands at its place may have gone since, or be to be taken away
        return outcome.earlier != STANDING and (item.output is None or not stands(task.folder, item.output))
    if outcome.files is not None:
        return are_standing(task.folder, outcome.files)
    return outcome.output is not None and stands(task.folder, outcome.output)


def _claim(results: Results, prefixes: Iterable[str], folder: str) -> None:
    """Claim the exports that lines tell of, before these lines go: as they were made, whatever stands there now."""
    _claim_told(folder, [results.outcomes[prefix] for prefix in prefixes])


def _claim_told(folder: str, outcomes: Iterable[Outcome]) -> None:
    Claims(folder).add_told((o.prefix, o.files) for o in outcomes if o.files is not None)


def stands(folder: str, output: str) -> bool:
    """Tell whether an export, or the checkpoint of one, stands there."""
    path = os.path.join(folder, output)
    return any(os.path.lexists(p) for p in (path, f"{path}.index", f"{path.removesuffix('.meta')}.index"))
