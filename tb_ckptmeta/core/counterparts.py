"""Find which variable of one side of a diff is which of the other. Runs anywhere.

A key is the shortest path at the time of saving: with an optimizer beside the model it is often the optimizer's. So
two object graphs are walked together, edge by edge, as `core.compare` does; what is left, and what has no object
graph, goes by its key.
"""

from __future__ import annotations

from collections.abc import Iterator

from tb_ckptmeta.core.contents import ObjectGraph
from tb_ckptmeta.core.side import BUILDER, METAGRAPH, Shape, Side, Variable

_MOST_PLACES = 8
"""How many children of a root are tried as the place of the model."""


def find_counterparts(a: Side, b: Side) -> tuple[dict[str, str], list[str]]:
    """Return key of `a` -> key of `b`, and notes on how they were found."""
    notes: list[str] = []
    if a.objects is None or b.objects is None:
        found = _pair_names(a, b)
        if a.variables and b.variables and not found:
            notes.append(
                f"The two have no {'name' if BUILDER in (a.kind, b.kind) else 'key'} in common: {_describe(a)} and "
                f"{_describe(b)} are of other models, or call the same variables differently."
            )
        return found, notes
    if a.kind == BUILDER:  # a name is the model's own: what is called the same is the same
        found = _pair_names(a, b)
        walked = _walk(a, b, (0, 0))
        taken = set(found.values())
        for key, other in walked.items():
            if key not in found and other not in taken and fits(a.variables[key], b.variables[other]):
                found[key] = other
                taken.add(other)
    else:
        found, places = _walk_from_best(a, b)
        if places is not None:
            notes.append(
                f"The model is at {places[0] or 'its root'} in a and at {places[1] or 'its root'} in b: they were "
                "compared from there."
            )
        taken = set(found.values())
        found.update({k: k for k in a.variables if k not in found and k in b.variables and k not in taken})
    renamed = sum(key != other for key, other in found.items())
    if renamed and a.kind == BUILDER:
        notes.append(f"{renamed} variable(s) have another name in b: they were paired by their place in the model.")
    elif renamed:
        notes.append(
            f"{renamed} variable(s) have another key in b, for a key is the path at the time of saving: they were "
            "compared object by object."
        )
    return found, notes


def fits(a: Variable, b: Variable) -> bool:
    """Tell whether two variables may be of one shape and dtype."""
    return a.dtype == b.dtype and shapes_fit(a.shape, b.shape)


def shapes_fit(a: Shape, b: Shape) -> bool:
    """Tell whether two shapes may be one, unknown dimensions being what the other's are."""
    if a is None or b is None:
        return True
    return len(a) == len(b) and all(m == n or m is None or n is None for m, n in zip(a, b, strict=True))


def _pair_names(a: Side, b: Side) -> dict[str, str]:
    if {a.kind, b.kind} == {BUILDER, METAGRAPH}:
        # A builder knows names alone, and a .meta those of what it restores from other keys, too.
        names = {variable.path or key: key for key, variable in b.variables.items()}
        called = ((key, variable.path or key) for key, variable in a.variables.items())
        return {key: names[name] for key, name in called if name in names}
    return {key: key for key in a.variables if key in b.variables}


def _describe(side: Side) -> str:
    if side.kind == METAGRAPH:
        return f"the .meta {side.who['name']}"
    if side.kind == BUILDER:
        return f"the builder {side.who['name']}"
    return f"the checkpoint {side.who['name']} (of the format {side.who['format']!r})"


def _walk_from_best(a: Side, b: Side) -> tuple[dict[str, str], tuple[str, str] | None]:
    """Walk from both roots; where that leads nowhere, from where the same model sits in each."""
    found = _walk(a, b, (0, 0))
    best, places = _count_fitting(a, b, found), None
    # One may have been saved as Checkpoint(model=model), and the other as Checkpoint(model).
    if 2 * best < min(_count_own(a), _count_own(b)):
        for start_a, name_a in _find_places(a):
            for start_b, name_b in _find_places(b):
                walked = _walk(a, b, (start_a, start_b))
                score = _count_fitting(a, b, walked)
                if score > best:
                    found, best, places = walked, score, (name_a, name_b)
    return found, places


def _find_places(side: Side) -> Iterator[tuple[int, str]]:
    assert side.objects is not None
    yield 0, ""
    children = [(child, name) for name, child in side.objects.nodes[0].children.items() if child not in side.training]
    yield from children[:_MOST_PLACES]


def _count_own(side: Side) -> int:
    return sum(not v.bookkeeping for v in side.variables.values())


def _count_fitting(a: Side, b: Side, found: dict[str, str]) -> int:
    return sum(fits(a.variables[k], b.variables[o]) for k, o in found.items() if not a.variables[k].bookkeeping)


def _walk(a: Side, b: Side, start: tuple[int, int]) -> dict[str, str]:
    """Walk both graphs breadth-first from `start`, and return key -> key of what the same edges lead to.

    The model before the training: by an optimizer's list of variables, one that was inserted would shift all others.
    """
    assert a.objects is not None
    assert b.objects is not None
    nodes = {start[0]: start[1]}
    taken = {start[1]}
    for late in (False, True):
        queue = list(nodes)
        for node in queue:
            children = b.objects.nodes[nodes[node]].children
            for name, child in a.objects.nodes[node].children.items():
                other = children.get(name)
                if other is None or child in nodes or other in taken:
                    continue
                if not late and (child in a.training or other in b.training):
                    continue
                nodes[child] = other
                taken.add(other)
                queue.append(child)
    _add_slots(a.objects, b.objects, nodes, taken)
    found: dict[str, str] = {}
    seen: set[str] = set()
    for node, other in nodes.items():
        keys = b.objects.nodes[other].keys
        for attribute, key in a.objects.nodes[node].keys.items():
            counterpart = keys.get(attribute)
            if counterpart is not None and key not in found and counterpart not in seen:
                found[key] = counterpart
                seen.add(counterpart)
    return found


def _add_slots(a: ObjectGraph, b: ObjectGraph, nodes: dict[int, int], taken: set[int]) -> None:
    """Pair the slot variables of optimizers that are paired: those of one name, of variables that are paired."""
    for node, other in list(nodes.items()):
        slots = {(name, variable): slot for name, variable, slot in b.nodes[other].slots}
        for name, variable, slot in a.nodes[node].slots:
            twin = slots.get((name, nodes.get(variable, -1)))
            if twin is not None and slot not in nodes and twin not in taken:
                nodes[slot] = twin
                taken.add(twin)
