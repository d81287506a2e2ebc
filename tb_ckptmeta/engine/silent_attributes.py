"""Take out of a graph what says nothing when it is shown, or too much. Runs in the caller's process."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, NamedTuple

from tb_ckptmeta.engine.attribute_fields import Rest, read_place
from tb_ckptmeta.engine.memo import Memo
from tb_ckptmeta.engine.node_table import SHORT, Node, NodeTable, make_message, make_node, parse_rest

MOST_CONSTANT_BYTES = SHORT
"""The dashboard asks for no limit, and a constant's values say nothing in a graph."""
_CONSTANT = "Const"
_TOO_LARGE = "_too_large_attrs"
"""As TensorBoard's own process_graph marks what it has left out."""
_MOST_KNOWN = 1 << 16


def drop_silent(table: NodeTable) -> NodeTable:
    """Return a graph without what says nothing: empty texts and lists, a node's place with itself, large constants."""
    silent = _SilentFields()
    other = _copy(table.other)
    for function in other.library.function:
        for message, node in zip(function.node_def, silent.drop(map(make_node, function.node_def)), strict=True):
            message.CopyFrom(make_message(node))
    return NodeTable(silent.drop(table.nodes), other)


class _Judged(NamedTuple):
    """What there is to say of the fields of a node, and the node that one of them places it with."""

    said: Rest
    place: str | None
    large: bool


class _SilentFields:
    """Tells which fields of nodes say nothing: of each once for all nodes that have it."""

    def __init__(self) -> None:
        self._fields = Memo(_judge, _MOST_KNOWN)
        self._rests = Memo(self._judge_all, _MOST_KNOWN)

    def drop(self, nodes: Iterable[Node]) -> list[Node]:
        """Return nodes without them."""
        rests, left = self._rests, []
        for node in nodes:
            name, op, inputs, rest = node
            said, place, large = rests[rest]
            if large and op == _CONSTANT:
                said, place, _ = rests[_drop_large(node)[3]]
            if place == name:
                said = tuple([field for field in said if read_place(field) is None])
            left.append(node if said is rest else (name, op, inputs, said))
        return left

    def _judge_all(self, rest: Rest) -> _Judged:
        judged = [(field, *self._fields[field]) for field in rest]
        if any(silent for _, silent, _ in judged):
            said = tuple([field for field, silent, _ in judged if not silent])
        else:
            said = rest
        place = next((place for _, _, place in judged if place is not None), None)
        return _Judged(said, place, any(len(field) > MOST_CONSTANT_BYTES for field in rest))


def _judge(field: bytes) -> tuple[bool, str | None]:
    """Return whether a field says nothing, and else the node that it places one with, if that is all it says."""
    place = read_place(field)
    if place is not None:
        return False, place.decode("utf-8", "surrogateescape")
    return any(_says_nothing(*attribute) for attribute in parse_rest((field,)).attr.items()), None


def _says_nothing(name: str, value: Any) -> bool:
    kind = value.WhichOneof("value")
    return (kind == "s" and not value.s) or (kind == "list" and not value.list.ByteSize()) or name == "debug_name"


def drop_values(table: NodeTable) -> None:
    """Take the values of large constants from a graph."""
    for place, node in enumerate(table.nodes):
        if node[1] == _CONSTANT:
            table.nodes[place] = _drop_large(node)
    for function in table.other.library.function:
        for message in function.node_def:
            drop_value(message)


def _drop_large(node: Node) -> Node:
    """Return a constant without its value if that is large."""
    if all(len(field) <= MOST_CONSTANT_BYTES for field in node[3]):
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
