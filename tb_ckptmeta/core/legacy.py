"""Read a checkpoint of Keras 2 (tf_keras) with code of Keras 3: what the one called differently. Runs anywhere.

Keras 2 names the layers of a Sequential or Functional model `layer_with_weights-K`, in their order
(tf_keras/src/engine/functional.py, `_layer_checkpoint_dependencies`), follows lists and dicts of layers, and calls a
Dense layer's weights `kernel`. Keras 3 keeps its layers under `_operations`, follows no lists, and saves a Dense
layer's weights as `_kernel`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from tb_ckptmeta.core.contents import Contents, ObjectGraph
from tb_ckptmeta.core.rebuilt import Rebuilt
from tb_ckptmeta.core.walk import Pairs, pair_by_name

KERAS_3 = "3"
LEGACY = "legacy"

# Edges of an object graph that only one Keras makes: attributes of its layers and models.
_KERAS_3_EDGES = frozenset({"_operations", "_functional", "_layers", "_kernel", "_embeddings", "_trainable_variables"})
_LEGACY_EDGES = ("layer_with_weights-", "layer-")

_WEIGHTED = re.compile(r"layer_with_weights-(\d+)")

# Attributes that have another name altogether.
_RENAMED: Mapping[str, tuple[str, ...]] = {
    "depthwise_kernel": ("kernel",),  # DepthwiseConv1D and 2D; a SeparableConv's is called so in both
    "mean": ("adapt_mean",),  # Normalization
    "variance": ("adapt_variance",),
}


def find_keras(contents: Contents) -> str | None:
    """Return which Keras wrote a checkpoint: "3", "legacy" or None. Of an object-based one, its edges show it."""
    if contents.objects is None:
        return contents.keras
    edges = {name for node in contents.objects.nodes for name in node.children}
    if any(_WEIGHTED.fullmatch(edge) for edge in edges):  # a model's own attribute may be called `_layers` in either
        return LEGACY
    if edges & _KERAS_3_EDGES:
        return KERAS_3
    if "kernel" in edges or any(e.startswith(_LEGACY_EDGES) for e in edges):
        return LEGACY
    return None


def is_older(rebuilt: Rebuilt, contents: Contents) -> bool:
    """Tell whether a checkpoint of Keras 2 meets a model of Keras 3."""
    return rebuilt.objects is not None and rebuilt.keras == KERAS_3 and find_keras(contents) == LEGACY


def pair_across_keras(rebuilt: Rebuilt, saved: ObjectGraph) -> Pairs:
    """Pair what Keras 2 has saved with what a model of Keras 3 has in its place."""
    assert rebuilt.objects is not None
    model = rebuilt.objects
    weighted = _Weighted(rebuilt)

    def pairs(node: int, model_node: int) -> Iterator[tuple[int, int]]:
        children = {**rebuilt.untracked.get(model_node, {}), **model.nodes[model_node].children}
        for name, child in saved.nodes[node].children.items():
            place = _WEIGHTED.fullmatch(name)
            if place is not None:
                layers = weighted.list_layers(model_node)
                if int(place[1]) < len(layers):
                    yield child, layers[int(place[1])]
                continue
            for candidate in (name, "_" + name, *_RENAMED.get(name, ())):
                if candidate in children:
                    yield child, children[candidate]
                    break

    return pairs


def pair_weighted_first(model: ObjectGraph, saved: ObjectGraph) -> Pairs:
    """Pair by name, but `layer_with_weights-K` before `layer-K`.

    One layer has both, and TensorFlow goes by the one that comes first: with a Dropout gone, `layer-1` is another.
    """
    by_name = pair_by_name(model, saved)

    def pairs(node: int, model_node: int) -> Iterator[tuple[int, int]]:
        children = model.nodes[model_node].children
        for name, child in saved.nodes[node].children.items():
            if name in children and _WEIGHTED.fullmatch(name):
                yield child, children[name]
        yield from by_name(node, model_node)

    return pairs


class _Weighted:
    """Which layers of a model have weights, in their order."""

    def __init__(self, rebuilt: Rebuilt) -> None:
        self._rebuilt = rebuilt
        self._lists: dict[int, list[int]] = {}

    def list_layers(self, model_node: int) -> list[int]:
        """Return the nodes of the layers of a Sequential or Functional model that hold a variable."""
        if model_node not in self._lists:
            assert self._rebuilt.objects is not None
            nodes = self._rebuilt.objects.nodes
            children = nodes[model_node].children
            holder = children.get("_functional", model_node)
            listed = nodes[holder].children.get("_operations")
            layers = {} if listed is None else nodes[listed].children
            ordered = self._rebuilt.older_orders.get(holder) or [
                layers[name] for name in sorted((n for n in layers if n.isdigit()), key=int)
            ]
            self._lists[model_node] = [layer for layer in ordered if self._holds_variable(layer)]
        return self._lists[model_node]

    def _holds_variable(self, start: int) -> bool:
        assert self._rebuilt.objects is not None
        seen = {start}
        queue = [start]
        for node in queue:
            if node in self._rebuilt.owners:
                return True
            edges = (self._rebuilt.objects.nodes[node].children, self._rebuilt.untracked.get(node, {}))
            for child in (c for below in edges for c in below.values()):
                if child not in seen:
                    seen.add(child)
                    queue.append(child)
        return False
