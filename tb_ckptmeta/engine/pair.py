"""Pair checkpoints with builders by records and patterns; nothing is run. Runs in the caller's process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tb_ckptmeta.core.checkpoint import Checkpoint, Pairing
from tb_ckptmeta.core.globs import matches, matches_tail
from tb_ckptmeta.core.record import RecordedPairing
from tb_ckptmeta.engine.registry import Builders


def pair(checkpoint: Checkpoint, builders: Builders, records: Sequence[RecordedPairing] = ()) -> Pairing:
    """Return the pairing of a checkpoint of a logdir: as recorded beside it, else by pattern."""
    recorded = [r for r in records if matches(r.checkpoints, checkpoint.name)]
    if recorded:
        return _pair_recorded(recorded, builders)
    claims = {
        name: pattern
        for name, builder in builders.by_name.items()
        for pattern in builder.description.checkpoints
        if matches(pattern, checkpoint.pattern_path)
    }
    if not claims and not builders.complete:
        return Pairing(None, {}, "the builders are still being read", ())
    return _pair_claims(claims)


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
    return _pair_claims(claims)


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


def _pair_claims(claims: Mapping[str, str]) -> Pairing:
    names = tuple(claims)
    if not names:
        return Pairing(None, {}, "no builder's pattern matches", ())
    if len(names) > 1:
        shown = ", ".join(f"{name} ({pattern})" for name, pattern in claims.items())
        return Pairing(None, {}, f"{len(names)} builders claim it: {shown}", names)
    return Pairing(names[0], {}, f"pattern {claims[names[0]]}", names)
