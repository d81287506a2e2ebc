"""Pair checkpoints with builders by records and patterns; nothing is run. Runs in the caller's process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tb_ckptmeta.core.checkpoint import Checkpoint, Pairing
from tb_ckptmeta.core.globs import Accepts, match_folder, matches, matches_tail
from tb_ckptmeta.core.record import RecordedPairing
from tb_ckptmeta.engine.collection import collection_paused
from tb_ckptmeta.engine.folder_above import NO_MATCH, FoldersAbove
from tb_ckptmeta.engine.listing import Records, ScanReport
from tb_ckptmeta.engine.registry import Builders


def pair(checkpoint: Checkpoint, builders: Builders, records: Records = ()) -> Pairing:
    """Return the pairing of a checkpoint of a logdir: as recorded beside it, else by pattern."""
    return _Patterns(builders).pair(checkpoint, records)


_Paired = dict[str, tuple[Checkpoint, Records, Checkpoint]]
"""Id -> the checkpoint as it was listed, its records, and it with its pairing."""


class Pairer:
    """Pairs all that a scan has listed, and of the next scan only what is not the very same. Safe for threads."""

    def __init__(self) -> None:
        # Replaced in one piece: another thread's pairings are not to be taken for those with these builders.
        self._last: tuple[Builders, _Paired] = (Builders(), {})

    def pair(self, report: ScanReport, builders: Builders) -> list[Checkpoint]:
        """Return the checkpoints of a scan with their pairings, as `pair` gives them."""
        others, known = self._last
        if (builders.by_name, builders.complete) != (others.by_name, others.complete):
            known = {}
        found: _Paired = {}
        paired = []
        patterns = _Patterns(builders)
        with collection_paused():
            for checkpoint in report.checkpoints:
                records = report.find_records(checkpoint)
                last = known.get(checkpoint.id)
                if last is None or last[0] is not checkpoint or last[1] != records:
                    last = (checkpoint, records, checkpoint.with_pairing(patterns.pair(checkpoint, records)))
                found[checkpoint.id] = last
                paired.append(last[2])
        self._last = builders, found
        return paired


class _Patterns:
    """The builders' patterns, matched against a run once for all checkpoints that follow one another in it."""

    def __init__(self, builders: Builders) -> None:
        self._builders = builders
        self._folder: str | None = ""  # which no path has
        self._left: list[tuple[str, str, Accepts]] = []
        self._pairings: dict[tuple[tuple[str, str], ...], Pairing] = {}
        self._above = FoldersAbove(builders)

    def pair(self, checkpoint: Checkpoint, records: Records) -> Pairing:
        if isinstance(records, str):  # it may say otherwise than the patterns do
            return Pairing(None, {}, records, ())
        recorded = [r for r in records if matches(r.checkpoints, checkpoint.name)] if records else ()
        if recorded:
            return _pair_recorded(recorded, self._builders)
        above, slash, name = checkpoint.pattern_path.rpartition("/")
        folder = above if slash else None
        if folder != self._folder:
            self._enter(folder)
        claims = tuple([(builder, pattern) for builder, pattern, accepts in self._left if accepts(name)])
        pairing = self._pairings.get(claims)
        if pairing is None:
            if not claims and not self._builders.complete:
                pairing = Pairing(None, {}, "the builders are still being read", ())
            else:
                pairing = _pair_claims(dict(claims), self._builders)
            self._pairings[claims] = pairing
        if pairing.reason == NO_MATCH and (reason := self._above.describe(checkpoint)) != NO_MATCH:
            return Pairing(None, {}, reason, ())
        return pairing

    def _enter(self, folder: str | None) -> None:
        """Keep the patterns that some name in a folder may match."""
        self._folder = folder
        self._left = [
            (name, pattern, accepts)
            for name, builder in self._builders.by_name.items()
            for pattern in builder.description.checkpoints
            if (accepts := match_folder(pattern, folder)) is not None
        ]


def pair_bare(
    checkpoint: Checkpoint, builders: Builders, records: Sequence[RecordedPairing], explicit: Sequence[str]
) -> Pairing:
    """Return the pairing of a checkpoint given by its path: patterns match its tail, and an only builder needs none."""
    recorded = [r for r in records if matches(r.checkpoints, checkpoint.name)]
    if recorded:
        return _pair_recorded(recorded, builders)
    claims = {
        name: pattern
        for name, builder in builders.by_name.items()
        for pattern in builder.description.checkpoints
        if matches_tail(pattern, checkpoint.pattern_path)
    }
    if not claims and len(explicit) == 1:
        return Pairing(explicit[0], {}, "the only builder given", (explicit[0],))
    return _pair_claims(claims, builders)


def _pair_recorded(recorded: Sequence[RecordedPairing], builders: Builders) -> Pairing:
    first = recorded[0]
    if any((r.builder, r.arguments) != (first.builder, first.arguments) for r in recorded):
        names = tuple(dict.fromkeys(r.builder for r in recorded))
        return Pairing(None, {}, f"its record names several: {', '.join(names)}", names)
    if builders.complete and first.builder not in builders.by_name:
        return Pairing(
            None,
            first.arguments,
            f"its record names builder {first.builder!r}, which is not registered",
            (first.builder,),
        )
    return Pairing(first.builder, first.arguments, "recorded in ckptmeta.json", (first.builder,))


def _pair_claims(claims: Mapping[str, str], builders: Builders) -> Pairing:
    names = tuple(claims)
    if not names:
        reason = NO_MATCH if builders.by_name else "there are no builders"
        return Pairing(None, {}, reason, ())
    if len(names) > 1:
        shown = ", ".join(f"{name} ({pattern})" for name, pattern in claims.items())
        return Pairing(None, {}, f"{len(names)} builders claim it: {shown}", names)
    return Pairing(names[0], {}, f"pattern {claims[names[0]]}", names)
