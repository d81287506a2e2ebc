"""The fields of a serialized protobuf message, one after another (protobuf.dev: Encoding).

Runs in the caller's process.
"""

from __future__ import annotations

from collections.abc import Iterator

from tb_ckptmeta.engine.sstable import MalformedError, decode_varint

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
"""How a field is written, as the last three bits of its tag say, those before them its number; groups are no more."""

_ONE_BYTE = 0x80
_LONGEST = 5
"""Bytes of a tag or a length; protobuf reads no more."""


def read_short(data: bytes, at: int) -> tuple[int, int]:
    """Return the tag or the length at `at`, and where it ends.

    Raises:
        MalformedError: one that runs past the data, or is longer than either may be.
    """
    number, end = decode_varint(data, at)
    if end - at > _LONGEST:
        raise MalformedError("has a tag or a length that is too long")
    return number, end


def read_field(data: bytes, at: int) -> tuple[int, int, int]:
    """Return the tag of the field at `at`, which is within the data, and where its content begins and ends.

    Raises:
        MalformedError: a field that runs past the data, or of a kind that protobuf no longer writes.
    """
    # Most tags and lengths take one byte.
    tag, begin = (data[at], at + 1) if data[at] < _ONE_BYTE else read_short(data, at)
    wire = tag & 7
    if wire == LENGTH:
        short = begin < len(data) and data[begin] < _ONE_BYTE
        size, begin = (data[begin], begin + 1) if short else read_short(data, begin)
        end = begin + size
    elif wire == VARINT:
        end = decode_varint(data, begin)[1]
    elif wire in (FIXED64, FIXED32):
        end = begin + (8 if wire == FIXED64 else 4)
    else:
        raise MalformedError("has a field of no kind that is written")
    if end > len(data):
        raise MalformedError("ends within a field")
    return tag, begin, end


def split_fields(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Yield the tag of each field, where it begins, and where its content begins and ends.

    Raises:
        MalformedError: as `read_field`.
    """
    at = 0
    while at < len(data):
        start = at
        tag, begin, at = read_field(data, at)
        yield tag, start, begin, at


def encode_varint(number: int) -> bytes:
    """Return a number of no sign as it is written, of variable length."""
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)
