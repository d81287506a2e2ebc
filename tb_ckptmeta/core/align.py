"""Align layers that are saved by their places in a list, where the places have changed. Runs anywhere.

Keras 3 saves the layers of a Sequential or Functional model as `_operations/3`, a list's items are saved as
`blocks/3`: one more Dropout, and every layer behind it has another place. Equal places then restore other layers'
weights, and where the shapes agree nothing tells.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence

from tb_ckptmeta.core.compare import Comparison
from tb_ckptmeta.core.contents import VALUE, Contents, ObjectGraph
from tb_ckptmeta.core.rebuilt import Rebuilt
from tb_ckptmeta.core.renames import Path, Rename

_PLACE = re.compile(r"(layer_with_weights-)?(\d+)")

Layer = tuple[str, frozenset[tuple[Path, tuple[int | None, ...] | None, str]]]
"""The edge that leads to a layer, and what it holds: path, shape and dtype of each variable."""


def align_lists(rebuilt: Rebuilt, contents: Contents, found: Comparison) -> list[Rename]:
    """Return rules for every layer whose place in its list has changed, lists whose layers can be told apart alone.

    Layers of one kind, of the same shapes, are told apart by their order, where both sides have as many of them; and of
    several kinds, where these follow one another alike.
    """
    saved, model = contents.objects, rebuilt.objects
    if saved is None or model is None or found.attachment is None:
        return []

    def hold_saved(node: int) -> tuple[tuple[int | None, ...] | None, str] | None:
        stored = contents.tensors.get(saved.nodes[node].keys.get(VALUE, ""))
        return None if stored is None else (stored.shape, stored.dtype)

    def hold_model(node: int) -> tuple[tuple[int | None, ...] | None, str] | None:
        owner = rebuilt.owners.get(node)
        return None if owner is None else (rebuilt.variables[owner].shape, rebuilt.variables[owner].dtype)

    paths = _find_walked(found.nodes, model)
    rules = []
    for node, model_node in found.nodes.items():
        ours = _list_layers(model, model_node, hold_model)
        theirs = _list_layers(saved, node, hold_saved) if ours else {}
        for stem in ours.keys() & theirs.keys():
            for source, target in _align(theirs[stem], ours[stem]):
                if model_node in paths:
                    path = paths[model_node]
                    rules.append(Rename((*path, source), (*path, target), anchored=True))
    return rules


def _find_walked(nodes: Mapping[int, int], model: ObjectGraph) -> dict[int, Path]:
    """Return the shortest path to each object of the model that the comparison reached."""
    reached = set(nodes.values())
    paths: dict[int, Path] = {0: ()}
    queue = [0]
    for node in queue:
        for name, child in model.nodes[node].children.items():
            if child not in paths and child in reached:
                paths[child] = (*paths[node], name)
                queue.append(child)
    return paths


def _list_layers(
    graph: ObjectGraph, node: int, hold: Callable[[int], tuple[tuple[int | None, ...] | None, str] | None]
) -> dict[str, list[Layer]]:
    """Return the layers below a node that are called by their places and hold variables, in order, by kind of name."""
    found: dict[str, list[tuple[int, Layer]]] = defaultdict(list)
    for name, child in graph.nodes[node].children.items():
        place = _PLACE.fullmatch(name)
        if place is not None:
            held = _describe(graph, child, hold, node)
            if held:
                found[place[1] or ""].append((int(place[2]), (name, held)))
    return {stem: [layer for _, layer in sorted(layers)] for stem, layers in found.items()}


def _describe(
    graph: ObjectGraph, start: int, hold: Callable[[int], tuple[tuple[int | None, ...] | None, str] | None], above: int
) -> frozenset[tuple[Path, tuple[int | None, ...] | None, str]]:
    """Return what a layer holds, but for what it reaches through the object `above` that lists it."""
    seen = {start, above}
    queue: list[tuple[int, Path]] = [(start, ())]
    held = []
    for node, path in queue:
        kind = hold(node)
        if kind is not None:
            held.append((path, *kind))
        for name, child in graph.nodes[node].children.items():
            if child not in seen:
                seen.add(child)
                queue.append((child, (*path, name)))
    return frozenset(held)


def _align(saved: Sequence[Layer], model: Sequence[Layer]) -> list[tuple[str, str]]:
    counts, others = Counter(held for _, held in saved), Counter(held for _, held in model)
    shared = {held for held in counts if counts[held] == others[held]}
    if [h for _, h in saved if h in shared] != [h for _, h in model if h in shared]:
        shared = {held for held in shared if counts[held] == 1}
    pairs: list[tuple[str, str]] = []
    for kind in shared:
        places = [s for s, held in saved if held == kind], [m for m, held in model if held == kind]
        pairs += zip(*places, strict=True)
    order = {place: number for number, (place, _) in enumerate(saved)}
    return sorted(((s, m) for s, m in pairs if s != m), key=lambda pair: order[pair[0]])
