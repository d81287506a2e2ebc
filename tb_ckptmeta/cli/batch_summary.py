"""Sum a batch up, for people and for programs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tb_ckptmeta.cli.output import clean, print_table
from tb_ckptmeta.cli.verify import PAIRING_CODES
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.verdict import ERROR, MATCH, MISMATCH, PARTIAL
from tb_ckptmeta.engine.batch_others import Others
from tb_ckptmeta.engine.batch_results import Outcome

_STATUSES = (MATCH, PARTIAL, MISMATCH, ERROR)
_EXPORTED = "exported"
# An error is no verdict: it may be gone the next time. A match is here what failed its check, or found no place.
_ORDER = {status: place for place, status in enumerate((MISMATCH, PARTIAL, MATCH, ERROR))}
_MOST_REASONS = 20
_MOST_NAMED = 3
# They say no, and nothing has failed.
_NO = {code.value for code in (*PAIRING_CODES, Code.NOT_MATCHING, Code.CHECK_FAILED)}


@dataclass(frozen=True)
class Summary:
    """How a batch went.

    `unconfirmed`: outcomes from before of which nobody can tell whether they still hold, and which are not counted.
    `earlier`: how many of `outcomes` were there already; `lost`: how many are missing. `problems`: why builders could
    not be read, or something not be looked at. `others`: lines that are of none of these checkpoints. `exports`:
    whether it exports.
    """

    path: Path
    outcomes: Sequence[Outcome]
    unconfirmed: Sequence[Outcome]
    earlier: int
    lost: int
    problems: Sequence[CkptMetaError]
    others: Others = field(default_factory=Others)
    exports: bool = False

    @property
    def failures(self) -> list[Outcome]:
        return [o for o in self.outcomes if not o.agrees]

    @property
    def status(self) -> int:
        """The exit status: 0 all agree, 1 some say no, 3 something could not be done."""
        if (
            self.lost
            or self.unconfirmed
            or self.problems
            or any(o.code is not None and o.code not in _NO for o in self.outcomes)
        ):
            return 3
        return 1 if self.failures else 0

    @property
    def columns(self) -> tuple[str, ...]:
        """What is counted: the verdicts, which add up to all, and what was exported."""
        return (*_STATUSES, _EXPORTED) if self.exports else _STATUSES

    def count(self) -> dict[str, Counter[str]]:
        """Return builder -> column -> how many; the builder is `-` where there is none."""
        counts: dict[str, Counter[str]] = {}
        for outcome in self.outcomes:
            count = counts.setdefault(outcome.builder or "-", Counter())
            count[outcome.status] += 1
            count[_EXPORTED] += outcome.is_exported
        return dict(sorted(counts.items()))

    def as_json(self) -> dict[str, Any]:
        counts = self.count()
        total = sum(counts.values(), Counter())
        return {
            "output": str(self.path),
            "checkpoints": len(self.outcomes) + len(self.unconfirmed) + self.lost,
            "earlier": self.earlier,
            "statuses": {s: total[s] for s in _STATUSES},
            **({_EXPORTED: total[_EXPORTED]} if self.exports else {}),
            "builders": {b: {s: c[s] for s in self.columns} for b, c in counts.items()},
            "failures": [_as_row(o) for o in self.failures],
            "unconfirmed": [_as_row(o) for o in self.unconfirmed],
            "problems": [p.as_json() for p in self.problems],
            "others": {
                "dropped": self.others.dropped,
                "gone": [_as_row(o) for o in self.others.gone],
                "unasked": [_as_row(o) for o in self.others.unasked],
                "standing": sorted(self.others.standing),
            },
        }


def _as_row(outcome: Outcome) -> dict[str, Any]:
    return {name: getattr(outcome, name) for name in ("prefix", "builder", "status", "code", "summary", "earlier")}


def print_summary(summary: Summary) -> None:
    """Print what came of a batch: a table by builder, then what says no, by name."""
    counts = summary.count()
    rows = [_make_row(name, count, summary.columns) for name, count in counts.items()]
    if len(rows) > 1:
        total = sum(counts.values(), Counter())
        rows.append(_make_row("all", total, summary.columns))
    if rows:
        print_table(("BUILDER", "CHECKPOINTS", *(c.upper() for c in summary.columns)), rows)
    _print_outcomes(summary.failures)
    earlier = f", {summary.earlier} of them from before" if summary.earlier else ""
    count = len(summary.outcomes)
    print(clean(f"{count} checkpoint{'s' * (count != 1)} in {summary.path}{earlier}."))
    if summary.unconfirmed:
        names = ", ".join(sorted({o.builder or "-" for o in summary.unconfirmed}))
        count = len(summary.unconfirmed)
        what = "1 more line from before stays" if count == 1 else f"{count} more lines from before stay"
        print(clean(f"{what} unconfirmed: the builder is not there now ({names})."))
        _print_outcomes(summary.unconfirmed)
    _print_others(summary.others)


def _print_others(others: Others) -> None:
    """Say which lines are of other checkpoints, or were; named are those that are gone, for nobody asked for that."""
    for outcomes, what in ((others.gone, "gone from the logdirs"), (others.unasked, "not asked for")):
        if not outcomes:
            continue
        one, standing = len(outcomes) == 1, sum(o.output in others.standing for o in outcomes)
        lines = f"{len(outcomes)} more line{'' if one else 's'}"
        are = (
            ("was dropped, which was" if one else "were dropped, which were")
            if others.dropped
            else "is"
            if one
            else "are"
        )
        text = f"{lines} {are} of {'a checkpoint' if one else 'checkpoints'} {what}"
        if standing:
            text += ", and its export stands" if one else f", and {standing} of their exports stand"
        print(f"{text}{':' if outcomes is others.gone else '.'}")
        if outcomes is others.gone:
            _print_outcomes(outcomes)


def _make_row(name: str, count: Counter[str], columns: Sequence[str]) -> list[str]:
    return [name, str(count.total() - count[_EXPORTED]), *(str(count[c]) for c in columns)]


def _print_outcomes(outcomes: Sequence[Outcome]) -> None:
    """Print what outcomes say, each builder's reason once: one that hangs must not hide a mismatch behind it."""
    groups = _group(outcomes)
    for group in groups[:_MOST_REASONS]:
        first, names = group[0], ", ".join(o.title for o in group[:_MOST_NAMED])
        if len(group) > 1:
            names = f"{len(group)}: {names}{', …' * (len(group) > _MOST_NAMED)}"
        print(clean(f"  {names}  {first.builder or '-'}  {first.summary}"))
    if len(groups) > _MOST_REASONS:
        rest = groups[_MOST_REASONS:]
        print(f"  … and {sum(map(len, rest))} more, for {len(rest)} other reasons (--json lists all)")


def _group(outcomes: Sequence[Outcome]) -> list[list[Outcome]]:
    """Return outcomes of one builder that say the same, their own names apart, together; the worst verdicts first."""
    groups: dict[tuple[str, str], list[Outcome]] = {}
    for outcome in sorted(outcomes, key=lambda o: _ORDER.get(o.status, len(_ORDER))):
        said = outcome.summary
        for name in (outcome.prefix, outcome.title, outcome.title.rpartition("/")[2]):
            if name in said:
                said = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", "\0", said)
        groups.setdefault((outcome.builder or "-", said), []).append(outcome)
    return list(groups.values())
