"""Say how two sides differ: variables added, removed, reshaped, and how far each moved. Runs anywhere."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tb_ckptmeta.core.counterparts import find_counterparts, shapes_fit
from tb_ckptmeta.core.side import CHECKPOINT, Shape, Side, Variable

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Pair:
    """A variable that both sides hold, in one shape: `key` in a, `key_b` in b. `same`: of one dtype, too."""

    key: str
    key_b: str
    path: str | None
    shape: Shape
    bookkeeping: bool
    same: bool


@dataclass(frozen=True)
class Diff:
    """How two sides differ; the lists are those of the JSON contract, what is the model's first.

    `moved`: None where the values were not compared. `not_compared`: those whose values could not be. `same`: how many
    variables differ in nothing that was looked at; `same_bookkeeping`: of those the training's. `pairs`: what both hold
    in one shape.
    """

    a: Row
    b: Row
    added: Sequence[Row]
    removed: Sequence[Row]
    reshaped: Sequence[Row]
    retyped: Sequence[Row]
    trainable: Sequence[Row]
    operations: Sequence[Row]
    layers: Sequence[Row]
    moved: Sequence[Row] | None
    not_compared: Sequence[Row]
    same: int
    same_bookkeeping: int
    notes: Sequence[str]
    pairs: Sequence[Pair] = ()

    @property
    def differs(self) -> bool:
        return any(rows for _, rows in self.lists()) or bool(self.operations or self.layers)

    def lists(self) -> list[tuple[str, Sequence[Row]]]:
        """Return what the variables' differences are called, and their rows."""
        return [
            ("added", self.added),
            ("removed", self.removed),
            ("reshaped", self.reshaped),
            ("retyped", self.retyped),
            ("trainable", self.trainable),
            ("moved", self.moved or ()),
        ]

    def as_json(self) -> dict[str, Any]:
        """Return the `Diff` of the JSON contract."""
        return {
            "a": dict(self.a),
            "b": dict(self.b),
            **{name: [dict(row) for row in rows] for name, rows in self.lists()},
            "moved": None if self.moved is None else [dict(row) for row in self.moved],
            "not_compared": [dict(row) for row in self.not_compared],
            "operations": [dict(row) for row in self.operations],
            "layers": [dict(row) for row in self.layers],
            "same": self.same,
            "same_bookkeeping": self.same_bookkeeping,
            "notes": list(self.notes),
        }


def diff_sides(a: Side, b: Side) -> Diff:
    """Say how `b` differs from `a` in all but its values."""
    found, notes = find_counterparts(a, b)
    exact = CHECKPOINT not in (a.kind, b.kind)  # a checkpoint's shapes are known, and fit an unknown dimension
    reshaped, retyped, trainable = [], [], []
    pairs = []
    same = same_kept = 0
    for key, key_b in found.items():
        one, other = a.variables[key], b.variables[key_b]
        kept = one.bookkeeping or other.bookkeeping
        row = _name(key, key_b, one.path or other.path, kept)
        fit = one.shape == other.shape if exact else shapes_fit(one.shape, other.shape)
        if not fit:
            reshaped.append({**row, "a": _as_list(one.shape), "b": _as_list(other.shape)})
        if one.dtype != other.dtype:
            retyped.append({**row, "a": one.dtype, "b": other.dtype})
        if None not in (one.trainable, other.trainable) and one.trainable != other.trainable:
            trainable.append({**row, "a": one.trainable, "b": other.trainable})
        unchanged = fit and one.dtype == other.dtype
        unchanged = unchanged and not (trainable and trainable[-1]["key"] == key)
        same += unchanged
        same_kept += unchanged and kept
        if fit:
            pairs.append(Pair(key, key_b, one.path or other.path, one.shape, kept, unchanged))
    taken = set(found.values())
    return Diff(
        a.who,
        b.who,
        _order(_describe(k, v) for k, v in b.variables.items() if k not in taken),
        _order(_describe(k, v) for k, v in a.variables.items() if k not in found),
        _order(reshaped),
        _order(retyped),
        _order(trainable),
        _count("operation", a, b) if a.forward == b.forward else [],
        _count("layer", a, b),
        None,
        [],
        same,
        same_kept,
        [*(f"a: {n}" for n in a.notes), *(f"b: {n}" for n in b.notes), *notes],
        pairs,
    )


def add_values(diff: Diff, measured: Mapping[str, Mapping[str, Any]]) -> Diff:
    """Return the diff with how far each variable moved.

    `measured`: key of a -> {"l2", "norm", "max_abs", "nan", "inf", "differ"}, or {"skipped": why its values were not
    compared}. Numbers that no float64 holds are null.
    """
    moved: list[dict[str, Any]] = []
    skipped: list[dict[str, Any]] = []
    never_finite = []
    same, same_kept = diff.same, diff.same_bookkeeping
    for pair in diff.pairs:
        found = measured[pair.key]
        if "skipped" in found:
            skipped.append(
                {**_name(pair.key, pair.key_b, pair.path, pair.bookkeeping), "reason": found["skipped"]},
            )
        elif not found["differ"]:
            if any(found["nan"]) or any(found["inf"]):
                never_finite.append(pair.key)
            continue
        else:
            moved.append(
                {
                    **_name(pair.key, pair.key_b, pair.path, pair.bookkeeping),
                    "shape": _as_list(pair.shape),
                    "relative_l2": _divide(found["l2"], found["norm"]),
                    "l2": found["l2"],
                    "max_abs": found["max_abs"],
                    "differ": found["differ"],
                    "nan": _as_sides(found["nan"]),
                    "inf": _as_sides(found["inf"]),
                }
            )
        same -= pair.same
        same_kept -= pair.same and pair.bookkeeping
    reasons = dict.fromkeys(row["reason"] for row in skipped)
    notes = [f"Not compared, {r}: {_some([row['key'] for row in skipped if row['reason'] == r])}" for r in reasons]
    if never_finite:
        notes.append(f"NaN or infinities in both, the same ones: {_some(never_finite)}")
    return replace(
        diff,
        moved=sorted(moved, key=_by_movement),
        not_compared=_order(skipped),
        same=same,
        same_bookkeeping=same_kept,
        notes=[*diff.notes, *notes],
    )


def _by_movement(row: Row) -> tuple[Any, ...]:
    """Order rows: the model's first; of those what has become no number, then what moved farthest."""
    broken = sum(row["nan"].values()) + sum(row["inf"].values()) > 0
    relative, length = row["relative_l2"], row["l2"]
    # What was zero altogether has moved infinitely far, measured by what it was.
    far = math.inf if relative is None and length is not None else (relative or 0.0)
    return (row["bookkeeping"], not broken, -far, -(length or 0.0), row["key"])


def _divide(length: float | None, norm: float | None) -> float | None:
    if length is None or not norm:
        return None
    ratio = length / norm
    return ratio if math.isfinite(ratio) else None


def _as_sides(counts: Sequence[int]) -> dict[str, int]:
    return {"a": counts[0], "b": counts[1]}


def _name(key: str, key_b: str, path: str | None, kept: bool) -> dict[str, Any]:
    """Return how a row calls a variable; its key in b only where that is another one."""
    return {"key": key, "key_b": key_b if key_b != key else None, "path": path, "bookkeeping": kept}


def _describe(key: str, variable: Variable) -> dict[str, Any]:
    return {
        "key": key,
        "path": variable.path,
        "bookkeeping": variable.bookkeeping,
        "shape": _as_list(variable.shape),
        "dtype": variable.dtype,
    }


def _order(rows: Iterable[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: bool(row["bookkeeping"]))


def _count(what: str, a: Side, b: Side) -> list[Row]:
    one, other = (s.operations if what == "operation" else s.layers for s in (a, b))
    if not one or not other:  # a checkpoint has neither
        return []
    names = sorted({*one, *other})
    return [{what: n, "a": one.get(n, 0), "b": other.get(n, 0)} for n in names if one.get(n, 0) != other.get(n, 0)]


def _as_list(shape: Shape) -> list[int | None] | None:
    return None if shape is None else list(shape)


def _some(names: Sequence[str], most: int = 5) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
