"""Object graphs built by hand: what TensorFlow would save of them, and what a worker would find."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tb_ckptmeta.core.compare import Comparison
from tb_ckptmeta.core.contents import Contents, ObjectGraph, ObjectNode, StoredTensor
from tb_ckptmeta.core.rebuilt import ModelVariable, Rebuilt

VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"


@dataclass(eq=False)
class Object:
    """An object that TensorFlow tracks; one object under two edges is shared."""

    children: dict[str, Object] = field(default_factory=dict)
    shape: tuple[int, ...] | None = None  # that of a variable
    dtype: str = "float32"
    read: bool = True
    slots: list[tuple[str, Object, Object]] = field(default_factory=list)
    state: str = ""  # the name of another attribute, as a lookup table has one

    @property
    def is_variable(self) -> bool:
        return self.shape is not None


def variable(*shape: int, dtype: str = "float32", read: bool = True) -> Object:
    return Object(shape=shape, dtype=dtype, read=read)


def node(**children: Object) -> Object:
    return Object(children)


def dense(*shape: int) -> Object:
    return node(_kernel=variable(*shape), bias=variable(shape[-1]))


def walk(root: Object) -> list[tuple[str, Object]]:
    """Return path and object, breadth-first, each once: as TensorFlow numbers and names them."""
    found, seen = [("", root)], {id(root)}
    for path, item in found:
        for name, child in item.children.items():
            if id(child) not in seen:
                seen.add(id(child))
                found.append((f"{path}/{name}" if path else name, child))
    return found


def save(root: Object) -> Contents:
    """Return what `tf.train.Checkpoint` would write: keys are the shortest paths, those of slots apart."""
    found = walk(root)
    extra = [
        (f"{path}/.OPTIMIZER_SLOT/{opt_path}/{name}", slot)
        for opt_path, optimizer in found
        for name, original, slot in optimizer.slots
        for path, item in found
        if item is original
    ]
    found = [*found, *extra]
    ids = {id(item): number for number, (_, item) in enumerate(found)}
    tensors: dict[str, StoredTensor] = {}
    nodes = []
    for path, item in found:
        keys = {}
        if item.shape is not None:
            keys["VARIABLE_VALUE"] = path + VALUE
            tensors[path + VALUE] = StoredTensor(item.shape, item.dtype, 0)
        if item.state:
            keys[item.state] = f"{path}/.ATTRIBUTES/{item.state}"
            tensors[keys[item.state]] = StoredTensor((), "string", 0)
        slots = tuple((name, ids[id(original)], ids[id(slot)]) for name, original, slot in item.slots)
        nodes.append(ObjectNode({name: ids[id(child)] for name, child in item.children.items()}, keys, slots))
    return Contents("object", dict(sorted(tensors.items())), ObjectGraph(tuple(nodes)))


def rebuild(root: Object) -> Rebuilt:
    """Return what a worker would find: the variables are called by their paths."""
    found = walk(root)
    ids = {id(item): number for number, (_, item) in enumerate(found)}
    variables, owners = [], {}
    for number, (path, item) in enumerate(found):
        if item.shape is not None:
            owners[number] = len(variables)
            variables.append(ModelVariable(path, item.shape, item.dtype, True, item.read))
    nodes = tuple(ObjectNode({n: ids[id(c)] for n, c in item.children.items()}, {}) for _, item in found)
    return Rebuilt(tuple(variables), ObjectGraph(nodes), owners, "3")


def bound_keys(comparison: Comparison, rebuilt: Rebuilt) -> dict[str, str]:
    return {rebuilt.variables[i].name: key.removesuffix(VALUE) for i, key in comparison.binding.items()}


def keys(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    return [row["key"].removesuffix(VALUE) for row in rows]


def names(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    return [row["name"] for row in rows]


def mlp() -> Object:
    return node(hidden=dense(784, 128), digit=dense(128, 10))
