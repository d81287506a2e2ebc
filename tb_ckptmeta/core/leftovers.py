"""What a comparison has left over on either side, with the paths that renames are about. Runs anywhere."""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tb_ckptmeta.core import bookkeeping
from tb_ckptmeta.core.compare import Comparison
from tb_ckptmeta.core.contents import Contents, ObjectGraph
from tb_ckptmeta.core.rebuilt import Rebuilt
from tb_ckptmeta.core.renames import Path
from tb_ckptmeta.core.walk import VALUE, agrees

Kind = tuple[tuple[int | None, ...] | None, str]
"""Shape and dtype."""

_MOST_COMPARED = 200
"""How many candidates are looked at for the closest name: a list of thousands says nothing to a person."""


@dataclass(frozen=True)
class Leftover:
    """A variable that found no key of its shape and dtype, or a key that found no such variable.

    `name`: as the verdict has it. `path`: its place below the model's root, in the words of its own side.
    """

    name: str
    path: Path
    kind: Kind


@dataclass(frozen=True)
class Leftovers:
    """What is left over of the model and of the model's part of the checkpoint."""

    model: Sequence[Leftover]
    saved: Sequence[Leftover]


def find_leftovers(rebuilt: Rebuilt, contents: Contents, found: Comparison) -> Leftovers:
    """Return what `found` left over: what is missing or unexpected, or bound in another shape or dtype."""
    bound = {i: k for i, k in found.binding.items() if agrees(rebuilt.variables[i], contents.tensors[k])}
    models = list_model_paths(rebuilt, found)
    model = [
        Leftover(v.name, models[i], (v.shape, v.dtype))
        for i, v in enumerate(rebuilt.variables)
        if v.read and i not in bound and i in models
    ]
    odd = {row["key"] for row in (*found.unexpected, *found.shape_mismatches, *found.dtype_mismatches)}
    saved = [
        Leftover(key, path, (contents.tensors[key].shape, contents.tensors[key].dtype))
        for key, path in list_saved_paths(contents, found).items()
        if key in odd
    ]
    return Leftovers(model, saved)


def list_model_paths(rebuilt: Rebuilt, found: Comparison) -> dict[int, Path]:
    """Return the place of each variable that a checkpoint of the model can hold."""
    if found.attachment is None or rebuilt.objects is None:
        return {i: tuple(v.name.split("/")) for i, v in enumerate(rebuilt.variables)}
    paths: dict[int, Path] = {}
    for node, path in _find_paths(rebuilt.objects, 0, ()).items():
        if node in rebuilt.owners:
            paths.setdefault(rebuilt.owners[node], path)
    return paths


def list_saved_paths(contents: Contents, found: Comparison) -> dict[str, Path]:
    """Return the place of each key of the model's part of a checkpoint."""
    if found.attachment is None or contents.objects is None:
        kept = {row["key"] for row in found.bookkeeping}
        return {key: tuple(key.split("/")) for key in contents.tensors if key not in kept}
    start = 0
    for name in found.attachment:
        start = contents.objects.nodes[start].children[name]
    own = bookkeeping.find_bookkeeping_nodes(contents.objects, contents.tensors, start, found.nodes)
    return {
        contents.objects.nodes[node].keys[VALUE]: path
        for node, path in _find_paths(contents.objects, start, own).items()
        if contents.objects.nodes[node].keys.get(VALUE) in contents.tensors
    }


def _find_paths(graph: ObjectGraph, start: int, without: Collection[int]) -> dict[int, Path]:
    """Return the shortest path to each node below `start`."""
    paths: dict[int, Path] = {start: ()}
    queue = [start]
    for node in queue:
        for name, child in graph.nodes[node].children.items():
            if child not in paths and child not in without:
                paths[child] = (*paths[node], name)
                queue.append(child)
    return paths


def name_closest(rows: Iterable[Mapping[str, Any]], own: Sequence[Leftover], others: Sequence[Leftover]) -> list[Any]:
    """Return rows of a verdict with `path` and `closest`: what of the other side each is most likely to be, or None.

    The closest has the same shape and dtype where anything has, then the most alike path.
    """
    places = {leftover.name: leftover for leftover in own}
    by_kind: dict[Kind, list[Leftover]] = defaultdict(list)
    for other in others:
        by_kind[other.kind].append(other)
    named = []
    for row in rows:
        leftover = places.get(row.get("name") or row["key"])
        closest = None
        if leftover is not None:
            candidates = by_kind.get(leftover.kind) or [o for o in others if o.path[-1:] == leftover.path[-1:]]
            closest = max(candidates[:_MOST_COMPARED], key=lambda o: liken(leftover.path, o.path), default=None)
        path = None if leftover is None else "/".join(leftover.path)
        named.append({**row, "path": path, "closest": None if closest is None else closest.name})
    return named


def liken(one: Path, other: Path) -> float:
    """Return how alike two paths are, 0 to 1; their ends count most."""
    ends = 0
    for a, b in zip(reversed(one), reversed(other), strict=False):
        if a != b:
            break
        ends += 1
    whole = max(len(one), len(other), 1)
    return (ends / whole + difflib.SequenceMatcher(None, "/".join(one), "/".join(other), False).ratio()) / 2
