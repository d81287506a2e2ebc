"""Attributes of a node as they are written: entries of `map<string, AttrValue> attr = 5` (node_def.proto).

Runs in the caller's process. What is asked of nearly every node is read and written here without a message for it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from tb_ckptmeta.engine.wire import encode_varint, read_field

Rest = tuple[bytes, ...]
"""The fields of a NodeDef that follow its inputs, each with its tag, in order: its attributes by their names."""

ATTRIBUTE = 0x2A
"""The tag of an attribute."""
PLACE = b"loc:@"
"""What the attribute `_class` has before the name of a node that this one is placed with."""
PLACE_FIELDS = 5
"""How many fields an attribute that names one such node has: itself, its name, its value, a list, a text."""

_KEY, _VALUE = 0x0A, 0x12
"""The tags of an entry of a map."""
_LIST = 0x0A
"""That of `ListValue list = 1` in an AttrValue."""
_TEXT = 0x12
"""That of `bytes s = 2`, and of `repeated bytes s = 2` in a ListValue."""
_ONE_BYTE = 0x80


def write_length(tag: int, size: int) -> bytes:
    """Return the beginning of a field that has a length; a tag is less than 128."""
    return b"%c%c" % (tag, size) if size < _ONE_BYTE else b"%c%b" % (tag, encode_varint(size))


def write_bytes(tag: int, data: bytes) -> bytes:
    """Return a field that has a length."""
    return write_length(tag, len(data)) + data


def write_text_attribute(key: bytes, text: bytes) -> bytes:
    """Return an attribute that is a text."""
    return _write(key, write_bytes(_TEXT, text))


def write_place(node: bytes) -> bytes:
    """Return the attribute that places a node with another."""
    return _write(b"_class", write_bytes(_LIST, write_bytes(_TEXT, PLACE + node)))


def read_place(field: bytes) -> bytes | None:
    """Return the node that an attribute places one with, None if it says anything else."""
    at = field.find(PLACE)
    if at < 0:
        return None
    node = field[at + len(PLACE) :]
    return node if field == write_place(node) else None


def read_key(field: bytes) -> bytes:
    """Return an attribute's name."""
    if field[1] < _ONE_BYTE and field[2] == _KEY and field[3] < _ONE_BYTE:  # as nearly all are
        return field[4 : 4 + field[3]]
    _, begin, _ = read_field(field, 0)
    _, begin, end = read_field(field, begin)
    return field[begin:end]


def read_attributes(rest: Rest) -> dict[bytes, bytes]:
    """Return the attributes by their names."""
    return {read_key(field): field for field in rest if field[0] == ATTRIBUTE}


def set_attributes(rest: Rest, own: Rest) -> Rest:
    """Return what follows the inputs of a node with more attributes, in order, or others in the place of its own."""
    if not own:
        return rest
    at = bisect_left(rest, order_field(own[0]), key=order_field)
    end = bisect_right(rest, order_field(own[-1]), key=order_field)
    if at == end:  # all of them stand between two others
        return (*rest[:at], *own, *rest[at:])
    keys = set(map(read_key, own))
    kept = [field for field in rest if field[0] != ATTRIBUTE or read_key(field) not in keys]
    return tuple(sorted([*kept, *own], key=order_field))


def order_field(field: bytes) -> tuple[int, bytes]:
    """Return what the fields of a node are put in order by: their tags, and attributes by their names."""
    return field[0], read_key(field) if field[0] == ATTRIBUTE else b""


def _write(key: bytes, value: bytes) -> bytes:
    return write_bytes(ATTRIBUTE, write_bytes(_KEY, key) + write_bytes(_VALUE, value))
