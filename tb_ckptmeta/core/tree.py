"""What a checkpoint holds, as a tree with shapes and sizes: useful before any code is registered. Runs anywhere."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tb_ckptmeta.core import bookkeeping
from tb_ckptmeta.core.contents import CONFIGURATION, VALUE, Contents, ObjectGraph

MOST_NODES = 20_000
DEEPEST = 64
_LONGEST = 200
_OTHERS = 1_000_000
"""What a step into the training's own costs: a model's variable is shown in the model, not in its optimizer."""


@dataclass
class TreeNode:
    """A group, a variable (it has a `key`), or a reference to a node that stands elsewhere (`same_as`, its path).

    `variables`, `parameters` and `bytes` are of everything below, references apart. `bookkeeping`: the training's own.
    """

    name: str
    path: str
    bookkeeping: bool = False
    key: str | None = None
    shape: tuple[int, ...] = ()
    dtype: str = ""
    same_as: str | None = None
    variables: int = 0
    parameters: int = 0
    bytes: int = 0
    children: list[TreeNode] = field(default_factory=list)

    def walk(self) -> Iterator[TreeNode]:
        """Yield this node and all below it, each before its children."""
        stack = [self]
        while stack:
            node = stack.pop()
            yield node
            stack.extend(reversed(node.children))

    def as_json(self) -> dict[str, Any]:
        value: dict[str, Any] = {"name": self.name, "bookkeeping": self.bookkeeping}
        if self.same_as is not None:
            return {**value, "same_as": self.same_as}
        if self.key is not None:
            value |= {"key": self.key, "shape": list(self.shape), "dtype": self.dtype}
        value |= {"variables": self.variables, "parameters": self.parameters, "bytes": self.bytes}
        return value if self.key is not None else {**value, "children": [c.as_json() for c in self.children]}


@dataclass(frozen=True)
class Tree:
    """A checkpoint's tree. `left_out`: how many variables it does not show, for there are more than anybody reads."""

    root: TreeNode
    left_out: int

    def as_json(self) -> dict[str, Any]:
        return {"root": self.root.as_json(), "left_out": self.left_out}


def make_tree(contents: Contents, name: str) -> Tree:
    """Return the tree of a checkpoint that is called `name`.

    Of an object-based one its object graph, each object at its shortest path and a reference elsewhere; of others the
    parts of their names.
    """
    root = TreeNode(name, "")
    builder = _Builder(contents)
    if contents.objects is not None:
        builder.add_objects(root, contents.objects)
    else:
        builder.add_names(root)
    _add_up(root)
    return Tree(root, len(contents.tensors) - len(builder.placed))


class _Builder:
    def __init__(self, contents: Contents) -> None:
        self._contents = contents
        self._count = 0
        self._references: list[tuple[TreeNode, int]] = []
        self.placed: set[str] = set()

    def add_names(self, root: TreeNode) -> None:
        contents = self._contents
        shapes: Mapping[str, tuple[int, ...]] = {k: t.shape for k, t in contents.tensors.items()}
        groups: dict[str, TreeNode] = {"": root}
        for key in sorted(contents.tensors):
            if contents.is_keras_file:
                own = bookkeeping.is_array_bookkeeping(key)
            else:
                own = bookkeeping.is_name_bookkeeping(key, shapes[key], shapes)
            parts = key.split("/", DEEPEST)
            parent = root
            for depth, part in enumerate(parts[:-1], 1):
                path = "/".join(parts[:depth])
                group = groups.get(path)
                if group is None:
                    if not self._take():
                        return
                    group = groups[path] = TreeNode(part, path)
                    parent.children.append(group)
                parent = group
            if not self._take():
                return
            self._add_variable(parent, parts[-1], key, own)
        for group in groups.values():
            _mark_groups(group)

    def add_objects(self, root: TreeNode, saved: ObjectGraph) -> None:
        own = bookkeeping.find_bookkeeping_nodes(saved, self._contents.tensors, 0, ())
        edges = self._find_edges(saved, own)
        holding = self._find_holding(saved, edges)
        places: dict[int, TreeNode] = {0: root}
        paths = _find_shortest(edges, own)
        for node in paths:
            place = places.get(node)
            if place is None:
                continue
            inside = node in own
            self._add_keys(place, saved, node, inside)
            for label, child in edges[node]:
                if child not in holding or place.path.count("/") >= DEEPEST:
                    continue
                if not self._take():
                    return
                name = label[:_LONGEST]
                path = f"{place.path}/{name}" if place.path else name
                if paths[child] == (node, label):
                    below = places[child] = TreeNode(name, path, child in own)
                else:
                    below = TreeNode(name, path, child in own or inside, same_as="")
                    self._references.append((below, child))
                place.children.append(below)
        for reference, target in self._references:
            reference.same_as = places[target].path if target in places else ""

    def _find_edges(self, saved: ObjectGraph, own: set[int]) -> list[list[tuple[str, int]]]:
        """Return the named edges of every node; a slot variable is its optimizer's, named after what it belongs to."""
        edges = [list(node.children.items()) for node in saved.nodes]
        for number, node in enumerate(saved.nodes):
            for slot, variable, at in node.slots:
                key = saved.nodes[variable].keys.get(VALUE, str(variable))
                edges[number].append((f"{slot} of {key.removesuffix(_SUFFIX)}".replace("/", "."), at))
                own.add(at)
        return edges

    def _find_holding(self, saved: ObjectGraph, edges: list[list[tuple[str, int]]]) -> set[int]:
        """Return the nodes below which there is a variable: the others say nothing."""
        parents: dict[int, list[int]] = {}
        for node, named in enumerate(edges):
            for _, child in named:
                parents.setdefault(child, []).append(node)
        stack = [n for n, node in enumerate(saved.nodes) if any(a != CONFIGURATION for a in node.keys)]
        holding = set(stack)
        while stack:
            for parent in parents.get(stack.pop(), ()):
                if parent not in holding:
                    holding.add(parent)
                    stack.append(parent)
        return holding

    def _add_keys(self, place: TreeNode, saved: ObjectGraph, node: int, own: bool) -> None:
        keys = saved.nodes[node].keys
        if list(keys) == [VALUE] and place.path and not saved.nodes[node].children:
            self._set_variable(place, keys[VALUE], own)
            return
        for attribute, key in keys.items():
            if attribute != CONFIGURATION and self._take():
                self._add_variable(place, attribute, key, own)

    def _add_variable(self, parent: TreeNode, name: str, key: str, own: bool) -> None:
        child = TreeNode(name, f"{parent.path}/{name}" if parent.path else name)
        parent.children.append(child)
        self._set_variable(child, key, own)

    def _set_variable(self, node: TreeNode, key: str, own: bool) -> None:
        stored = self._contents.tensors[key]
        node.key, node.shape, node.dtype, node.bookkeeping = key, stored.shape, stored.dtype, own
        node.variables, node.parameters, node.bytes = 1, math.prod(stored.shape), stored.bytes
        self.placed.add(key)

    def _take(self) -> bool:
        self._count += 1
        return self._count <= MOST_NODES


_SUFFIX = f"/.ATTRIBUTES/{VALUE}"


def _find_shortest(edges: list[list[tuple[str, int]]], own: set[int]) -> dict[int, tuple[int, str]]:
    """Return, nearest first, node -> (parent, edge) on its shortest path, one through the training's own last."""
    found: dict[int, tuple[int, str]] = {}
    heap: list[tuple[int, int, int, int, str]] = [(0, 0, 0, -1, "")]
    count = 0
    while heap:
        cost, _, node, parent, label = heapq.heappop(heap)
        if node in found:
            continue
        found[node] = (parent, label)
        for edge, child in edges[node]:
            if child not in found:
                count += 1
                step = 1 + (_OTHERS if child in own and node not in own else 0)
                heapq.heappush(heap, (cost + step, count, child, node, edge))
    return found


def _mark_groups(group: TreeNode) -> None:
    """Mark a group of a name-based checkpoint that holds the training's own alone."""
    variables = [n for n in group.walk() if n.key is not None]
    group.bookkeeping = bool(variables) and bool(group.path) and all(n.bookkeeping for n in variables)


def _add_up(root: TreeNode) -> None:
    """Add up what is below each node, and drop the groups that hold no variable of their own."""
    nodes = list(root.walk())
    for node in reversed(nodes):
        # A list of what stands elsewhere says nothing: Keras keeps several of its variables.
        node.children = [c for c in node.children if c.variables or c.same_as]
        for child in node.children:
            node.variables += child.variables
            node.parameters += child.parameters
            node.bytes += child.bytes
