"""Parse a protobuf message from a logdir only once it is known how many fields it has. Runs in the caller's process.

Two bytes on the wire can be a message of two hundred in memory: a small file would fill the caller's. So the wire is
walked first, by the message's own schema, without making anything of it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from google.protobuf.message import DecodeError

from tb_ckptmeta.engine.sstable import MalformedError, decode_varint

_FIELD_BYTES = 2
"""The least that a field takes on the wire: a tag and a length or a number."""
_SHORT = 64
_SHORT_REST = 512
"""Messages of no more bytes are counted once for all that are the same, and so is what is left of one from its first
inner message on: a graph's nodes have names of their own, but the same few attributes over and over."""
_MOST_KNOWN = 4096


def parse_bounded(message: Any, data: bytes, most_fields: int) -> Any:
    """Parse `data` into a `message` of at most so many fields, those of messages in it included.

    Fields that the message does not know are left out.

    Raises:
        MalformedError: bytes that are no such message, or one of more fields; it says which.
    """
    if len(data) > _FIELD_BYTES * most_fields and count_fields(data, message.DESCRIPTOR, most_fields) > most_fields:
        raise MalformedError(f"has more than {most_fields} fields")
    try:
        parsed = message.FromString(data)
        parsed.DiscardUnknownFields()
        return parsed
    except (DecodeError, UnicodeDecodeError, RecursionError):
        raise MalformedError(f"is no {message.DESCRIPTOR.name}") from None


def count_fields(data: bytes, descriptor: Any, most: int) -> int:
    """Count the fields of a message on the wire, and stop beyond `most`.

    Raises:
        MalformedError: a field that runs past its message, or of a kind that protobuf no longer writes.
    """
    count = 0
    known: dict[tuple[int, bytes], int] = {}
    stack = [(0, len(data), descriptor)]
    while stack:
        begin, end, kind = stack.pop()
        messages = _find_messages(kind)
        at = begin
        while at < end:
            start = at
            tag, at = (data[at], at + 1) if data[at] < 128 else decode_varint(data, at)
            wire = tag & 7
            if wire == 2:
                inner = messages.get(tag >> 3)
                if inner is not None and begin < start and end - start <= _SHORT_REST:
                    count += _count_again(known, kind, data[start:end], most)
                    at = end
                    break
                size, at = (data[at], at + 1) if at < end and data[at] < 128 else decode_varint(data, at)
                if inner is None:
                    pass
                elif size > _SHORT or at + size > end:
                    stack.append((at, at + size, inner))
                else:
                    count += _count_again(known, inner, data[at : at + size], most)
                at += size
            elif wire == 0:
                at = at + 1 if at < end and data[at] < 128 else decode_varint(data, at)[1]
            elif wire in (1, 5):
                at += 8 if wire == 1 else 4
            else:
                raise MalformedError("has a field of no kind that is written")
            if at > end:
                raise MalformedError("ends within a field")
            count += 1
            if count > most:
                return count
    return count


def _count_again(known: dict[tuple[int, bytes], int], kind: Any, data: bytes, most: int) -> int:
    key = (id(kind), data)
    fields = known.get(key)
    if fields is None:
        fields = count_fields(data, kind, most)
        if len(known) < _MOST_KNOWN:
            known[key] = fields
    return fields


@lru_cache(maxsize=256)
def _find_messages(descriptor: Any) -> dict[int, Any]:
    """Return number -> type of the fields that are messages themselves; an entry of a map is one."""
    return {f.number: f.message_type for f in descriptor.fields if f.message_type is not None}
