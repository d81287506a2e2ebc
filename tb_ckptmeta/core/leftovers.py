"""What a comparison has left over on either side, with the paths that renames are about. Runs anywhere."""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tb_ckptmeta.core import bookkeeping
from tb_ckptmeta.core.compare import Comparison
from tb_ckptmeta.core.contents import VALUE, Contents, ObjectGraph
from tb_ckptmeta.core.rebuilt import Rebuilt
from tb_ckptmeta.core.renames import Path
from tb_ckptmeta.core.walk import agrees

Kind = tuple[tuple[int | None, ...] | None, str]
"""Shape and dtype."""

_MOST_COMPARED = 50
"""How many candidates with a name in common are looked at."""
_MOST_ALIKE = 8
_DEEPEST = 200
"""How long a path can be. A crafted object graph is one long chain, whose paths would take its length squared."""


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
    own = bookkeeping.find_bookkeeping_nodes(contents.objects, contents.tensors, start, found.known)
    return {
        contents.objects.nodes[node].keys[VALUE]: path
        for node, path in _find_paths(contents.objects, start, own).items()
        if contents.objects.nodes[node].keys.get(VALUE) in contents.tensors
    }


def find_places(contents: Contents, found: Comparison | None = None) -> dict[str, str]:
    """Return key -> where it is in the checkpoint as people look for it: the path from the root, through the model.

    A key is the path by which TensorFlow came to a variable first, and with an optimizer beside the model that is the
    optimizer's. Where no other path is known, it is the key, without what every key of an object-based checkpoint ends
    in.
    """
    places = {key: key.removesuffix(f"/.ATTRIBUTES/{VALUE}") for key in contents.tensors}
    if contents.objects is None:
        return places
    nodes = contents.objects.nodes
    own = bookkeeping.find_bookkeeping_nodes(contents.objects, contents.tensors, 0, ())
    for node, path in _find_paths(contents.objects, 0, own).items():
        if nodes[node].keys.get(VALUE) in places:
            places[nodes[node].keys[VALUE]] = "/".join(path)
    # Of several paths the one through the model that was compared.
    if found is not None and found.attachment is not None:
        below = list_saved_paths(contents, found).items()
        places.update((key, "/".join((*found.attachment, *path))) for key, path in below)
    return places


def add_places(rows: Iterable[Mapping[str, Any]], places: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return rows of a verdict with `place`, that of their key, and `closest_place`, where what is closest is a key."""
    placed = []
    for row in rows:
        extra: dict[str, str | None] = {"place": places[row["key"]]} if "key" in row else {}
        if "closest" in row and "key" not in row:
            extra["closest_place"] = None if row["closest"] is None else places[row["closest"]]
        placed.append({**row, **extra})
    return placed


def _find_paths(graph: ObjectGraph, start: int, without: Collection[int]) -> dict[int, Path]:
    """Return the shortest path to each node below `start`."""
    paths: dict[int, Path] = {start: ()}
    queue = [start]
    for node in queue:
        for name, child in graph.nodes[node].children.items():
            if child not in paths and child not in without and len(paths[node]) < _DEEPEST:
                paths[child] = (*paths[node], name)
                queue.append(child)
    return paths


def group_by_kind(leftovers: Iterable[Leftover]) -> dict[Kind, list[Leftover]]:
    """Return the leftovers of each shape and dtype."""
    groups: dict[Kind, list[Leftover]] = defaultdict(list)
    for leftover in leftovers:
        groups[leftover.kind].append(leftover)
    return dict(groups)


class Alike:
    """Leftovers that are found by the names in their paths, those that few have first."""

    def __init__(self, leftovers: Iterable[Leftover]) -> None:
        self.all = list(leftovers)
        self._by_segment: dict[str, list[Leftover]] = defaultdict(list)
        for leftover in self.all:
            for segment in set(leftover.path):
                self._by_segment[segment].append(leftover)

    def find(self, path: Path, most: int) -> list[Leftover]:
        """Return some that have most of the names of a path, the most alike first."""
        lists = sorted((self._by_segment[s] for s in set(path) if s in self._by_segment), key=len)
        near: dict[str, Leftover] = {}
        for same in lists:
            # A name that all of them have tells none apart.
            near.update((leftover.name, leftover) for leftover in same[:_MOST_COMPARED])
            if len(near) >= _MOST_COMPARED:
                break
        ranked = sorted(near.values(), key=lambda o: _rank(path, o.path), reverse=True)
        return ranked[:most] if ranked else self.all[:most]


def name_closest(rows: Iterable[Mapping[str, Any]], own: Sequence[Leftover], others: Sequence[Leftover]) -> list[Any]:
    """Return rows of a verdict with `path` and `closest`: what of the other side each is most likely to be, or None.

    The closest has the same shape and dtype where anything has, then the most alike path.
    """
    places = {leftover.name: leftover for leftover in own}
    by_kind = {kind: Alike(of_kind) for kind, of_kind in group_by_kind(others).items()}
    any_kind = Alike(others)
    named = []
    for row in rows:
        leftover = places.get(row.get("name") or row["key"])
        closest = None
        if leftover is not None:
            candidates = by_kind.get(leftover.kind, any_kind).find(leftover.path, _MOST_ALIKE)
            if leftover.kind not in by_kind:
                candidates = [o for o in candidates if o.path[-1:] == leftover.path[-1:]]
            best = [o for o in candidates if _rank(leftover.path, o.path) == _rank(leftover.path, candidates[0].path)]
            # Comparing letters takes long: only where nothing else tells.
            closest = max(best, key=lambda o: liken(leftover.path, o.path)) if len(best) > 1 else next(iter(best), None)
        path = None if leftover is None else "/".join(leftover.path)
        named.append({**row, "path": path, "closest": None if closest is None else closest.name})
    return named


def liken(one: Path, other: Path) -> float:
    """Return how alike two paths are, 0 to 1; their ends count most."""
    whole = max(len(one), len(other), 1)
    letters = difflib.SequenceMatcher(None, "/".join(one), "/".join(other), False).ratio()
    return (_count_ends(one, other) / whole + letters) / 2


def _rank(one: Path, other: Path) -> tuple[int, int]:
    """Return how many names two paths share, and how many at their ends."""
    return len(set(one) & set(other)), _count_ends(one, other)


def _count_ends(one: Path, other: Path) -> int:
    """Return how many of their last names two paths share."""
    ends = 0
    for a, b in zip(reversed(one), reversed(other), strict=False):
        if a != b:
            break
        ends += 1
    return ends
