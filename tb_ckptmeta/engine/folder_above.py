"""Find the folder above a logdir from which a builder's pattern would match. Runs in the caller's process.

Patterns are matched against the path below the logdir: whoever gives a run's own folder has left off what they begin
with. That is never guessed away, and said.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from tb_ckptmeta.core.checkpoint import Checkpoint
from tb_ckptmeta.core.globs import matches
from tb_ckptmeta.engine.registry import Builders

NO_MATCH = "no builder's pattern matches"

_HIGHEST = 8
"""How many folders above a logdir are tried."""


@dataclass(frozen=True)
class _Claim:
    """A pattern whose beginning is the folders above a logdir, and the `rest` of it, which is below."""

    builder: str
    pattern: str
    rest: str


@dataclass(frozen=True)
class _Above:
    """A folder above a logdir, the path of the logdir `below` it, and the patterns that begin with that path."""

    folder: str
    below: str
    claims: tuple[_Claim, ...]


class FoldersAbove:
    """Says of checkpoints that no pattern matches from which folder above their logdir one would."""

    def __init__(self, builders: Builders) -> None:
        self._builders = builders
        # Nearly always there is nothing above a logdir that a pattern begins with, and then there is nothing to do.
        self._known: dict[str, list[_Above]] = {}

    def describe(self, checkpoint: Checkpoint) -> str:
        """Return the reason why a checkpoint that no pattern matches has no builder."""
        logdir = _find_logdir(checkpoint)
        if logdir is None:
            return NO_MATCH
        found = self._known.get(logdir)
        if found is None:
            found = self._known[logdir] = list(self._find(logdir))
        path = checkpoint.pattern_path
        for above in found:
            claims = [c for c in above.claims if matches(c.rest, path)]
            if claims:
                firsts = {c.builder: c.pattern for c in reversed(claims)}
                told = ", ".join(f"{pattern} ({builder})" for builder, pattern in reversed(firsts.items()))
                return (
                    f"{NO_MATCH} the path below the logdir, {path}; below {above.folder} it is {above.below}/{path}, "
                    f"as in {told}: make that folder the logdir"
                )
        return NO_MATCH

    def _find(self, logdir: str) -> Iterator[_Above]:
        names = [name for name in logdir.split("/") if name]
        for count in range(1, min(len(names), _HIGHEST) + 1):
            below = "/".join(names[-count:])
            claims = tuple(
                _Claim(name, pattern, rest)
                for name, builder in self._builders.by_name.items()
                for pattern in builder.description.checkpoints
                for rest in _take_off(pattern, below)
            )
            if claims:
                yield _Above("/" + "/".join(names[:-count]), below, claims)


def _find_logdir(checkpoint: Checkpoint) -> str | None:
    """Return the path of the folder that patterns are matched below; None where that has a name, or is remote."""
    if checkpoint.listed is not None:
        return None
    folder = os.path.dirname(os.path.abspath(checkpoint.prefix)).replace(os.sep, "/")
    run = checkpoint.pattern_path.rpartition("/")[0]
    if not run:
        return folder
    return folder[: -len(run) - 1] if folder.endswith("/" + run) else None


def _take_off(pattern: str, below: str) -> Iterator[str]:
    """Yield what is left of a pattern whose beginning matches a path of folders."""
    segments = pattern.split("/")
    for count in range(1, len(segments) + 1):
        if not matches("/".join(segments[:count]), below):
            continue
        if count < len(segments):
            yield "/".join(segments[count:])
        if segments[count - 1] == "**":  # it may take in folders on both sides
            yield "/".join(segments[count - 1 :])
