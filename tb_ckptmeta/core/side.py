"""One side of a diff as plain data: a checkpoint, a `.meta` or a builder, and the variables it has. Runs anywhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tb_ckptmeta.core import bookkeeping
from tb_ckptmeta.core.contents import VALUE, Contents, ObjectGraph
from tb_ckptmeta.core.rebuilt import Rebuilt

CHECKPOINT = "checkpoint"
METAGRAPH = "metagraph"
BUILDER = "builder"

Shape = tuple[int | None, ...] | None
"""None for an unknown dimension; None altogether for an unknown rank."""


@dataclass(frozen=True)
class Variable:
    """One variable of a side.

    `bookkeeping`: it is the training's (an optimizer's, a counter) and not the model's. `trainable`: None where the
    side does not say: a checkpoint never does. `path`: the edges that lead to it in an object graph, through the model
    where that has it, for its key may be the optimizer's; of a `.meta`, its name where that is not its key.
    """

    shape: Shape
    dtype: str
    bookkeeping: bool = False
    trainable: bool | None = None
    path: str | None = None


@dataclass(frozen=True)
class Side:
    """One side of a diff.

    `who`: what the JSON says of it, `kind` first. `variables`: by key; a builder's key is the variable's name.
    `objects`: its object graph, whose nodes name those keys. `training`: the nodes of it that are the training's alone.
    `operations`, `layers`: how often a graph has an operation of a type, a model a layer of a class. `forward`: the
    operations are those of the forward pass alone, and not of a whole graph with its savers and initializers.
    """

    who: Mapping[str, Any]
    variables: Mapping[str, Variable]
    objects: ObjectGraph | None = None
    training: frozenset[int] = frozenset()
    operations: Mapping[str, int] = field(default_factory=dict)
    layers: Mapping[str, int] = field(default_factory=dict)
    forward: bool = True
    notes: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        return str(self.who["kind"])


def make_who(kind: str, name: str, **facts: Any) -> dict[str, Any]:
    """Return the JSON contract's description of a side; what does not apply is null."""
    who = {"kind": kind, "name": name, "id": None, "path": None, "format": None, "arguments": None}
    return {**who, **facts}


def describe_checkpoint(contents: Contents, name: str, id: str, path: str) -> Side:
    """Return the side of a checkpoint."""
    training: frozenset[int] = frozenset()
    kept: set[str] = set()
    paths: dict[str, str] = {}
    if contents.objects is not None:
        slots = {slot for node in contents.objects.nodes for _, _, slot in node.slots}  # no edge leads to them
        found = bookkeeping.find_bookkeeping_nodes(contents.objects, contents.tensors, 0, ())
        training = frozenset(found | slots)
        kept = {key for node in training for key in contents.objects.nodes[node].keys.values()}
        paths = _find_paths(contents.objects, training)
    elif contents.is_keras_file:
        kept = {k for k in contents.tensors if bookkeeping.is_array_bookkeeping(k)}
    variables = {
        key: Variable(stored.shape, stored.dtype, key in kept, path=paths.get(key))
        for key, stored in sorted(contents.tensors.items())
    }
    if contents.objects is None and not contents.is_keras_file:
        variables = mark_bookkeeping(variables)
    who = make_who(CHECKPOINT, name, id=id, path=path, format=contents.format, variables=len(variables))
    return Side(who, variables, contents.objects, training, notes=contents.notes)


def describe_builder(rebuilt: Rebuilt, name: str, arguments: Mapping[str, Any], operations: Mapping[str, int]) -> Side:
    """Return the side of a builder, given what its rebuild found out and the operations of its forward pass."""
    frozen = {rebuilt.variables[i].name for i in rebuilt.frozen}
    variables = {
        v.name: Variable(v.shape, v.dtype, trainable=v.trainable and v.name not in frozen)
        for v in sorted(rebuilt.variables, key=_by_name)
    }
    objects = None
    if rebuilt.objects is not None:
        names = {node: rebuilt.variables[index].name for node, index in rebuilt.owners.items()}
        nodes = enumerate(rebuilt.objects.nodes)
        objects = ObjectGraph(tuple(replace(n, keys={VALUE: names[i]} if i in names else {}) for i, n in nodes))
    who = make_who(BUILDER, name, arguments=dict(arguments), variables=len(variables))
    layers = Counter(rebuilt.classes.values())
    return Side(who, variables, objects, operations=operations, layers=layers, notes=rebuilt.notes)


def mark_bookkeeping(variables: Mapping[str, Variable]) -> dict[str, Variable]:
    """Return variables that have nothing but names with those marked that are counters, or slots of another."""
    shapes = {key: v.shape for key, v in variables.items()}
    return {
        key: replace(v, bookkeeping=True)
        if v.shape is not None
        and bookkeeping.is_name_bookkeeping(key, tuple(-1 if d is None else d for d in v.shape), shapes)
        else v
        for key, v in variables.items()
    }


def _find_paths(objects: ObjectGraph, training: frozenset[int]) -> dict[str, str]:
    """Return key -> the shortest path to it that does not lead through the training, if there is one."""
    paths = {0: ""}
    queue = [0]
    for late in (False, True):
        queue = list(paths)
        for node in queue:
            for name, child in objects.nodes[node].children.items():
                if child not in paths and (late or child not in training):
                    paths[child] = f"{paths[node]}/{name}" if paths[node] else name
                    queue.append(child)
    found: dict[str, str] = {}
    for node, path in paths.items():
        for attribute, key in objects.nodes[node].keys.items():
            found.setdefault(key, path if attribute == VALUE else f"{path}:{attribute}")
    return found


def _by_name(variable: Any) -> str:
    return str(variable.name)
