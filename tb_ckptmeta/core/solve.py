"""Find the integer that a builder's argument must have, from how shapes follow it. Pure. Runs anywhere.

The builder is a black box: it is rebuilt with some values, and each time its model is compared with the checkpoint.
What differs then is a gap, a whole number that the right value closes: the model's dimension less the checkpoint's, for
every dimension of every bound variable; and the number of variables that are missing less those that are left over,
which is how a depth shows. Through two values of an argument goes a line, and where it meets zero is what that gap
proposes. Where the dimension does not follow a line, another rebuild at the place proposed gives a better one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from tb_ckptmeta.core.arguments import Parameter, Scalar, describe_signature
from tb_ckptmeta.core.compare import Comparison
from tb_ckptmeta.core.contents import Contents
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.rebuilt import Rebuilt
from tb_ckptmeta.core.verdict import MATCH

UNKNOWN = "?"
"""What stands for the value of an argument that is to be found."""

MOST_UNKNOWN = 8
"""How many arguments are solved for at a time: each takes rebuilds of its own."""

Gap = tuple[str, int]
"""A checkpoint key and one of its axes; `COUNT` for the number of variables."""
COUNT: Gap = ("", -1)


@dataclass(frozen=True)
class Reading:
    """What one rebuild has in common with the checkpoint.

    `fits`: a full match that has compared something. `bound`: as in the verdict. `gaps`: how far each dimension is from
    the checkpoint's. `stored`: checkpoint key -> the name of the variable bound to it, and the shape it is stored with.
    `shapes`: those of all variables of the model, bound or not. `keys`: how many the model's part of the checkpoint
    has.
    """

    fits: bool
    bound: int
    gaps: Mapping[Gap, int]
    stored: Mapping[str, tuple[str, tuple[int, ...]]]
    shapes: tuple[str, ...]
    keys: int


@dataclass(frozen=True)
class Proposal:
    """A value that some gaps propose; `exact` where a line through two rebuilds meets zero at a whole number."""

    value: int
    exact: bool
    gaps: tuple[Gap, ...]


def is_solvable(parameter: Parameter) -> bool:
    """Tell whether an argument is an integer, by annotation or default, or may be one for all that is known."""
    return parameter.annotation == "int" or (parameter.annotation is None and parameter.default is None)


def split_unknown(parameters: Sequence[Parameter], texts: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """Return the names of the arguments given as `?`, and the other texts; for a string `?` is a text as any other."""
    by_name = {p.name: p for p in parameters}
    unknown = [n for n, t in texts.items() if t == UNKNOWN and is_solvable(by_name.get(n, Parameter(n)))]
    return unknown, {n: t for n, t in texts.items() if n not in unknown}


def check_unknown(builder: str, parameters: Sequence[Parameter], unknown: Sequence[str]) -> None:
    """Make sure that every unknown argument is one that can be solved for, and that they are not too many.

    Raises:
        CkptMetaError: INVALID_ARGUMENTS, naming those that cannot.
    """
    by_name = {p.name: p for p in parameters if not p.open}
    takes_any = any(p.open for p in parameters)
    wrong = []
    if len(unknown) > MOST_UNKNOWN:
        wrong.append(f"at most {MOST_UNKNOWN} arguments are solved for at a time, not {len(unknown)}")
    for name in unknown:
        parameter = by_name.get(name, Parameter(name) if takes_any else None)
        if parameter is None:
            wrong.append(f"there is no parameter {name!r}")
        elif not is_solvable(parameter):
            wrong.append(f"{name} is no integer, and only an integer is solved for")
    if wrong:
        takes = describe_signature(parameters) or "no arguments"
        raise CkptMetaError(
            Code.INVALID_ARGUMENTS, f"Builder {builder!r} cannot be solved so: {'; '.join(wrong)}. It takes: {takes}."
        )


def read_gaps(rebuilt: Rebuilt, contents: Contents, found: Comparison) -> Reading:
    """Return what a comparison says about the arguments that the model was rebuilt with."""
    gaps: dict[Gap, int] = {COUNT: len(found.missing) - len(found.unexpected)}
    stored: dict[str, tuple[str, tuple[int, ...]]] = {}
    for index, key in found.binding.items():
        variable, held = rebuilt.variables[index], contents.tensors[key].shape
        stored[key] = (variable.name, held)
        if variable.shape is None or len(variable.shape) != len(held):
            continue
        for axis, (model, checkpoint) in enumerate(zip(variable.shape, held, strict=True)):
            if model is not None:
                gaps[key, axis] = model - checkpoint
    return Reading(
        found.status == MATCH and found.bound > 0,
        found.bound,
        gaps,
        stored,
        tuple(sorted(f"{v.shape} {v.dtype}" for v in rebuilt.variables)),
        len(set(found.binding.values())) + len(found.unexpected),
    )


def propose(seen: Mapping[int, Reading]) -> list[Proposal]:
    """Return the values that rebuilds with different values of one argument propose, the best first.

    Where the number of variables follows the argument, it alone decides: while it is wrong, variables may be bound to
    keys of others, and their shapes say nothing.
    """
    gaps = {gap for reading in seen.values() for gap in reading.gaps}
    if not _changes_count(seen):
        gaps.discard(COUNT)
    roots: dict[tuple[bool, int], list[Gap]] = {}
    for gap in sorted(gaps):
        points = {value: reading.gaps[gap] for value, reading in seen.items() if gap in reading.gaps}
        root = _find_root(points)
        if root is None or root[1] < 0:
            continue
        if gap == COUNT:
            return [Proposal(root[1], root[0], (COUNT,))]
        roots.setdefault(root, []).append(gap)
    proposals = [Proposal(value, exact, tuple(voters)) for (exact, value), voters in roots.items()]
    return sorted(proposals, key=lambda p: (not p.exact, -len(p.gaps), p.value))


def follows(seen: Mapping[int, Reading]) -> bool:
    """Tell whether any shape of the model, or the number of its variables, follows the argument."""
    return len({reading.shapes for reading in seen.values()}) > 1


def describe_evidence(seen: Mapping[int, Reading], value: int) -> str:
    """Say what tells that the argument is `value`: `from dense/kernel [784, 128], 3 variables agree`."""
    reading = seen[value]
    telling = [
        gap
        for gap, size in reading.gaps.items()
        if size == 0
        and any(other.gaps.get(gap, 0) != 0 for other in seen.values())
        and (gap != COUNT or _changes_count(seen))
    ]
    if not telling:
        return "no other value that was tried matches"
    if COUNT in telling:
        return f"from the number of variables, {reading.keys}"
    keys = list(dict.fromkeys(key for key, _ in telling))
    # A matrix tells more to a person than the bias beside it.
    name, shape = reading.stored[max(keys, key=lambda k: len(reading.stored[k][1]))]
    agree = f", {len(keys)} variables agree" if len(keys) > 1 else ""
    return f"from {name} {list(shape)}{agree}"


def describe_conflict(name: str, proposals: Sequence[Proposal], reading: Reading, most: int = 3) -> str:
    """Say that variables ask for different values: `no value of units fits: a/kernel says 128, b/kernel says 96`."""
    told = []
    for proposal in proposals[:most]:
        key, _ = proposal.gaps[0]
        told.append(f"{reading.stored[key][0] if key in reading.stored else key} says {proposal.value}")
    return f"no value of {name} fits: {', '.join(told)}"


def merge(
    arguments: Mapping[str, Scalar], solved: Mapping[str, int], parameters: Sequence[Parameter]
) -> dict[str, Scalar]:
    """Return both in the order of the builder's signature."""
    every = {**arguments, **solved}
    named = [p.name for p in parameters if p.name in every]
    return {name: every[name] for name in [*named, *(n for n in every if n not in named)]}


def _changes_count(seen: Mapping[int, Reading]) -> bool:
    """Tell whether the number of the model's variables follows the argument.

    What is left over may change without that: of a name-based checkpoint, an optimizer's slot is known by its
    variable's shape.
    """
    return len({len(reading.shapes) for reading in seen.values()}) > 1


def _find_root(points: Mapping[int, int]) -> tuple[bool, int] | None:
    """Return whether a line through two of the points meets zero at a whole number, and that or a near one not tried.

    None where the gap does not follow the argument, or no place is left between those that were tried.
    """
    if len(set(points.values())) < 2:
        return None
    nearest = sorted(points, key=lambda value: (abs(points[value]), value))
    first = nearest[0]
    if points[first] == 0:
        return True, first
    root = _meet_zero(points, first, next(v for v in nearest if points[v] != points[first]))
    if root.denominator == 1 and root.numerator not in points:
        return True, root.numerator
    below = next((v for v in nearest if points[v] < 0), None)
    above = next((v for v in nearest if points[v] > 0), None)
    if below is None or above is None:
        return None if round(root) in points else (False, round(root))
    inside = range(min(below, above) + 1, max(below, above))
    # The line through the nearest two is the better guess, the one across zero the safer, and the middle the last.
    guesses = (round(root), round(_meet_zero(points, below, above)), (below + above) // 2)
    return next(((False, guess) for guess in guesses if guess in inside and guess not in points), None)


def _meet_zero(points: Mapping[int, int], first: int, second: int) -> Fraction:
    return first - Fraction(points[first] * (second - first), points[second] - points[first])
