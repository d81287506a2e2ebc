"""Walk a model's trackables into an object graph, as `tf.train.Checkpoint` would. Runs in the worker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tb_ckptmeta.core.contents import ObjectGraph, ObjectNode
from tb_ckptmeta.worker.tensorflow_private import find_variable, get_children, is_resource


@dataclass(frozen=True)
class ModelObjects:
    """The objects of a model.

    `variables`: every resource variable once, nearest to the root first, with the path that leads to it.
    `owners`: node of `graph` -> index into `variables`. `resources`: the tables.
    """

    graph: ObjectGraph
    variables: list[tuple[tuple[str, ...], Any, Any]]
    owners: dict[int, int]
    resources: list[Any]


def walk_objects(root: Any) -> ModelObjects:
    """Walk everything trackable below `root`, breadth-first, each object once.

    `variables` holds (path, the object of that path, the resource variable behind it).
    """
    ids: dict[int, int] = {id(root): 0}
    queue: list[tuple[tuple[str, ...], Any]] = [((), root)]
    nodes: list[ObjectNode] = []
    variables: list[tuple[tuple[str, ...], Any, Any]] = []
    index_of: dict[int, int] = {}
    owners: dict[int, int] = {}
    resources: list[Any] = []
    for path, trackable in queue:
        node = len(nodes)
        children: dict[str, int] = {}
        for name, child in get_children(trackable).items():
            if id(child) not in ids:
                ids[id(child)] = len(queue)
                queue.append(((*path, name), child))
            children[name] = ids[id(child)]
        nodes.append(ObjectNode(children, {}))
        variable = find_variable(trackable)
        if variable is not None:
            if id(variable) not in index_of:
                index_of[id(variable)] = len(variables)
                variables.append((path, trackable, variable))
            owners[node] = index_of[id(variable)]
        elif is_resource(trackable):
            resources.append(trackable)
    return ModelObjects(ObjectGraph(tuple(nodes)), variables, owners, resources)
