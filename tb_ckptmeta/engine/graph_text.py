"""Write a graph as protobuf text, as the dashboard takes it. Runs in the caller's process.

It is the text of protobuf's own writer (protobuf.dev: Text Format), byte for byte, and that writes the attributes: each
once for all nodes that have the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tb_ckptmeta.engine.attribute_fields import Rest
from tb_ckptmeta.engine.memo import Memo
from tb_ckptmeta.engine.node_table import Node, NodeTable, make_message, parse_rest

_NODES_AT_ONCE = 1000
_MOST_KNOWN = 1 << 14
_ESCAPED = "\"'\\"


def write_text(table: NodeTable) -> Iterator[bytes]:
    """Yield the text of a graph, part by part; characters beyond ASCII are escaped, for the dashboard would do so."""
    fields = Memo(_write_field, _MOST_KNOWN)

    def write_rest(rest: Rest) -> str:
        return "".join([fields[field] for field in rest])

    rests = Memo(write_rest, _MOST_KNOWN)
    for start in range(0, len(table.nodes), _NODES_AT_ONCE):
        nodes = table.nodes[start : start + _NODES_AT_ONCE]
        write = _write_plain if _are_plain(nodes) else _write_any
        yield _encode("".join([f"node {{\n{write(node)}{rests[node[3]]}}}\n" for node in nodes]))
    yield _encode(str(table.other))


def _write_field(field: bytes) -> str:
    return _indent(str(parse_rest((field,))))


def _write_plain(node: Node) -> str:
    name, op, inputs, _ = node
    read = "".join([f'  input: "{tensor}"\n' for tensor in inputs])
    return f'  name: "{name}"\n  op: "{op}"\n{read}'


def _write_any(node: Node) -> str:
    return _indent(str(make_message((*node[:3], ()))))


def _are_plain(nodes: Sequence[Node]) -> bool:
    """Return whether names, operations and inputs stand in quotation marks as they are."""
    text = "".join([name + op + "".join(inputs) for name, op, inputs, _ in nodes])
    plain = text.isascii() and text.isprintable() and not any(mark in text for mark in _ESCAPED)
    return plain and all(name and op for name, op, _, _ in nodes)


def _indent(text: str) -> str:
    return "".join([f"  {line}\n" for line in text.split("\n")[:-1]])


def _encode(text: str) -> bytes:
    return text.encode("ascii", "backslashreplace")
