"""Take out of a graph what says nothing when it is shown, or too much. Runs in the caller's process."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

from tb_ckptmeta.engine.node_table import Node, NodeTable, Rest, make_message, make_node, parse_rest

MOST_CONSTANT_BYTES = 1024
"""The dashboard asks for no limit, and a constant's values say nothing in a graph."""
_CONSTANT = "Const"
PLACE = b"loc:@"
"""What the attribute `_class` has before the name of a node that this one is placed with."""
_TOO_LARGE = "_too_large_attrs"
"""As TensorBoard's own process_graph marks what it has left out."""
_MOST_KNOWN = 1 << 14


def drop_silent(table: NodeTable) -> NodeTable:
    """Return a graph without what says nothing: empty texts and lists, a node's place with itself, large constants."""
    silent = _SilentFields()
    other = _copy(table.other)
    for function in other.library.function:
        for message in function.node_def:
            message.CopyFrom(make_message(silent.drop(make_node(message))))
    return NodeTable([silent.drop(node) for node in table.nodes], other)


class _SilentFields:
    """Tells which fields of nodes say nothing: of each once for all nodes that have it."""

    def __init__(self) -> None:
        self._said: dict[Rest, tuple[Rest, str | None]] = {}
        self._judged: dict[bytes, tuple[bool, str | None]] = {}

    def drop(self, node: Node) -> Node:
        """Return a node without them."""
        name, op, inputs, rest = _drop_large(node)
        known = self._said.get(rest)
        if known is None:
            judged = [(field, *(self._judged.get(field) or self._judge(field))) for field in rest]
            said = tuple([field for field, silent, _ in judged if not silent])
            known = self._said[rest] = said, next((place for _, _, place in judged if place is not None), None)
            if len(self._said) > _MOST_KNOWN:
                self._said.clear()
        said, place = known
        if place == name:
            said = tuple([field for field in said if self._judge(field)[1] is None])
        return name, op, inputs, said

    def _judge(self, field: bytes) -> tuple[bool, str | None]:
        """Return whether a field says nothing, and else the node that it places one with, if that is all it says."""
        judged = self._judged.get(field)
        if judged is None:
            (attribute,) = parse_rest((field,)).attr.items() or (("", None),)
            judged = self._judged[field] = _judge(*attribute)
            if len(self._judged) > _MOST_KNOWN:
                self._judged.clear()
        return judged


def _judge(name: str, value: Any) -> tuple[bool, str | None]:
    kind = "" if value is None else value.WhichOneof("value")
    empty = (kind == "s" and not value.s) or (kind == "list" and not value.list.ByteSize())
    if name == "_class" and len(value.list.s) == 1 and value.list.s[0].startswith(PLACE):
        return False, value.list.s[0][len(PLACE) :].decode("utf-8", "surrogateescape")
    return empty or name == "debug_name", None


def drop_values(table: NodeTable) -> None:
    """Take the values of large constants from a graph."""
    table.nodes = [_drop_large(node) for node in table.nodes]
    for function in table.other.library.function:
        for message in function.node_def:
            drop_value(message)


def _drop_large(node: Node) -> Node:
    if node[1] != _CONSTANT or all(len(field) <= MOST_CONSTANT_BYTES for field in node[3]):
        return node
    message = make_message(node)
    drop_value(message)
    return make_node(message)


def drop_value(node: Any) -> None:
    """Take a large constant's value from a node's message."""
    if node.op == _CONSTANT and "value" in node.attr and node.attr["value"].ByteSize() > MOST_CONSTANT_BYTES:
        del node.attr["value"]
        node.attr[_TOO_LARGE].list.s.append(b"value")


def drop_uncalled(table: NodeTable) -> NodeTable:
    """Return a graph without the functions that nothing in it calls: gradients, what inlining has left."""
    functions = {f.signature.name: f for f in table.other.library.function}
    if not functions:
        return table
    called = set()
    waiting = [op for op in {op for _, op, _, _ in table.nodes} if op in functions]
    for rest in {rest for _, _, _, rest in table.nodes}:
        waiting += _find_named(parse_rest(rest), functions)
    while waiting:
        name = waiting.pop()
        if name not in called:
            called.add(name)
            for node in functions[name].node_def:
                waiting += chain((node.op,) if node.op in functions else (), _find_named(node, functions))
    other = _copy(table.other)
    other.ClearField("library")
    other.library.function.extend(f for f in table.other.library.function if f.signature.name in called)
    return NodeTable(table.nodes, other)


def _copy(message: Any) -> Any:
    copied = type(message)()
    copied.CopyFrom(message)
    return copied


def _find_named(node: Any, functions: dict[str, Any]) -> Iterator[str]:
    """Yield the functions that a node's attributes name."""
    for value in node.attr.values():
        kind = value.WhichOneof("value")
        if kind == "func":
            names = [value.func.name]
        elif kind == "list" and value.list.func:
            names = [f.name for f in value.list.func]
        else:
            continue
        yield from (name for name in names if name in functions)
