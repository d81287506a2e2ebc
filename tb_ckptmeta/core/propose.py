"""Find out what was renamed between a checkpoint and a model, as rules for a person to review. Runs anywhere.

Layers that are saved by their places in a list are aligned first. For the rest, each variable that is left over votes
with each key of its shape and dtype for the rule that would make the one's path the other's; the rule with most votes
is proposed, and what two rules claim alike is called ambiguous. A rule is proposed only where comparing under it binds
more.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tb_ckptmeta.core.align import align_lists
from tb_ckptmeta.core.compare import Comparison, compare
from tb_ckptmeta.core.contents import Contents
from tb_ckptmeta.core.leftovers import (
    Alike,
    Leftover,
    Leftovers,
    find_leftovers,
    group_by_kind,
    liken,
    list_saved_paths,
)
from tb_ckptmeta.core.legacy import is_older
from tb_ckptmeta.core.rebuilt import Rebuilt
from tb_ckptmeta.core.renames import Path, Rename, Renaming, can_be_written
from tb_ckptmeta.core.verdict import MATCH
from tb_ckptmeta.core.walk import agrees

_MOST_ROUNDS = 4
_MOST_PAIRS = 2_500
"""How many pairs of one shape vote; where there are more, each key votes with the variables most like it."""
_MOST_RIVALS = 6
_MOST_AMBIGUOUS = 100

Rules = tuple[Rename, ...]
_NUMBER = re.compile(r"\d+|layer_with_weights-\d+")


@dataclass(frozen=True)
class Proposal:
    """Rules that would bind more, for the verdict's `renames`, and what is `ambiguous`: {"from", "to": [likeliest
    first…], "count"}. `status`, `comparison`: what the rules would make of the verdict."""

    renames: Rules = ()
    rows: list[dict[str, Any]] = field(default_factory=list)
    ambiguous: list[dict[str, Any]] = field(default_factory=list)
    status: str | None = None
    comparison: Comparison | None = None


def propose_renames(
    rebuilt: Rebuilt, contents: Contents, found: Comparison, leftovers: Leftovers, applied: Sequence[Rename] = ()
) -> Proposal:
    """Return what would make more of the model match than `found`, the comparison under the rules `applied`."""
    if found.status == MATCH or contents.is_keras_file or not leftovers.model or not leftovers.saved:
        return Proposal()
    proposed: list[Rename] = []
    ambiguous: list[dict[str, Any]] = []
    best, left = found, leftovers

    def accept(rules: Iterable[Rename]) -> bool:
        nonlocal best, left
        taken = {rule.source for rule in (*applied, *proposed)}
        new = [rule for rule in dict.fromkeys(rules) if rule.source not in taken and can_be_written(rule)]
        trial = compare(rebuilt, contents, [*applied, *proposed, *new]) if new else best
        if trial.bound <= best.bound:
            return False
        proposed.extend(new)
        best, left = trial, find_leftovers(rebuilt, contents, trial)
        return True

    accept(align_lists(rebuilt, contents, found))
    same = _is_same_across_keras if is_older(rebuilt, contents) else _is_same
    for _ in range(_MOST_ROUNDS):
        ballot = _vote(left, contents, same)
        ambiguous = ballot.ambiguous
        if best.status == MATCH or not accept(ballot.rules):
            break
    rows = count_bound(rebuilt, contents, best, proposed)
    useful = [row for row in rows if row["count"]]
    return Proposal(tuple(proposed), useful, [] if best.status == MATCH else ambiguous, best.status, best)


def count_bound(
    rebuilt: Rebuilt, contents: Contents, found: Comparison, renames: Sequence[Rename]
) -> list[dict[str, Any]]:
    """Return for each rule how many of the variables that the graph reads are bound through it, `of` how many keys that
    it renames."""
    if not renames:
        return []
    variables = {key: rebuilt.variables[i] for i, key in found.binding.items() if rebuilt.variables[i].read}
    bound = {key for key, v in variables.items() if agrees(v, contents.tensors[key])}
    renaming = Renaming(renames)
    counts: Counter[Rename] = Counter()
    totals: Counter[Rename] = Counter()
    for key, path in list_saved_paths(contents, found).items():
        used = set(renaming.apply(path)[1])
        totals.update(used)
        counts.update(used if key in bound else ())
    return [
        {"from": r.describe_source(), "to": r.describe_target(), "count": counts[r], "of": totals[r]} for r in renames
    ]


@dataclass(frozen=True)
class _Ballot:
    rules: list[Rename]
    ambiguous: list[dict[str, Any]]


def _vote(left: Leftovers, contents: Contents, same: Callable[[str, str], bool]) -> _Ballot:
    votes: dict[Rules, list[tuple[Leftover, Leftover]]] = defaultdict(list)
    models = group_by_kind(left.model)
    saved = group_by_kind(leftover for leftover in left.saved if not _is_beside(leftover, contents))
    for kind, keys in saved.items():
        variables = Alike(models.get(kind, ()))
        many = len(keys) * len(variables.all) > _MOST_PAIRS
        for key in keys:
            for variable in variables.find(key.path, _MOST_RIVALS) if many else variables.all:
                rules = _substitute(key.path, variable.path, same)
                if rules and not _renumbers(rules):
                    votes[rules].append((key, variable))
    return _elect(votes)


def _is_beside(leftover: Leftover, contents: Contents) -> bool:
    """Tell whether a name-based key stands beside another one of its shape, as an optimizer's slot does."""
    owner = contents.tensors.get("/".join(leftover.path[:-1]))
    return owner is not None and owner.shape == leftover.kind[0]


def _elect(votes: dict[Rules, list[tuple[Leftover, Leftover]]]) -> _Ballot:
    """Take the rules with most votes first; of as many votes, the fewest rules. What has rivals of its rank is open."""
    ranked: dict[tuple[int, int], list[Rules]] = defaultdict(list)
    for rules, pairs in votes.items():
        ranked[-len(pairs), len(rules)].append(rules)
    settled: set[str] = set()  # names of both sides that are spoken for, or open between rivals
    elected: list[Rename] = []
    open_: dict[str, list[tuple[float, Rules, int]]] = defaultdict(list)
    for rank in sorted(ranked):
        standing = [r for r in ranked[rank] if not any(_names(pair) & settled for pair in votes[r])]
        claims = Counter(name for r in standing for name in {n for pair in votes[r] for n in _names(pair)})
        for rules in standing:
            names = {n for pair in votes[rules] for n in _names(pair)}
            if all(claims[name] == 1 for name in names):
                elected += rules
            elif all(a.path[-1:] == b.path[-1:] for a, b in votes[rules]):  # what else they may be is anybody's guess
                likeness = sum(liken(a.path, b.path) for a, b in votes[rules]) / len(votes[rules])
                sources = " and ".join(rule.describe_source() for rule in rules)
                open_[sources].append((likeness, rules, len(votes[rules])))
        settled.update(claims)
    ambiguous = [
        {
            "from": sources,
            "to": [" and ".join(rule.describe_target() for rule in rules) for _, rules, _ in sorted(rivals, key=_rank)],
            "count": max(count for _, _, count in rivals),
        }
        for sources, rivals in open_.items()
    ]
    return _Ballot(elected, ambiguous[:_MOST_AMBIGUOUS])


def _rank(rival: tuple[float, Rules, int]) -> tuple[float, list[str]]:
    return -rival[0], [str(rule) for rule in rival[1]]


def _names(pair: tuple[Leftover, Leftover]) -> set[str]:
    return {"saved:" + pair[0].name, "model:" + pair[1].name}


def _renumbers(rules: Rules) -> bool:
    """Tell whether a rule gives a layer another place in a list, which votes cannot settle, but an alignment can."""
    return any(
        [s for s in rule.source if not _NUMBER.fullmatch(s)] == [t for t in rule.target if not _NUMBER.fullmatch(t)]
        for rule in rules
    )


def _is_same(one: str, other: str) -> bool:
    return one == other


def _is_same_across_keras(one: str, other: str) -> bool:
    return one.lstrip("_") == other.lstrip("_")


def _substitute(saved: Path, model: Path, same: Callable[[str, str], bool]) -> Rules:
    """Return the smallest rules that make `model` of `saved`: one, or several where they agree in between."""
    shortest = min(len(saved), len(model))
    start = 0
    while start < shortest and same(saved[start], model[start]):
        start += 1
    end = 0
    while end < shortest - start and same(saved[-1 - end], model[-1 - end]):
        end += 1
    source, target = saved[start : len(saved) - end], model[start : len(model) - end]
    before = saved[:start]
    if set(source) & set(target):
        blocks = difflib.SequenceMatcher(None, source, target, False).get_opcodes()
        parts = [(source[i:j], target[k:m]) for tag, i, j, k, m in blocks if tag != "equal"]
        if all(s for s, _ in parts):  # what is inserted needs a neighbour to be inserted after
            return tuple(Rename(s, t) for s, t in parts)
    # A number says nothing without the list it is a place in, and what is inserted, nothing without what precedes it.
    while before and (not source or source[0].isdigit() or (target[:1] and target[0].isdigit())):
        source, target, before = (before[-1], *source), (before[-1], *target), before[:-1]
    return (Rename(source, target),) if source != target else ()
