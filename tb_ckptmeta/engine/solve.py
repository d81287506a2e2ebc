"""Solve for a builder's integer arguments by rebuilding it with some values. Runs in the caller's process."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tb_ckptmeta.core.arguments import Parameter, Scalar
from tb_ckptmeta.core.compare import compare
from tb_ckptmeta.core.contents import Contents
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.rebuilt import Rebuilt
from tb_ckptmeta.core.renames import Rename
from tb_ckptmeta.core.solve import (
    Proposal,
    Reading,
    describe_conflict,
    describe_evidence,
    follows,
    merge,
    propose,
    read_gaps,
)
from tb_ckptmeta.core.verdict import Verdict
from tb_ckptmeta.engine.process import OnSteps, Step
from tb_ckptmeta.engine.registry import RegisteredBuilder
from tb_ckptmeta.engine.verify import verify

_MOST_REBUILDS = 40
_MOST_ROUNDS = 16
_MOST_COMBINATIONS = 6
_MOST_DIMENSIONS = 4
# Powers of two first, which most architectures can be divided by.
_STARTS = (8, 16, 64, 128, 2, 4, 1)

# What a builder may say of one value, and not of another.
_REFUSALS = frozenset(
    {
        Code.BUILDER_FAILED,
        Code.BUILDER_EXITED,
        Code.BUILDER_OUT_OF_MEMORY,
        Code.TRACE_FAILED,
    }
)

Values = tuple[int, ...]
RebuildWith = Callable[[Mapping[str, Scalar]], Rebuilt]


@dataclass(frozen=True)
class Question:
    """What is asked: the arguments of `builder` named `unknown`, for a checkpoint that holds `contents`.

    `known`: the other arguments. `starts`: where to begin, for those that have a default or were recorded. `renames`:
    what was renamed since.
    """

    checkpoint: str
    contents: Contents
    builder: str
    parameters: Sequence[Parameter]
    known: Mapping[str, Scalar]
    unknown: Sequence[str]
    starts: Mapping[str, int]
    renames: Sequence[Rename] = ()


@dataclass(frozen=True)
class Solution:
    """The arguments that match, or why there are none.

    `determined`: the verdict with these arguments, and with no others near them, is a match. `reason` is a phrase for
    people; `verdict` is that of the nearest arguments where nothing is determined, None where nothing could be built.
    """

    arguments: Mapping[str, Scalar]
    determined: bool
    reason: str
    verdict: Verdict | None

    @property
    def note(self) -> str:
        """What a verdict says of arguments that were solved for."""
        return f"Solved for: {self.reason}."

    def as_json(self) -> dict[str, Any]:
        return {
            "arguments": dict(self.arguments),
            "determined": self.determined,
            "reason": self.reason,
            "verdict": None if self.verdict is None else self.verdict.as_json(),
        }


def solve(
    question: Question, rebuild: RebuildWith, *, settle: bool = False, on_steps: OnSteps | None = None
) -> Solution:
    """Find the unknown arguments, and prove them by a full verdict.

    Args:
        rebuild: runs the builder with all its arguments.
        settle: take the default of an argument that the checkpoint does not determine, if that default matches.

    Raises:
        CkptMetaError: what keeps the builder from being rebuilt whatever its arguments are, such as a time limit.
    """
    return _Search(question, rebuild, settle, on_steps).run()


def make_question(
    checkpoint: str,
    contents: Contents,
    builder: RegisteredBuilder,
    arguments: Mapping[str, Scalar],
    unknown: Sequence[str],
    renames: Sequence[Rename] = (),
) -> Question:
    """Ask for the unknown arguments of a builder; what they are by default or in `arguments` is where to begin."""
    parameters = builder.description.parameters
    defaults: dict[str, Scalar] = {p.name: p.default for p in parameters}
    guesses = {n: arguments.get(n, defaults.get(n)) for n in unknown}
    starts = {n: v for n, v in guesses.items() if isinstance(v, int) and not isinstance(v, bool)}
    known = {n: v for n, v in arguments.items() if n not in unknown}
    return Question(checkpoint, contents, builder.name, parameters, known, tuple(unknown), starts, renames)


class _Exhausted(Exception):
    """As many rebuilds have been made as one question may cost."""


class _Search:
    def __init__(self, question: Question, rebuild: RebuildWith, settle: bool, on_steps: OnSteps | None) -> None:
        self._question = question
        self._rebuild = rebuild
        self._settle = settle
        self._on_steps = on_steps
        self._tried: dict[Values, Reading | None] = {}
        self._models: dict[Values, Rebuilt] = {}
        self._refusal: CkptMetaError | None = None
        self._left = _MOST_REBUILDS
        sizes = Counter(n for t in question.contents.tensors.values() for n in t.shape if n > 1)
        self._dimensions = tuple(n for n, _ in sizes.most_common(_MOST_DIMENSIONS))

    def run(self) -> Solution:
        try:
            return self._run()
        except _Exhausted:
            return self._give_up(f"{_MOST_REBUILDS} rebuilds with other values have not found any that fits")

    def _run(self) -> Solution:
        current = self._begin()
        if current is None:
            assert self._refusal is not None
            first, *others = self._tried
            more = f" and {len(others)} other values" if others else ""
            return self._give_up(
                f"the builder cannot be run with {self._describe(first)}{more}: {_quote(self._refusal)}"
            )
        visited = {current}
        for _ in range(_MOST_ROUNDS):
            reading = self._tried[current]
            assert reading is not None
            if reading.fits:
                return self._prove(current)
            proposals = []
            for index in range(len(current)):
                self._vary(current, index)
                proposals.append(propose(self._seen(current, index)))
            following = self._step(current, proposals, visited)
            if following is None:
                return self._give_up(self._explain(current, proposals))
            visited.add(following)
            current = following
        return self._give_up(f"{_MOST_ROUNDS} steps have not led to a value that fits")

    def _begin(self) -> Values | None:
        """Return values to begin with that the builder takes: defaults, and for the others one value for all."""
        starts, unknown = self._question.starts, self._question.unknown
        for start in dict.fromkeys((*_STARTS, *self._dimensions)):
            values = tuple(starts.get(name, start) for name in unknown)
            if self._read(values) is not None:
                return values
        for start in _STARTS if starts else ():
            values = (start,) * len(unknown)
            if self._read(values) is not None:
                return values
        return None

    def _vary(self, current: Values, index: int) -> None:
        """Rebuild with other values of one argument until a shape follows it, or it seems that none does."""
        same = 0
        for value in self._others(current[index]):
            if follows(self._seen(current, index)) or same == 2:
                return
            same += self._read(_put(current, index, value)) is not None

    def _others(self, value: int) -> Iterator[int]:
        """Yield values to compare with; twice the value first, for what divides the value divides it, too."""
        near = (2 * value, 4 * value, value // 2, value + 1, value + 2, value - 1, 3 * value, *self._dimensions)
        yield from (v for v in dict.fromkeys(near) if v > 0 and v != value)

    def _step(self, current: Values, proposals: Sequence[Sequence[Proposal]], visited: set[Values]) -> Values | None:
        """Return the first combination of proposals that has not been the place to go on from, and can be built."""
        if not any(proposals):
            return None
        choices = [[p.value for p in found[:3]] or [now] for found, now in zip(proposals, current, strict=True)]
        ranked = sorted(itertools.product(*map(enumerate, choices)), key=lambda c: sum(rank for rank, _ in c))
        fresh = [values for c in ranked if (values := tuple(v for _, v in c)) not in visited]
        for values in fresh[:_MOST_COMBINATIONS]:
            if self._read(values) is not None:
                return values
        return None

    def _prove(self, current: Values) -> Solution:
        """Look whether the arguments are the only ones that match, next to them and where a divisor allows."""
        question = self._question
        defaults = {p.name: p.default for p in question.parameters if not p.required}
        solved: dict[str, int] = {}
        told: list[str] = []
        left_open: list[str] = []
        for index, name in enumerate(question.unknown):
            value = current[index]
            if self._settle and name in defaults and defaults[name] == value:
                continue
            for other in dict.fromkeys((value - 1, value + 1, 2 * value, value // 2)):
                if other > 0 and other != value:
                    self._read(_put(current, index, other), proving=True)
            seen = self._seen(current, index)
            rivals = [v for v, reading in seen.items() if v != value and reading.fits]
            if rivals and self._settle and question.starts.get(name) == value:
                solved[name] = value  # recorded
            elif not rivals and len(seen) > 1:
                solved[name] = value
                told.append(f"{name} = {value} ({describe_evidence(seen, value)})")
            elif not rivals:
                left_open.append(
                    f"{name} = {value} matches, but the builder takes no other value that was tried, to compare with"
                )
            elif not follows(seen):
                left_open.append(f"any value of {name} fits: it does not change any variable")
            else:
                fitting = sorted((*rivals, value))
                left_open.append(f"{len(fitting)} values of {name} match: {', '.join(map(str, fitting))}")
        if left_open:
            return self._give_up("; ".join(left_open), current)
        verdict = self._take_verdict(current, merge(question.known, solved, question.parameters))
        solution = Solution(verdict.arguments, True, "; ".join(told), verdict)
        if not told:
            return solution
        return replace(solution, verdict=replace(verdict, notes=[*verdict.notes, solution.note]))

    def _explain(self, current: Values, proposals: Sequence[Sequence[Proposal]]) -> str:
        """Say why no value fits."""
        told = []
        for index, name in enumerate(self._question.unknown):
            seen = self._seen(current, index)
            exact = [p for p in proposals[index] if p.exact]
            if len(exact) > 1:
                told.append(describe_conflict(name, exact, seen[current[index]]))
            elif len(seen) < 2:
                told.append(f"the builder takes no other value of {name} that was tried than {current[index]}")
            elif not follows(seen):
                told.append(f"{name} does not change any variable")
            elif exact and exact[0].value in seen:
                evidence = describe_evidence(seen, exact[0].value)
                told.append(f"{name} = {exact[0].value} ({evidence}) is not enough{self._suspect_others()}")
            elif exact:
                why = f": {_quote(self._refusal)}" if self._refusal is not None else ""
                told.append(
                    f"{name} = {exact[0].value} is what the checkpoint says, and the builder does not take it{why}"
                )
            elif not any(_differs(seen, gap) for reading in seen.values() for gap in reading.gaps):
                told.append(f"what {name} changes is bound to nothing in the checkpoint")
            else:
                tried = ", ".join(map(str, sorted(seen)))
                told.append(f"no whole number was found for {name} (tried: {tried})")
        return "; ".join(told)

    def _suspect_others(self) -> str:
        """Name the integers that were left at their defaults: they may be what is wrong."""
        question = self._question
        settled = {*question.known, *question.unknown}
        others = [p.name for p in question.parameters if p.annotation == "int" and p.name not in settled]
        return f"; perhaps its {' and '.join(others)} had no default value, either" if others else ""

    def _give_up(self, reason: str, current: Values | None = None) -> Solution:
        """Return that nothing is determined, with the verdict of `current`, or of what binds most."""
        question = self._question
        if current is None:
            current = max(self._models, key=self._count_bound, default=None)
        if current is None:
            return Solution(dict(question.known), False, reason, None)
        solved = dict(zip(question.unknown, current, strict=True))
        verdict = self._take_verdict(current, merge(question.known, solved, question.parameters))
        return Solution(dict(question.known), False, reason, verdict)

    def _count_bound(self, values: Values) -> int:
        reading = self._tried[values]
        return -1 if reading is None else reading.bound

    def _take_verdict(self, values: Values, arguments: Mapping[str, Scalar]) -> Verdict:
        question = self._question
        rebuilt = self._models[values]
        return verify(question.checkpoint, question.builder, arguments, rebuilt, question.contents, question.renames)

    def _read(self, values: Values, *, proving: bool = False) -> Reading | None:
        """Rebuild with these values, once; None where the builder does not take them."""
        if values in self._tried:
            return self._tried[values]
        if self._left <= 0 and not proving:
            raise _Exhausted
        self._left -= 1
        question = self._question
        if self._on_steps is not None:
            self._on_steps([Step(f"trying {self._describe(values)}", None)])
        solved = dict(zip(question.unknown, values, strict=True))
        try:
            rebuilt = self._rebuild(merge(question.known, solved, question.parameters))
        except CkptMetaError as error:
            if error.code not in _REFUSALS:
                raise
            self._refusal = error
            self._tried[values] = None
            return None
        self._models[values] = rebuilt
        reading = read_gaps(rebuilt, question.contents, compare(rebuilt, question.contents, question.renames))
        self._tried[values] = reading
        return reading

    def _seen(self, current: Values, index: int) -> dict[int, Reading]:
        """Return the readings by the value of one argument, the others as they are now."""
        return {
            values[index]: reading
            for values, reading in self._tried.items()
            if reading is not None and _put(values, index, current[index]) == current
        }

    def _describe(self, values: Values) -> str:
        return ", ".join(f"{n} = {v}" for n, v in zip(self._question.unknown, values, strict=True))


def _quote(error: CkptMetaError) -> str:
    """Return what an error says, to stand within a sentence."""
    return error.message.rstrip(".")


def _put(values: Values, index: int, value: int) -> Values:
    return (*values[:index], value, *values[index + 1 :])


def _differs(seen: Mapping[int, Reading], gap: tuple[str, int]) -> bool:
    return len({reading.gaps[gap] for reading in seen.values() if gap in reading.gaps}) > 1
