"""Take out of a graph what says nothing when it is shown, or too much. Runs in the caller's process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

MOST_CONSTANT_BYTES = 1024
"""The dashboard asks for no limit, and a constant's values say nothing in a graph."""
_TOO_LARGE = "_too_large_attrs"
"""As TensorBoard's own process_graph marks what it has left out."""


class SilentAttributes:
    """Drops attributes that are empty texts and lists, being placed with oneself, and the values of constants.

    Which attributes of an operation are empty is looked at once, at its first node, and at others only whether those
    are, too: a graph may have a hundred thousand nodes, and what one says in vain all of its kind do.
    """

    def __init__(self) -> None:
        self._may_be_empty: dict[str, list[str]] = {}

    def drop(self, node: Any) -> None:
        """Drop them from one node."""
        attributes = node.attr
        op = node.op
        names = self._may_be_empty.get(op)
        if names is None:
            empty = {name for name, value in attributes.items() if _is_empty(value)}
            names = self._may_be_empty[op] = sorted(empty | {"_class", "debug_name"})
        for name in names:
            if name in attributes and _says_nothing(node, name):
                del attributes[name]
        if op == "Const":
            drop_value(node)


def _says_nothing(node: Any, name: str) -> bool:
    value = node.attr[name]
    return name == "debug_name" or _is_empty(value) or (name == "_class" and _is_placed_with_itself(node, value))


def _is_empty(value: Any) -> bool:
    kind = value.WhichOneof("value")
    return (kind == "s" and not value.s) or (kind == "list" and not value.list.ByteSize())


def _is_placed_with_itself(node: Any, place: Any) -> bool:
    return list(place.list.s) == [f"loc:@{node.name}".encode()]


def drop_value(node: Any) -> None:
    """Take a large constant's value from a node."""
    if node.op == "Const" and "value" in node.attr and node.attr["value"].ByteSize() > MOST_CONSTANT_BYTES:
        del node.attr["value"]
        node.attr[_TOO_LARGE].list.s.append(b"value")


def drop_uncalled(graph_def: Any) -> None:
    """Drop the functions of a graph's library that nothing in it calls: gradients, what inlining has left."""
    functions = {f.signature.name: f for f in graph_def.library.function}
    if not functions:
        return
    called = set()
    waiting = [name for node in graph_def.node for name in _find_called(node, functions)]
    while waiting:
        name = waiting.pop()
        if name not in called:
            called.add(name)
            waiting += [n for node in functions[name].node_def for n in _find_called(node, functions)]
    kept = [f for f in graph_def.library.function if f.signature.name in called]
    if len(kept) < len(functions):
        copies = [type(f).FromString(f.SerializeToString()) for f in kept]
        del graph_def.library.function[:]
        graph_def.library.function.extend(copies)
    del graph_def.library.gradient[:]


def _find_called(node: Any, functions: dict[str, Any]) -> Iterator[str]:
    if node.op in functions:
        yield node.op
    for value in node.attr.values():
        kind = value.WhichOneof("value")
        if kind == "func":
            names = [value.func.name]
        elif kind == "list" and value.list.func:
            names = [f.name for f in value.list.func]
        else:
            continue
        yield from (name for name in names if name in functions)
