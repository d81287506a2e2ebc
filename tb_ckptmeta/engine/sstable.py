"""A reader of the LevelDB-style tables in which TensorFlow keeps indexes. Runs in the caller's process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.engine.remote import RemoteFile

_MAGIC = 0xDB4775248B80FB57
_FOOTER_BYTES = 48
_TRAILER_BYTES = 5
_UNCOMPRESSED, _SNAPPY = 0, 1

# An index of this size would list millions of variables: more is a crafted file, not a checkpoint.
_LARGEST_READ = 1 << 29
# The first block of a V1 checkpoint may go on with weights: beyond this size only its first entry is read.
_LARGEST_FIRST_BLOCK = 1 << 20
_FIRST_LOOK = 4096

# TensorFlow writes every 16th key of a block in full, so keys cannot honestly unfold to more than 16 blocks.
_LARGEST_UNFOLDING = 64

_CRC_POLYNOMIAL = 0x82F63B78


class MalformedError(ValueError):
    """Bytes that do not follow the format; the message is what follows a file's name in a sentence."""


def crc32c(data: bytes) -> int:
    """Return the CRC-32C (Castagnoli) of `data`."""
    register = 0xFFFFFFFF
    if len(data) >= 2 * _FOLD_SPAN:
        data = _fold(data)
        register = 0
    for byte in data:
        register = _CRC_TABLE[(register ^ byte) & 0xFF] ^ (register >> 8)
    return register ^ 0xFFFFFFFF


def unmask_crc(masked: int) -> int:
    """Return the checksum behind a stored one: TensorFlow rotates and shifts them (crc32c.h, `Mask`)."""
    rotated = (masked - 0xA282EAD8) & 0xFFFFFFFF
    return (rotated >> 17 | rotated << 15) & 0xFFFFFFFF


def decode_varint(data: bytes, at: int) -> tuple[int, int]:
    """Return the variable-length number at `at` and the position after it.

    Raises:
        MalformedError: the number runs past the end of `data`, or has more than 64 bits.
    """
    value = 0
    for shift in range(0, 64, 7):
        if at >= len(data):
            raise MalformedError("is corrupt: a number runs past the end of its block")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise MalformedError("is corrupt: a number has more than 64 bits")


def decompress_snappy(data: bytes, limit: int | None = None) -> bytes:
    """Return what a Snappy block holds, or with `limit` its first bytes: the block may then be cut short.

    The format is google/snappy's format_description.txt.

    Raises:
        MalformedError: `data` is not a Snappy block.
    """
    size, at = decode_varint(data, 0)
    wanted = size if limit is None else min(size, limit)
    if wanted > _LARGEST_READ:
        raise MalformedError(f"is corrupt: a compressed block claims to hold {size} bytes")
    out = bytearray()
    while len(out) < wanted:
        if at >= len(data):
            raise MalformedError("is corrupt: a compressed block ends early")
        tag = data[at]
        at += 1
        if tag & 3 == 0:
            length = (tag >> 2) + 1
            if length > 60:
                width = length - 60
                length = int.from_bytes(data[at : at + width], "little") + 1
                at += width
            out += data[at : at + length]
            at += length
            continue
        width = (1, 2, 4)[(tag & 3) - 1]
        offset = int.from_bytes(data[at : at + width], "little")
        at += width
        length = (tag >> 2) + 1
        if width == 1:
            length = (tag >> 2 & 7) + 4
            offset |= tag >> 5 << 8
        if not 0 < offset <= len(out):
            raise MalformedError("is corrupt: a compressed block refers to bytes before its beginning")
        repeated = bytes(out[-offset:][:length])
        # A copy may overlap what it writes: then the last `offset` bytes repeat.
        out += (repeated * (length // offset + 1))[:length]
    if limit is None and (at != len(data) or len(out) != size):
        raise MalformedError("is corrupt: a compressed block is not as long as it says")
    return bytes(out[:wanted])


class Table:
    """An open table: keys in increasing order, each with a value, in blocks that carry a checksum.

    `name` is what errors call the file. Only what is asked for is read from `file`.

    Raises:
        CkptMetaError: CHECKPOINT_CORRUPT, from the constructor and every method; it names file and fault.
        OSError: from the same, when `file` cannot be read.
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file = file
        self._name = name
        self._size = file.seek(0, os.SEEK_END)
        with self._named_errors():
            self._blocks = self._read_block_handles()

    def entries(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield every key and its value, in order; each block is verified before its first entry is given."""
        previous: bytes | None = None
        with self._named_errors():
            for offset, size in self._blocks:
                for key, value in _block_entries(self._read_block(offset, size)):
                    if previous is not None and key <= previous:
                        raise MalformedError("is corrupt: its keys are not in order")
                    previous = key
                    yield key, value

    def first_entry(self) -> tuple[bytes, bytes]:
        """Return the first key and its value, and read little more than that.

        A block of more than 1 MiB, where a V1 checkpoint's weights begin, is read no further than the entry,
        so that its checksum stays unverified.
        """
        with self._named_errors():
            if not self._blocks:
                raise MalformedError("is corrupt: it holds no entries")
            offset, size = self._blocks[0]
            if size <= _LARGEST_FIRST_BLOCK:
                for key, value in _block_entries(self._read_block(offset, size)):
                    return key, value
                raise MalformedError("is corrupt: its first block holds no entries")
            start = self._read_block_start(offset, size, _FIRST_LOOK)
            _, at = decode_varint(start, 0)
            key_size, at = decode_varint(start, at)
            value_size, at = decode_varint(start, at)
            end = at + key_size + value_size
            if end > len(start):
                start = self._read_block_start(offset, size, end)
            if end > len(start):
                raise MalformedError("is corrupt: its first entry runs past the end of its block")
            return start[at : at + key_size], start[at + key_size : end]

    def block_checksums(self) -> bytes:
        """Return the stored types and checksums of all blocks, joined; the blocks themselves are not read."""
        with self._named_errors():
            trailers = [(offset + size, _TRAILER_BYTES) for offset, size in self._blocks]
            if isinstance(self._file, RemoteFile):  # a request for each, and thousands of them, but at a time
                return b"".join(self._file.read_many(trailers))
            return b"".join(self._read(*trailer) for trailer in trailers)

    def _read_block_handles(self) -> list[tuple[int, int]]:
        if self._size == 0:
            raise MalformedError("is empty")
        if self._size < _FOOTER_BYTES:
            raise MalformedError(f"is truncated: it has {self._size} bytes, and the footer alone takes {_FOOTER_BYTES}")
        footer = self._read(self._size - _FOOTER_BYTES, _FOOTER_BYTES)
        if int.from_bytes(footer[-8:], "little") != _MAGIC:
            raise MalformedError(
                "is truncated or no TensorFlow checkpoint: it does not end with the magic number of a table"
            )
        _, at = decode_varint(footer, 0)
        _, at = decode_varint(footer, at)
        offset, at = decode_varint(footer, at)
        size, _ = decode_varint(footer, at)
        handles = []
        end = 0
        for _, value in _block_entries(self._read_block(offset, size)):
            offset, at = decode_varint(value, 0)
            size, _ = decode_varint(value, at)
            # In order and apart, so that no crafted index makes us read one block a million times.
            if offset < end:
                raise MalformedError("is corrupt: its blocks overlap")
            end = offset + size + _TRAILER_BYTES
            if end > self._size - _FOOTER_BYTES:
                raise MalformedError("is corrupt: a block lies outside the file")
            handles.append((offset, size))
        return handles

    def _read_block(self, offset: int, size: int) -> bytes:
        stored = self._read(offset, size + _TRAILER_BYTES)
        if crc32c(stored[:-4]) != unmask_crc(int.from_bytes(stored[-4:], "little")):
            raise MalformedError(f"is corrupt: the checksum of the block at byte {offset} does not match")
        kind = stored[size]
        if kind == _UNCOMPRESSED:
            return stored[:size]
        if kind == _SNAPPY:
            return decompress_snappy(stored[:size])
        raise MalformedError(f"is corrupt: the block at byte {offset} has the compression type {kind}")

    def _read_block_start(self, offset: int, size: int, length: int) -> bytes:
        kind = self._read(offset + size, 1)[0]
        if kind == _UNCOMPRESSED:
            return self._read(offset, min(size, length))
        if kind == _SNAPPY:
            # Snappy's own bound on what `length` bytes grow to, and one of its fragments more.
            enough = length + length // 6 + 32 + (1 << 16)
            return decompress_snappy(self._read(offset, min(size, enough)), length)
        raise MalformedError(f"is corrupt: the block at byte {offset} has the compression type {kind}")

    def _read(self, offset: int, length: int) -> bytes:
        if offset + length > self._size:
            raise MalformedError("is corrupt: a block lies outside the file")
        if length > _LARGEST_READ:
            raise MalformedError(f"is corrupt: it claims a block of {length} bytes")
        self._file.seek(offset)
        data = self._file.read(length)
        if len(data) != length:
            raise MalformedError(f"is truncated: {length} bytes are needed at byte {offset}")
        return data

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except MalformedError as error:
            raise CkptMetaError(Code.CHECKPOINT_CORRUPT, f"{self._name} {error}.") from None


def _block_entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the entries of a block, whose keys leave out what they share with the key before."""
    if len(block) < 4:
        raise MalformedError("is corrupt: a block is too short")
    # The restart points serve binary search; we read from the start and only step over them.
    end = len(block) - 4 - 4 * int.from_bytes(block[-4:], "little")
    if end < 0:
        raise MalformedError("is corrupt: a block is shorter than its own restart array")
    key = b""
    at = unfolded = 0
    while at < end:
        sizes = block[at : at + 3]
        if max(sizes) < 0x80:  # Nearly always all three numbers take one byte each.
            shared, key_size, value_size = sizes
            at += 3
        else:
            shared, at = decode_varint(block, at)
            key_size, at = decode_varint(block, at)
            value_size, at = decode_varint(block, at)
        value_at = at + key_size
        if shared > len(key) or value_at + value_size > end:
            raise MalformedError("is corrupt: an entry runs past the end of its block")
        key = key[:shared] + block[at:value_at]
        unfolded += len(key)
        if unfolded > _LARGEST_UNFOLDING * len(block):
            raise MalformedError("is corrupt: the keys of a block unfold to many times its size")
        at = value_at + value_size
        yield key, block[value_at:at]


def _fold(data: bytes) -> bytes:
    """Return a short string with the same CRC register as `data`, when one starts from 0 instead of all ones.

    A byte loop does 5 MB/s in Python, shifts of whole integers twenty times that. Seen as a polynomial over
    GF(2), a message may change by any multiple of the CRC's own polynomial, and
    x^299 + x^142 + x^134 + x^62 + x^21 + 1 is one. So are its powers of 2^k, whose exponents are just 2^k
    times as large. Each lets five bits further back stand for one in front, and so the front falls away.
    """
    length = len(data)
    # The first byte is the lowest, since CRC-32C runs through each byte from its lowest bit.
    message = int.from_bytes(data, "little") ^ 0xFFFFFFFF
    unit = 1 << (length // _FOLD_SPAN).bit_length() - 1
    while unit:
        bits = 8 * unit
        while length >= _FOLD_SPAN * unit:
            front = message & ((1 << 157 * bits) - 1)
            message >>= 157 * bits
            message ^= front
            for distance in (8, 80, 121, 142):
                message ^= front << distance * bits
            length -= 157 * unit
        unit >>= 1
    return message.to_bytes(length, "little")


_FOLD_SPAN = 157 + 299


def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (_CRC_POLYNOMIAL if value & 1 else 0)
        table.append(value)
    return tuple(table)


_CRC_TABLE = _crc_table()
