"""Walk two object graphs together, and find where in a checkpoint a model sits. Runs anywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from tb_ckptmeta.core import bookkeeping
from tb_ckptmeta.core.contents import VALUE, Contents, ObjectGraph, StoredTensor
from tb_ckptmeta.core.rebuilt import ModelVariable, Rebuilt

ATTACHMENT_DEPTH = 3
"""How far below the checkpoint's root a model is looked for."""

MODEL_EDGES = (("model",), ("net",), ("network",))

Pairs = Callable[[int, int], Iterable[tuple[int, int]]]
"""Given a node of the checkpoint and the model's object that it restores: the nodes below it, each with its object."""


@dataclass
class Walk:
    """One simultaneous walk: the pairs it made and the variables it reached.

    `path`: edge names from the checkpoint's root to `start`. `nodes`: node of the checkpoint -> node of the model.
    `binding`: index of a variable -> key.
    """

    start: int
    path: tuple[str, ...]
    nodes: dict[int, int] = field(default_factory=dict)
    binding: dict[int, str] = field(default_factory=dict)


def pair_by_name(model: ObjectGraph, saved: ObjectGraph) -> Pairs:
    """Pair as `tf.train.Checkpoint.restore` does: what hangs on edges of one name."""

    def pairs(node: int, model_node: int) -> Iterator[tuple[int, int]]:
        children = model.nodes[model_node].children
        for name, child in saved.nodes[node].children.items():
            if name in children:
                yield child, children[name]

    return pairs


def walk(rebuilt: Rebuilt, saved: ObjectGraph, start: int, path: tuple[str, ...], pairs: Pairs, root: int = 0) -> Walk:
    """Walk both graphs breadth-first from `start` and the model's object `root`.

    A node of the checkpoint restores the first object that reaches it, and an object is restored from the
    first node that reaches it: what comes later is left over, and shows as such.
    """
    found = Walk(start, path, {start: root})
    taken = {root}
    queue = [start]
    for node in queue:
        model_node = found.nodes[node]
        key = saved.nodes[node].keys.get(VALUE)
        variable = rebuilt.owners.get(model_node)
        if key is not None and variable is not None:
            found.binding.setdefault(variable, key)
        for child, model_child in pairs(node, model_node):
            # A rename can drop a node: what hangs on it then belongs to the object above.
            if child in found.nodes or (model_child in taken and model_child != model_node):
                continue
            found.nodes[child] = model_child
            taken.add(model_child)
            queue.append(child)
    return found


@dataclass(frozen=True)
class Attached:
    """Where a model sits in a checkpoint.

    `twins`: the places where it fits equally well, the chosen one first; empty where there is but one. `ambiguous`:
    nothing tells which of them is meant.
    """

    walk: Walk
    twins: tuple[str, ...] = ()
    ambiguous: bool = False


def attach(rebuilt: Rebuilt, contents: Contents, saved: ObjectGraph, pairs: Pairs, root: int = 0) -> Attached:
    """Return the walk from the node of the checkpoint where the model binds most; the shallowest of several."""
    best: Walk | None = None
    best_score = (-1, -1)
    twins: list[Walk] = []
    for start, path in _attachments(saved):
        found = walk(rebuilt, saved, start, path, pairs, root)
        score = score_binding(rebuilt, contents, found.binding)
        # Of two that fit alike, an average of the weights beside the model, say, the one that is called so.
        called = (
            score == best_score > (0, 0)
            and path[-1:] in MODEL_EDGES
            and best is not None
            and best.path[-1:] not in MODEL_EDGES
        )
        if score > best_score or called:
            twins = [best] if called and best is not None else []
            best, best_score = found, score
        elif score == best_score and best is not None and set(found.binding.values()) != set(best.binding.values()):
            twins.append(found)
    assert best is not None  # the root is always an attachment
    if not best_score[0] and 2 * best_score[1] < len(rebuilt.variables):
        # Next to nothing binds anywhere, and nothing that fits. What the model should have been is then most likely
        # the root's only child that holds variables and is no bookkeeping; without such a child, the root.
        likely = bookkeeping.find_likely_model(saved, contents.tensors)
        if likely is not None:
            return Attached(walk(rebuilt, saved, saved.nodes[0].children[likely], (likely,), pairs, root))
        return Attached(best if best.binding else walk(rebuilt, saved, 0, (), pairs, root))
    if not twins:
        return Attached(best)
    places = tuple("/".join(found.path) or "its root" for found in (best, *twins))
    return Attached(best, places, best.path[-1:] not in ((), *MODEL_EDGES))


def score_binding(rebuilt: Rebuilt, contents: Contents, binding: Mapping[int, str]) -> tuple[int, int]:
    """Return how many variables a binding gives a key of their shape and dtype, and how many it gives one at all."""
    agree = sum(agrees(rebuilt.variables[v], contents.tensors.get(k)) for v, k in binding.items())
    return agree, len(binding)


def agrees(variable: ModelVariable, stored: StoredTensor | None) -> bool:
    """Tell whether a stored tensor has the shape and dtype of a variable."""
    return stored is not None and variable.dtype == stored.dtype and same_shape(variable.shape, stored.shape)


def same_shape(model: tuple[int | None, ...] | None, stored: tuple[int, ...]) -> bool:
    """Tell whether a stored shape is one that the model's variable can have."""
    if model is None:
        return True
    return len(model) == len(stored) and all(m in (None, s) for m, s in zip(model, stored, strict=True))


def _attachments(saved: ObjectGraph) -> Iterable[tuple[int, tuple[str, ...]]]:
    seen = {0}
    level: list[tuple[int, tuple[str, ...]]] = [(0, ())]
    for _ in range(ATTACHMENT_DEPTH + 1):
        yield from level
        below = []
        for node, path in level:
            for name, child in saved.nodes[node].children.items():
                if child not in seen:
                    seen.add(child)
                    below.append((child, (*path, name)))
        level = below
