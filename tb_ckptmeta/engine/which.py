"""Find out which builder a checkpoint belongs to, by the verdict of every one. Runs in the caller's process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from tb_ckptmeta.core.arguments import Parameter, Scalar, check_arguments
from tb_ckptmeta.core.contents import Contents
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.rebuilt import Rebuilt
from tb_ckptmeta.core.solve import MOST_UNKNOWN, is_solvable
from tb_ckptmeta.core.verdict import ERROR, MATCH, Verdict
from tb_ckptmeta.engine.process import OnSteps, Step
from tb_ckptmeta.engine.registry import RegisteredBuilder
from tb_ckptmeta.engine.solve import Solution, make_question, solve
from tb_ckptmeta.engine.verify import make_error_verdict, verify

_AT_A_TIME = 2
_MOST_SOLVED = 8

RebuildBuilder = Callable[[RegisteredBuilder, Mapping[str, Scalar]], Rebuilt]


@dataclass(frozen=True)
class Candidate:
    """One builder's verdict.

    `solved` says where arguments come from that were solved for. `determined`: no other values of them match, too.
    """

    verdict: Verdict
    solved: str = ""
    determined: bool = True

    @property
    def builder(self) -> str:
        assert self.verdict.builder is not None
        return self.verdict.builder

    @property
    def matches(self) -> bool:
        """Whether it is a full match that has compared something."""
        return self.verdict.status == MATCH and self.verdict.bound > 0

    @property
    def is_alike(self) -> bool:
        """Whether it does not match, but something of it is bound: then other arguments may make it match."""
        return not self.matches and (self.verdict.bound > 0 or bool(self.verdict.shape_mismatches))

    @property
    def rank(self) -> tuple[Any, ...]:
        """What candidates are sorted by, the best first."""
        v = self.verdict
        conflicts = len(v.shape_mismatches) + len(v.dtype_mismatches)
        return (
            v.status == ERROR,
            not self.matches,
            not self.determined,
            -v.bound,
            len(v.missing) + len(v.unexpected) + conflicts,
        )

    def as_json(self) -> dict[str, Any]:
        v = self.verdict
        return {
            "builder": self.builder,
            "arguments": dict(v.arguments),
            "status": v.status,
            "variables": v.variables,
            "bound": v.bound,
            "missing": len(v.missing),
            "unexpected": len(v.unexpected),
            "reason": v.summary() + (f"; {self.solved}" if self.solved else ""),
            "error": None if v.error is None else v.error.as_json(),
        }


@dataclass(frozen=True)
class Ranking:
    """Every builder's candidate, the best first; `proposed` is the only match, None where there is none or several.

    `reason` is a sentence for people.
    """

    checkpoint: str
    candidates: tuple[Candidate, ...]
    proposed: Candidate | None
    reason: str

    def as_json(self) -> dict[str, Any]:
        proposed = self.proposed
        return {
            "checkpoint": self.checkpoint,
            "candidates": [c.as_json() for c in self.candidates],
            "proposed": None
            if proposed is None
            else {
                "builder": proposed.builder,
                "arguments": dict(proposed.verdict.arguments),
                "reason": self.reason,
            },
            "reason": self.reason,
        }


def rank_builders(
    checkpoint: str,
    contents: Contents,
    builders: Sequence[RegisteredBuilder],
    rebuild: RebuildBuilder,
    *,
    recorded: Mapping[str, Mapping[str, Scalar]] | None = None,
    on_steps: OnSteps | None = None,
) -> Ranking:
    """Take the verdict of every builder, with its defaults, and where none matches with the integers that would.

    Args:
        recorded: the arguments to begin with instead of the defaults, by builder.
    """
    asker = _Asker(checkpoint, contents, rebuild, recorded or {}, _Progress(on_steps))
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        candidates = list(pool.map(asker.take, builders))
        if not any(c.matches and not c.solved for c in candidates):
            by_name = {b.name: b for b in builders}
            likely = sorted((c for c in candidates if c.is_alike), key=lambda c: c.rank)
            again = [c for c in likely if asker.find_integers(by_name[c.builder])][:_MOST_SOLVED]
            solved = {c.builder: c for c in pool.map(asker.solve, again, [by_name[c.builder] for c in again])}
            candidates = [solved.get(c.builder, c) for c in candidates]
    candidates.sort(key=lambda c: (c.rank, c.builder))
    matching = [c for c in candidates if c.matches]
    proposed = matching[0] if len(matching) == 1 and matching[0].determined else None
    return Ranking(checkpoint, tuple(candidates), proposed, _explain(candidates, matching))


def _explain(candidates: Sequence[Candidate], matching: Sequence[Candidate]) -> str:
    count = f"{len(candidates)} builder{'s' if len(candidates) > 1 else ''}"
    if len(matching) == 1:
        (only,) = matching
        if not only.determined:
            return f"Of {count}, {only.builder} alone matches, but not with one set of arguments alone: {only.solved}."
        counts = f"{only.verdict.bound} of {only.verdict.variables}"
        solved = f", with {only.solved}" if only.solved else ""
        who = "The only builder that is registered" if len(candidates) == 1 else f"The only one of {count} that"
        return f"{who} matches: {counts} variables bound{solved}."
    if matching:
        alike = len({c.verdict.bound for c in matching}) == 1
        shown = ", ".join(f"{c.builder} ({c.verdict.bound} of {c.verdict.variables} variables)" for c in matching)
        return (
            f"{len(matching)} builders match{' equally' if alike else ''}, and the checkpoint does not tell which is "
            f"meant: {shown}."
        )
    best = candidates[0]
    if best.verdict.status == ERROR:
        return f"None of {count} could be compared."
    if len(candidates) == 1:
        return f"The only builder that is registered, {best.builder}, does not match: {best.verdict.summary()}."
    nearest = f"{best.builder} ({best.verdict.bound} of {best.verdict.variables} variables bound)"
    return f"None of {count} matches; the nearest is {nearest}."


@dataclass
class _Progress:
    """The builders at work and those that are done, as steps."""

    on_steps: OnSteps | None
    _running: dict[str, str] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, builder: str, what: str = "") -> None:
        with self._lock:
            self._running[builder] = f"{builder}: {what}" if what else builder
            self._tell()

    def end(self, builder: str) -> None:
        with self._lock:
            self._running.pop(builder, None)
            self._tell()

    def _tell(self) -> None:
        if self.on_steps is not None:
            self.on_steps([Step(name, None) for name in self._running.values()])


@dataclass(frozen=True)
class _Asker:
    """Asks builders, each for its verdict."""

    checkpoint: str
    contents: Contents
    rebuild: RebuildBuilder
    recorded: Mapping[str, Mapping[str, Scalar]]
    progress: _Progress

    def take(self, builder: RegisteredBuilder) -> Candidate:
        """Return the verdict with recorded and default arguments; integers that are required are solved for."""
        arguments = self.recorded.get(builder.name, {})
        needed = [p for p in builder.description.parameters if p.required and p.name not in arguments]
        if needed and not all(is_solvable(p) for p in needed):
            return self._fail(builder, needed)
        self.progress.begin(builder.name)
        try:
            given = {
                **arguments,
                **dict.fromkeys((p.name for p in needed), 1),
            }  # any integer, to see that the rest fits
            check_arguments(builder.name, builder.description.parameters, given)
            if needed:
                return self._solve(builder, arguments, [p.name for p in needed])
            rebuilt = self.rebuild(builder, arguments)
        except CkptMetaError as error:
            return Candidate(make_error_verdict(self.checkpoint, builder.name, arguments, error))
        finally:
            self.progress.end(builder.name)
        return Candidate(verify(self.checkpoint, builder.name, arguments, rebuilt, self.contents))

    def solve(self, candidate: Candidate, builder: RegisteredBuilder) -> Candidate:
        """Return the match with other integers; where there is none, `candidate` with the reason."""
        names = [p.name for p in self.find_integers(builder)]
        arguments = self.recorded.get(builder.name, {})
        self.progress.begin(builder.name)
        try:
            found = self._solve(builder, arguments, names)
        except CkptMetaError:
            return candidate  # its verdict is what can be said
        finally:
            self.progress.end(builder.name)
        return found if found.matches else candidate

    def find_integers(self, builder: RegisteredBuilder) -> list[Parameter]:
        """Return the parameters that may be solved for: integers, and what is required and may be one."""
        parameters = builder.description.parameters
        return [p for p in parameters if not p.open and is_solvable(p) and (p.annotation or p.required)][:MOST_UNKNOWN]

    def _solve(self, builder: RegisteredBuilder, arguments: Mapping[str, Scalar], unknown: Sequence[str]) -> Candidate:
        """Return the candidate with the unknown arguments solved for."""

        def tell(steps: list[Step]) -> None:
            for step in steps:
                self.progress.begin(builder.name, step.name)

        question = make_question(self.checkpoint, self.contents, builder, arguments, unknown)
        solution = solve(question, lambda given: self.rebuild(builder, given), settle=True, on_steps=tell)
        return _make_candidate(self.checkpoint, builder.name, solution)

    def _fail(self, builder: RegisteredBuilder, needed: Sequence[Parameter]) -> Candidate:
        names = ", ".join(p.name for p in needed)
        error = CkptMetaError(
            Code.INVALID_ARGUMENTS,
            f"Builder {builder.name!r} needs {names}, which is not known; only integers are solved for.",
        )
        return Candidate(make_error_verdict(self.checkpoint, builder.name, {}, error))


def _make_candidate(checkpoint: str, builder: str, solution: Solution) -> Candidate:
    if solution.verdict is None:
        error = CkptMetaError(Code.NOT_DETERMINED, f"Builder {builder!r}: {solution.reason}.")
        return Candidate(make_error_verdict(checkpoint, builder, {}, error))
    return Candidate(solution.verdict, solution.reason, solution.determined)
