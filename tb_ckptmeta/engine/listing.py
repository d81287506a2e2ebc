"""What a scan lists: of logdirs the checkpoints, in order, records and problems. Runs in the caller's process."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from operator import attrgetter
from typing import NamedTuple

from tb_ckptmeta.core.checkpoint import ROOT_RUN, Checkpoint
from tb_ckptmeta.core.record import RecordedPairing
from tb_ckptmeta.engine.folders import Told


@dataclass(frozen=True)
class Logdir:
    """One folder to scan; `name` comes before its runs (`--logdir_spec NAME:PATH`), or is empty."""

    name: str
    path: str

    def get_run(self, below: str) -> str:
        """Return the run that a folder is; `below`: its path below the logdir, with slashes."""
        return "/".join(part for part in (self.name, below.strip("/")) if part) or ROOT_RUN


Records = tuple[RecordedPairing, ...] | str
"""What the record of a folder says, or why nobody can tell."""


@dataclass
class ScanReport(Told):
    """What a scan found. `records`: folder -> what its record says."""

    checkpoints: list[Checkpoint] = field(default_factory=list)
    records: dict[str, Records] = field(default_factory=dict)

    def find_records(self, checkpoint: Checkpoint) -> Records:
        """Return what the record beside a checkpoint says; of two logdirs, runs of one name have each their own."""
        return self.records.get(os.path.dirname(checkpoint.prefix), ()) if self.records else ()


Order = tuple[tuple[int, int | str], ...]
"""What sorts names as people do: `run-9` before `run-10`."""


class Listing(NamedTuple):
    """The checkpoints that one folder holds, steps ascending, and what puts its run in order."""

    checkpoints: list[Checkpoint]
    order: Order


def make_listing(checkpoints: Iterable[Checkpoint], run: str) -> Listing:
    """Return the listing of a folder that is `run`; a temporary one counts to the run that its checkpoint has."""
    found = _sort_checkpoints(checkpoints)
    return Listing(found, _make_order(found[0].run if found else run))


def put_in_order(listings: Iterable[Listing]) -> Iterator[Checkpoint]:
    """Yield the checkpoints of all folders, runs in natural order, then by their steps."""
    runs: dict[Order, list[list[Checkpoint]]] = {}
    for listing in listings:
        runs.setdefault(listing.order, []).append(listing.checkpoints)
    for order in sorted(runs):
        # Two logdirs may have a run of one name, and a temporary folder counts to the run that it lies in.
        yield from runs[order][0] if len(runs[order]) == 1 else _sort_checkpoints(chain.from_iterable(runs[order]))


def _sort_checkpoints(checkpoints: Iterable[Checkpoint]) -> list[Checkpoint]:
    """Return checkpoints of one run, steps ascending; those of one step, or without any, by name in natural order."""
    found = list(checkpoints)
    steps = {checkpoint.step for checkpoint in found}
    if len(steps) == len(found) and None not in steps:
        return sorted(found, key=attrgetter("step"))
    return sorted(found, key=lambda c: (-1 if c.step is None else c.step, _make_order(c.name)))


def _make_order(text: str) -> Order:
    return tuple((0, int(p)) if p.isdigit() and p.isascii() else (1, p) for p in re.split(r"([0-9]+)", text))
