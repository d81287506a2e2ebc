"""A graph as a table of its nodes, read from a serialized GraphDef without a message for each.

Runs in the caller's process. What tells one node from another are its name and its inputs; of its attributes each is
that of thousands, byte for byte. So nodes are taken apart on the wire (graph.proto, node_def.proto), and what follows
the inputs is counted, parsed and put in order once for all nodes that have the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tensorboard.compat.proto import graph_pb2, node_def_pb2

from tb_ckptmeta.engine.attribute_fields import (
    ATTRIBUTE,
    PLACE_FIELDS,
    Rest,
    order_field,
    read_place,
    write_bytes,
    write_length,
)
from tb_ckptmeta.engine.bound_message import count_fields, parse_bounded
from tb_ckptmeta.engine.sstable import MalformedError
from tb_ckptmeta.engine.wire import read_field, read_short, split_fields

Node = tuple[str, str, tuple[str, ...], Rest]
"""Name, operation, inputs, and the rest."""

_NODE = 0x0A
"""The tag of a GraphDef's field 1, which has a length."""
_NAME, _OP, _INPUT = 0x0A, 0x12, 0x1A
"""Those of a NodeDef's fields 1, 2 and 3."""
_MOST_OWN = 1000
"""A node of more attributes is parsed as a whole: one by one would take as many times as long."""
_MOST_KNOWN = 1 << 16
SHORT = 1024
"""What is longer, a constant's values, nothing else has; to remember it would take its memory once more."""
_UNBOUNDED = 1 << 62

_ONE_BYTE = 0x80
"""A length below this is written in one byte, as nearly all are."""


@dataclass
class NodeTable:
    """The nodes of a graph, and a GraphDef of all else in it: functions, versions."""

    nodes: list[Node]
    other: Any = field(default_factory=graph_pb2.GraphDef)

    def serialize(self) -> bytes:
        """Return the GraphDef: the same bytes for the same graph."""
        written = map(_write_node, self.nodes)
        return b"".join([*written, self.other.SerializeToString(deterministic=True)])


class Apart(NamedTuple):
    """Where in a GraphDef there is anything but a short node: the number of a node, or None for what is none."""

    begin: int
    end: int
    node: int | None


def tabulate(graph_def: Any) -> NodeTable:
    """Return the table of a GraphDef."""
    return read_nodes(graph_def.SerializeToString())


def parse_rest(rest: Rest) -> Any:
    """Return a new NodeDef of the rest of one."""
    return node_def_pb2.NodeDef.FromString(b"".join(rest))


def make_message(node: Node) -> Any:
    """Return a new NodeDef."""
    name, op, inputs, rest = node
    message = parse_rest(rest)
    message.name, message.op = name, op
    message.input.extend(inputs)
    return message


def make_node(message: Any) -> Node:
    """Return the node of a NodeDef."""
    data = message.SerializeToString(deterministic=True)
    fields = [data[start:end] for tag, start, _, end in split_fields(data) if tag not in (_NAME, _OP, _INPUT)]
    return message.name, message.op, tuple(message.input), tuple(sorted(fields, key=order_field))


def read_nodes(data: bytes, most_fields: int = _UNBOUNDED, most_nodes: int = _UNBOUNDED) -> NodeTable:
    """Read a serialized GraphDef of at most so many nodes and fields, those of messages in it included.

    Raises:
        MalformedError: bytes that are no GraphDef, or one of more; it says which.
    """
    return read_graph(data, most_fields, most_nodes)[0]


def read_graph(data: bytes, most_fields: int, most_nodes: int) -> tuple[NodeTable, list[Apart]]:
    """Read it as `read_nodes` does, and return also where in it there is anything but short nodes."""
    nodes: list[Node] = []
    other = bytearray()
    apart: list[Apart] = []
    rests = _Rests(most_fields)
    fields = others = at = 0
    try:
        while at < len(data):
            start = at
            if data[at] == _NODE:
                tag = _NODE
                size, begin = read_short(data, at + 1)
                at = begin + size
            else:
                tag, begin, at = read_field(data, at)
            if at > len(data):
                raise MalformedError("ends within a node")
            if tag == _NODE:
                # What has too many inputs to be counted afterwards is counted before.
                head = _read_head(data, begin, at) if at - begin <= 2 * most_fields else None
                rest = rests.read(data[head[3] : at]) if head is not None else None
                if head is None or rest is None:
                    node, own = _read_unusual(data[begin:at], most_fields)
                else:
                    name, op, inputs, _ = head
                    node, own = (name, op, inputs, rest[0]), 2 + len(inputs) + rest[1]
                fields += 1 + own
                if at - begin > SHORT:
                    apart.append(Apart(start, at, len(nodes)))
                nodes.append(node)
            else:
                other += data[start:at]
                others += 1
                if apart and apart[-1].node is None and apart[-1].end == start:
                    start = apart.pop().begin
                apart.append(Apart(start, at, None))
            if fields + others > most_fields:
                raise MalformedError(f"has more than {most_fields} fields")
            if len(nodes) > most_nodes:
                raise MalformedError(f"has more than {most_nodes} operations")
    except IndexError:
        raise MalformedError("ends within a field") from None
    except UnicodeDecodeError:
        raise MalformedError("is no GraphDef") from None
    return NodeTable(nodes, parse_bounded(graph_pb2.GraphDef, bytes(other), most_fields - fields)), apart


def write_again(table: NodeTable, data: bytes, apart: Sequence[Apart]) -> bytes:
    """Return the GraphDef of a table of which only long nodes and what is no node have changed since it was read.

    Short nodes are as they were, which takes no time; `table.serialize()` would write them in order.
    """
    parts = []
    at = 0
    for start, end, node in apart:
        parts.append(data[at:start])
        if node is not None:
            parts.append(_write_node(table.nodes[node]))
        at = end
    return b"".join([*parts, data[at:], table.other.SerializeToString(deterministic=True)])


class _Field(NamedTuple):
    """One field of a node as protobuf writes it, what puts it in order, and how many fields it has."""

    written: bytes
    order: tuple[int, bytes]
    fields: int


class _Rests:
    """Reads what follows the inputs of nodes, each once for all nodes that have the same."""

    def __init__(self, most_fields: int) -> None:
        self._most_fields = most_fields
        self._known: dict[bytes, tuple[Rest, int] | None] = {}
        self._fields: dict[bytes, _Field] = {}

    def read(self, data: bytes) -> tuple[Rest, int] | None:
        """Return it in order, and how many fields it has; None if that does not say what protobuf would make of it."""
        if len(data) > SHORT:
            return self._read(data)
        try:
            return self._known[data]
        except KeyError:
            read = self._known[data] = self._read(data)
            if len(self._known) > _MOST_KNOWN:
                self._known.clear()
            return read

    def _read(self, data: bytes) -> tuple[Rest, int] | None:
        found: dict[tuple[int, bytes], _Field] = {}
        known = self._fields
        at = 0
        while at < len(data):
            start = at
            if data[at] == ATTRIBUTE and data[at + 1] < _ONE_BYTE:
                tag, at = ATTRIBUTE, at + 2 + data[at + 1]
            else:
                tag, _, at = read_field(data, at)
            if tag in (_NAME, _OP, _INPUT):
                return None
            written = data[start:at]  # if it ends within the field, that is no node to protobuf
            field = known.get(written) or self._read_field(tag, written)
            if field.order in found or len(found) == _MOST_OWN:
                return None  # twice: of one the last counts, of another both
            found[field.order] = field
        # What protobuf does not know, and what says no more than its absence, is nothing when it is written.
        rest = tuple([written for order in sorted(found) if (written := found[order].written)])
        return rest, sum(field.fields for field in found.values())

    def _read_field(self, tag: int, data: bytes) -> _Field:
        if read_place(data) is not None:
            field = _Field(data, order_field(data), PLACE_FIELDS)
        else:
            fields = _count(data, self._most_fields)
            node = _parse_node(data, self._most_fields)
            written = node.SerializeToString(deterministic=True)
            field = _Field(written, order_field(written) if written else (tag, b""), fields)
        if len(data) <= SHORT:
            self._fields[data] = field
        if len(self._fields) > _MOST_KNOWN:
            self._fields.clear()
        return field


def _count(data: bytes, most: int) -> int:
    """Return how many fields there are in a node's; 0 where that does not matter."""
    return count_fields(data, node_def_pb2.NodeDef.DESCRIPTOR, most) if most < _UNBOUNDED else 0


def _read_head(data: bytes, at: int, end: int) -> tuple[str, str, tuple[str, ...], int] | None:
    """Read name, operation and inputs, and where they end; None if a node does not begin with them in this order."""
    if at == end or data[at] != _NAME:
        return None
    # Lengths are read in place: a call for each would take as long as all else.
    size, begin = data[at + 1], at + 2
    if size >= _ONE_BYTE:
        size, begin = read_short(data, at + 1)
    at = begin + size
    if at >= end or data[at] != _OP:
        return None
    name = data[begin:at].decode()
    size, begin = data[at + 1], at + 2
    if size >= _ONE_BYTE:
        size, begin = read_short(data, at + 1)
    at = begin + size
    op = data[begin:at].decode()
    inputs = []
    while at < end and data[at] == _INPUT:
        size, begin = data[at + 1], at + 2
        if size >= _ONE_BYTE:
            size, begin = read_short(data, at + 1)
        at = begin + size
        inputs.append(data[begin:at].decode())
    return (name, op, tuple(inputs), at) if at <= end else None


def _read_unusual(data: bytes, most_fields: int) -> tuple[Node, int]:
    """Read a node that is not written as TensorFlow does, and count its fields."""
    fields = _count(data, most_fields)
    return make_node(_parse_node(data, most_fields)), fields


def _parse_node(data: bytes, most_fields: int) -> Any:
    """Parse a node, or fields of one, as part of a graph: messages may lie so deep in one another and no deeper."""
    graph = parse_bounded(graph_pb2.GraphDef, write_length(_NODE, len(data)) + data, most_fields)
    return graph.node[0]


def _write_node(node: Node) -> bytes:
    name, op, inputs, rest = node
    head = (_write(_NAME, name) if name else b"") + (_write(_OP, op) if op else b"")
    if inputs:
        head += b"".join([_write(_INPUT, tensor) for tensor in inputs])
    return write_bytes(_NODE, head + b"".join(rest))


def _write(tag: int, text: str) -> bytes:
    data = text.encode()
    size = len(data)
    return b"%c%c%b" % (tag, size, data) if size < _ONE_BYTE else write_bytes(tag, data)
