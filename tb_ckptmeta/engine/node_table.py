"""A graph as a table of its nodes, read from a serialized GraphDef without a message for each.

Runs in the caller's process. What tells one node from another are its name and its inputs; of its attributes each is
that of thousands, byte for byte. So nodes are taken apart on the wire (graph.proto, node_def.proto), and what follows
the inputs is counted, parsed and put in order once for all nodes that have the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tensorboard.compat.proto import graph_pb2, node_def_pb2

from tb_ckptmeta.engine.bound_message import count_fields, parse_bounded
from tb_ckptmeta.engine.sstable import MalformedError, decode_varint
from tb_ckptmeta.engine.wire import encode_varint, read_field, split_fields

Rest = tuple[bytes, ...]
"""The fields of a NodeDef that follow its inputs, each with its tag, in order: its attributes by their names."""
Node = tuple[str, str, tuple[str, ...], Rest]
"""Name, operation, inputs, and the rest."""

_NODE = 0x0A
"""The tag of a GraphDef's field 1, which has a length."""
_NAME, _OP, _INPUT, _ATTRIBUTE = 0x0A, 0x12, 0x1A, 0x2A
"""Those of a NodeDef's fields 1, 2, 3 and 5."""
_MOST_KNOWN = 1 << 16
_LONGEST_KNOWN = 1024
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
        parts = []
        for name, op, inputs, rest in self.nodes:
            head = (_write(_NAME, name) if name else b"") + (_write(_OP, op) if op else b"")
            for tensor in inputs:
                head += _write(_INPUT, tensor)
            head += b"".join(rest)
            parts += [_write_length(_NODE, len(head)), head]
        return b"".join([*parts, self.other.SerializeToString(deterministic=True)])


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
    fields = [(tag, data[start:end]) for tag, start, _, end in split_fields(data) if tag not in (_NAME, _OP, _INPUT)]
    rest = tuple([field for _, field in sorted(fields, key=lambda found: _place(*found))])
    return message.name, message.op, tuple(message.input), rest


def _place(tag: int, field: bytes) -> tuple[int, bytes]:
    """Return what a field is put in order by: attributes, which are entries of a map, by their keys."""
    if tag != _ATTRIBUTE:
        return tag, b""
    _, begin, _ = read_field(field, 0)
    _, begin, end = read_field(field, begin)
    return tag, field[begin:end]


def read_nodes(data: bytes, most_fields: int = _UNBOUNDED, most_nodes: int = _UNBOUNDED) -> NodeTable:
    """Read a serialized GraphDef of at most so many nodes and fields, those of messages in it included.

    Raises:
        MalformedError: bytes that are no GraphDef, or one of more; it says which.
    """
    nodes: list[Node] = []
    other = bytearray()
    rests = _Rests(most_fields)
    fields = at = 0
    try:
        while at < len(data):
            start = at
            if data[at] == _NODE:
                size, begin = decode_varint(data, at + 1)
                at = begin + size
            else:
                tag, begin, at = read_field(data, at)
                if tag != _NODE:
                    other += data[start:at]
                    continue
            if at > len(data):
                raise MalformedError("ends within a node")
            # What has too many inputs to be counted afterwards is counted before.
            head = _read_head(data, begin, at) if at - begin <= 2 * most_fields else None
            rest = rests.read(data[head[3] : at]) if head is not None else None
            if head is None or rest is None:
                node, own = _read_unusual(data[begin:at], most_fields)
            else:
                name, op, inputs, _ = head
                node, own = (name, op, inputs, rest[0]), 2 + len(inputs) + rest[1]
            nodes.append(node)
            fields += 1 + own
            if fields > most_fields:
                raise MalformedError(f"has more than {most_fields} fields")
            if len(nodes) > most_nodes:
                raise MalformedError(f"has more than {most_nodes} operations")
    except IndexError:
        raise MalformedError("ends within a field") from None
    except UnicodeDecodeError:
        raise MalformedError("is no GraphDef") from None
    return NodeTable(nodes, parse_bounded(graph_pb2.GraphDef, bytes(other), most_fields - fields))


class _Field(NamedTuple):
    """One field of a node as it is written in order, what puts it there, and how many fields it has."""

    written: bytes
    place: tuple[int, bytes]
    fields: int


class _Rests:
    """Reads what follows the inputs of nodes, each once for all nodes that have the same."""

    def __init__(self, most_fields: int) -> None:
        self._most_fields = most_fields
        self._known: dict[bytes, tuple[Rest, int] | None] = {}
        self._fields: dict[bytes, _Field] = {}

    def read(self, data: bytes) -> tuple[Rest, int] | None:
        """Return it in order, and how many fields it has; None if that does not say what protobuf would make of it."""
        if len(data) > _LONGEST_KNOWN:
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
        for tag, start, _, end in split_fields(data):
            if tag in (_NAME, _OP, _INPUT):
                return None
            field = self._read_field(tag, data[start:end])
            if field.place in found:
                return None  # twice: of one the last counts, of another both
            found[field.place] = field
        return tuple([found[place].written for place in sorted(found)]), sum(f.fields for f in found.values())

    def _read_field(self, tag: int, data: bytes) -> _Field:
        field = self._fields.get(data)
        if field is None:
            fields = _count(data, self._most_fields)
            node = _parse_node(data, self._most_fields)
            written = node.SerializeToString(deterministic=True)
            field = _Field(written, _place(tag, written) if written else (tag, b""), fields)
            if len(data) <= _LONGEST_KNOWN:
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
        size, begin = decode_varint(data, at + 1)
    at = begin + size
    if at >= end or data[at] != _OP:
        return None
    name = data[begin:at].decode()
    size, begin = data[at + 1], at + 2
    if size >= _ONE_BYTE:
        size, begin = decode_varint(data, at + 1)
    at = begin + size
    op = data[begin:at].decode()
    inputs = []
    while at < end and data[at] == _INPUT:
        size, begin = data[at + 1], at + 2
        if size >= _ONE_BYTE:
            size, begin = decode_varint(data, at + 1)
        at = begin + size
        inputs.append(data[begin:at].decode())
    return (name, op, tuple(inputs), at) if at <= end else None


def _read_unusual(data: bytes, most_fields: int) -> tuple[Node, int]:
    """Read a node that is not written as TensorFlow does, and count its fields."""
    fields = _count(data, most_fields)
    return make_node(_parse_node(data, most_fields)), fields


def _parse_node(data: bytes, most_fields: int) -> Any:
    """Parse a node, or fields of one, as part of a graph: messages may lie so deep in one another and no deeper."""
    graph = parse_bounded(graph_pb2.GraphDef, _write_length(_NODE, len(data)) + data, most_fields)
    return graph.node[0]


def _write(tag: int, text: str) -> bytes:
    data = text.encode()
    size = len(data)
    return b"%c%c%b" % (tag, size, data) if size < _ONE_BYTE else _write_length(tag, size) + data


def _write_length(tag: int, size: int) -> bytes:
    return b"%c%c" % (tag, size) if size < _ONE_BYTE else b"%c%b" % (tag, encode_varint(size))
