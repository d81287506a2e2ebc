"""Walk a model's trackables into an object graph, as `tf.train.Checkpoint` would. Runs in the worker."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import tensorflow as tf

from tb_ckptmeta.core.contents import ObjectGraph, ObjectNode
from tb_ckptmeta.worker.keras_private import find_older_order, find_untracked
from tb_ckptmeta.worker.tensorflow_private import ROOT, find_variable, get_children, is_resource, is_trackable


@dataclass(frozen=True)
class ModelObjects:
    """The objects of a model.

    `variables`: every resource variable once, nearest to the root first, with the path that leads to it.
    `owners`: node of `graph` -> index into `variables`. `resources`: the tables. `untracked`,
    `older_orders`: as `Rebuilt` has them.
    """

    graph: ObjectGraph
    variables: list[tuple[tuple[str, ...], Any, Any]]
    owners: dict[int, int]
    resources: list[Any]
    untracked: dict[int, dict[str, int]]
    older_orders: dict[int, list[int]]


def walk_objects(root: Any) -> ModelObjects:
    """Walk everything trackable below `root`, breadth-first, each object once; what is not tracked comes last.

    `variables` holds (path, the object of that path, the resource variable behind it).
    """
    found = ModelObjects(ObjectGraph(()), [], {}, [], {}, {})
    ids: dict[int, int] = {id(root): 0}
    queue: list[tuple[tuple[str, ...], Any]] = [((), root)]
    nodes: list[ObjectNode] = []

    def visit(path: tuple[str, ...], children: Iterator[tuple[str, Any]]) -> dict[str, int]:
        edges = {}
        for name, child in children:
            if id(child) not in ids:
                ids[id(child)] = len(queue)
                queue.append(((*path, name), child))
            edges[name] = ids[id(child)]
        return edges

    index_of: dict[int, int] = {}
    looked = 0
    while len(nodes) < len(queue):
        for path, trackable in queue[len(nodes) :]:
            node = len(nodes)
            nodes.append(ObjectNode(visit(path, _list_children(trackable)), {}))
            variable = None if isinstance(trackable, _PLAIN) else find_variable(trackable)
            if variable is not None:
                if id(variable) not in index_of:
                    index_of[id(variable)] = len(found.variables)
                    found.variables.append((path, trackable, variable))
                found.owners[node] = index_of[id(variable)]
            elif not isinstance(trackable, _PLAIN) and is_resource(trackable):
                found.resources.append(trackable)
        while looked < len(nodes) == len(queue):
            path, trackable = queue[looked]
            edges = visit(path, iter(find_untracked(trackable).items()))
            if edges:
                found.untracked[looked] = edges
            looked += 1
    for node, (_, trackable) in enumerate(queue):
        order = find_older_order(trackable)
        if order:
            found.older_orders[node] = [ids[id(layer)] for layer in order if id(layer) in ids]
    return replace(found, graph=ObjectGraph(tuple(nodes)))


# What Keras 3 does not track, and Keras 2 did: its items were called by their places and keys.
_PLAIN = (list, tuple, dict)


def _list_children(trackable: Any) -> Iterator[tuple[str, Any]]:
    if is_trackable(trackable) or not isinstance(trackable, _PLAIN):
        children = dict(get_children(trackable))
        if ROOT in children and isinstance(trackable, tf.train.Checkpoint):
            children = {**get_children(children.pop(ROOT)), **children}
        yield from children.items()
    elif isinstance(trackable, Mapping):
        yield from ((str(key), item) for key, item in trackable.items() if _may_hold(item))
    else:
        yield from ((str(place), item) for place, item in enumerate(trackable) if _may_hold(item))


def _may_hold(item: Any) -> bool:
    return is_trackable(item) or isinstance(item, _PLAIN)
