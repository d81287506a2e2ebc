"""A gzip file that is compressed once, and ends otherwise each time. Runs in the caller's process.

Raw deflate data (RFC 1951) that was flushed may go on with data that was compressed apart from it, and a CRC-32 goes on
from that of what came before (RFC 1952): so the body of a graph is compressed once, and the few lines that name the
checkpoint follow it, in one member. (A second member would be allowed too, but browsers read the first alone.)
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

_LEVEL = 3
"""As TensorBoard compresses its answers."""
_HEADER = b"\x1f\x8b\x08\x00" + struct.pack("<I", 0) + b"\x00\xff"  # deflate, no flags, no time, no system


@dataclass(frozen=True)
class Deflated:
    """The compressed beginning of a gzip file; `crc` and `size` are those of its content."""

    data: bytes
    crc: int
    size: int


def deflate(content: Iterable[bytes]) -> Deflated:
    """Compress the beginning of a gzip file, part by part."""
    compressor = zlib.compressobj(_LEVEL, wbits=-zlib.MAX_WBITS)
    data = []
    crc = size = 0
    for part in content:
        data.append(compressor.compress(part))
        crc = zlib.crc32(part, crc)
        size += len(part)
    data.append(compressor.flush(zlib.Z_FULL_FLUSH))
    return Deflated(b"".join(data), crc, size)


def finish_gzip(beginning: Deflated, end: bytes) -> bytes:
    """Return the gzip file of a beginning and an end."""
    compressor = zlib.compressobj(_LEVEL, wbits=-zlib.MAX_WBITS)
    data = compressor.compress(end) + compressor.flush(zlib.Z_FINISH)
    trailer = struct.pack("<II", zlib.crc32(end, beginning.crc), (beginning.size + len(end)) & 0xFFFFFFFF)
    return b"".join([_HEADER, beginning.data, data, trailer])
