from __future__ import annotations

import contextlib
import io
import random
from collections.abc import Callable, Iterable
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.engine.sstable import (
    MalformedError,
    Table,
    crc32c,
    decode_varint,
    decompress_snappy,
    unmask_crc,
)

T = TypeVar("T")
# A busy machine is no failure.
undisturbed = settings(deadline=None)
MAGIC = 0xDB4775248B80FB57


def varint(number: int) -> bytes:
    out = b""
    while number > 0x7F:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def slow_crc32c(data: bytes) -> int:
    register = 0xFFFFFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0x82F63B78 if register & 1 else 0)
    return register ^ 0xFFFFFFFF


def masked(crc: int) -> int:
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def snappy_of_literals(data: bytes) -> bytes:
    """A Snappy block without any copies, in literals of up to 65536 bytes as the real one has."""
    out = varint(len(data))
    for start in range(0, len(data), 65536):
        piece = data[start : start + 65536]
        out += bytes([61 << 2]) + (len(piece) - 1).to_bytes(2, "little") + piece
    return out


def block_of(entries: Iterable[tuple[bytes, bytes]], restart_interval: int = 16) -> bytes:
    out, restarts, previous = b"", [], b""
    for number, (key, value) in enumerate(entries):
        shared = 0
        if number % restart_interval == 0:
            restarts.append(len(out))
        else:
            while shared < min(len(key), len(previous)) and key[shared] == previous[shared]:
                shared += 1
        out += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        previous = key
    for restart in restarts or [0]:
        out += restart.to_bytes(4, "little")
    return out + len(restarts or [0]).to_bytes(4, "little")


def table_of_blocks(blocks: Iterable[bytes], kind: int = 0, handles: list[bytes] | None = None) -> bytes:
    """A table of ready blocks; `handles` replaces what the index says of them."""
    out = b""
    found = []

    def add(block: bytes, kind: int) -> bytes:
        nonlocal out
        stored = snappy_of_literals(block) if kind == 1 else block
        handle = varint(len(out)) + varint(len(stored))
        out += stored + bytes([kind])
        out += masked(crc32c(stored + bytes([kind]))).to_bytes(4, "little")
        return handle

    for block in blocks:
        found.append(add(block, kind))
    metaindex = add(block_of([]), 0)
    index = add(block_of([(b"%08d" % n, handle) for n, handle in enumerate(handles or found)], 1), 0)
    return out + (metaindex + index).ljust(40, b"\0") + MAGIC.to_bytes(8, "little")


def table_of(entries: dict[bytes, bytes], kind: int = 0, per_block: int = 20) -> bytes:
    items = sorted(entries.items())
    return table_of_blocks([block_of(items[n : n + per_block]) for n in range(0, len(items), per_block)], kind)


def read(data: bytes) -> list[tuple[bytes, bytes]]:
    return list(Table(io.BytesIO(data), "ckpt.index").entries())


def outcome(action: Callable[[], T]) -> T | Code:
    """Return what `action` returns, or the code of its error; any other exception passes."""
    try:
        return action()
    except CkptMetaError as error:
        return error.code


class CountingFile(io.BytesIO):
    """A file that counts the bytes read from it."""

    count = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.count += len(data)
        return data


ENTRIES = {b"": b"header", **{b"layer_%d/kernel" % n: b"value %d" % n for n in range(70)}}


# --- Checksums


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", 0),
        (b"123456789", 0xE3069283),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
    ],
)
def test_crc32c_of_the_vectors_of_rfc_3720_is_theirs(data: bytes, expected: int) -> None:
    assert crc32c(data) == expected


@pytest.mark.parametrize("length", [*range(900, 940), 1367, 1368, 1823, 1824, 2000, 4095, 65536, 100_001])
def test_crc32c_of_long_data_equals_the_bitwise_definition(length: int) -> None:
    data = random.Random(length).randbytes(length)
    assert crc32c(data) == slow_crc32c(data)


def test_crc32c_of_a_megabyte_runs_few_lines_of_python(count_lines: Callable[[Callable[[], object]], int]) -> None:
    # A large index has many: a loop over the bytes would run two million lines.
    assert count_lines(lambda: crc32c(bytes(1 << 20))) < 20_000


@given(st.integers(0, 0xFFFFFFFF))
@undisturbed
def test_unmask_crc_of_a_masked_checksum_returns_it(crc: int) -> None:
    assert unmask_crc(masked(crc)) == crc


# --- Numbers


@given(st.integers(0, (1 << 64) - 1), st.binary(max_size=4))
@undisturbed
def test_decode_varint_of_any_number_returns_it_and_the_end(number: int, rest: bytes) -> None:
    data = varint(number)
    assert decode_varint(b"x" + data + rest, 1) == (number, 1 + len(data))


@pytest.mark.parametrize("data", [b"", b"\x80", b"\xff" * 9, b"\xff" * 40])
def test_decode_varint_without_an_end_raises(data: bytes) -> None:
    with pytest.raises(MalformedError):
        decode_varint(data, 0)


# --- Snappy


def tensorflow_snappy(text: bytes) -> bytes:
    """What TensorFlow's own Snappy makes of `text`, out of the element that tf.data compresses."""
    tf = pytest.importorskip("tensorflow")
    from tensorflow.core.framework import tensor_pb2

    element = tf.raw_ops.CompressElement(components=[tf.constant(list(text), tf.uint8)])
    content = tensor_pb2.TensorProto.FromString(tf.io.serialize_tensor(element).numpy()).tensor_content
    _, at = decode_varint(content, 0)
    compressed_element = tensor_pb2.VariantTensorDataProto.FromString(content[at:]).metadata
    assert compressed_element[:1] == b"\x0a"  # `bytes data = 1`
    length, at = decode_varint(compressed_element, 1)
    return bytes(compressed_element[at : at + length])


@pytest.mark.parametrize(
    "text",
    [
        b"a",
        b"abc" * 1000,
        b"\0" * 200_000,
        random.Random(1).randbytes(50),
        random.Random(2).randbytes(70_000),
        b"".join(b"layer_%d/kernel" % (n % 977) for n in range(9000)),
        random.Random(3).randbytes(3000) * 30,
    ],
    ids=["letter", "period", "zeros", "short-noise", "noise", "names", "far-copies"],
)
def test_decompress_snappy_of_what_tensorflow_compressed_returns_the_text(text: bytes) -> None:
    compressed = tensorflow_snappy(text)
    assert decompress_snappy(compressed) == text
    assert decompress_snappy(compressed, 20) == text[:20]
    assert decompress_snappy(compressed[: 20_000 + 65_600], 20_000) == text[:20_000]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"\x00", b""),
        (b"\x05\x10hello", b"hello"),
        (b"\x3d\xf0\x3c" + b"x" * 61, b"x" * 61),  # a length in one more byte
        (b"\x3d\xf4\x3c\x00" + b"x" * 61, b"x" * 61),  # in two
        (b"\x3d\xf8\x3c\x00\x00" + b"x" * 61, b"x" * 61),  # in three
        (b"\x3d\xfc\x3c\x00\x00\x00" + b"x" * 61, b"x" * 61),  # in four
        (b"\xb0\x02\xf4\x2b\x01" + bytes(range(100)) * 3 + b"\x21\x2b", bytes(range(100)) * 3 + b"\1\2\3\4"),
        (b"\x06\x04ab\x01\x02", b"ababab"),  # a copy that overlaps itself, one byte of offset
        (b"\x07\x04ab\x12\x02\x00", b"abababa"),  # two bytes
        (b"\x07\x04ab\x13\x02\x00\x00\x00", b"abababa"),  # four
    ],
)
def test_decompress_snappy_of_each_kind_of_element_returns_its_bytes(data: bytes, expected: bytes) -> None:
    assert decompress_snappy(data) == expected


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x05",
        b"\x05\x10hell",
        b"\x05\x10hello!",
        b"\x04\x10hello",
        b"\x06\x04ab\x01\x03",  # refers to before the beginning
        b"\x06\x04ab\x01\x00",  # refers to itself
        b"\x06\x04ab\x02",
        b"\xff\xff\xff\xff\x0f\x00a",  # 4 GB out of 7 bytes
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    ],
)
def test_decompress_snappy_of_malformed_data_raises(data: bytes) -> None:
    with pytest.raises(MalformedError):
        decompress_snappy(data)


def test_decompress_snappy_of_a_small_block_that_unfolds_to_gigabytes_raises_before_it_does() -> None:
    bomb = varint(1 << 32) + b"\0x" + b"\xfe\1\0" * 1000
    with pytest.raises(MalformedError, match="claims to hold 4294967296 bytes"):
        decompress_snappy(bomb)


@given(st.binary(max_size=200))
@undisturbed
def test_decompress_snappy_of_any_bytes_returns_or_raises_malformed(data: bytes) -> None:
    with contextlib.suppress(MalformedError):
        assert len(decompress_snappy(data)) == decode_varint(data, 0)[0]


# --- Tables


@given(
    st.dictionaries(st.binary(max_size=40), st.binary(max_size=200), max_size=80),
    st.sampled_from([0, 1]),
    st.integers(1, 40),
)
@undisturbed
def test_table_of_any_entries_gives_them_back_in_order(entries: dict[bytes, bytes], kind: int, per_block: int) -> None:
    assert read(table_of(entries, kind, per_block)) == sorted(entries.items())


@pytest.mark.parametrize("kind", [0, 1])
def test_table_with_keys_and_values_above_127_bytes_gives_them_back(kind: int) -> None:
    entries = {b"k" * 200 + b"%03d" % n: b"v" * n * 3 for n in range(100)}
    assert read(table_of(entries, kind)) == sorted(entries.items())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "ckpt.index is empty."),
        (
            b"x" * 47,
            "ckpt.index is truncated: it has 47 bytes, and the footer alone takes 48.",
        ),
        (
            b"x" * 500,
            "ckpt.index is truncated or no TensorFlow checkpoint: it does not end with the magic number of a table.",
        ),
    ],
)
def test_table_in_a_file_that_is_none_says_so(data: bytes, message: str) -> None:
    with pytest.raises(CkptMetaError) as caught:
        read(data)
    assert (caught.value.code, caught.value.message) == (Code.CHECKPOINT_CORRUPT, message)


def test_table_truncated_anywhere_raises_corrupt() -> None:
    data = table_of(ENTRIES)
    for length in range(len(data)):
        with pytest.raises(CkptMetaError) as caught:
            read(data[:length])
        assert caught.value.code is Code.CHECKPOINT_CORRUPT


def test_table_with_any_bit_of_a_block_flipped_is_found_corrupt() -> None:
    data = table_of(dict(sorted(ENTRIES.items())[:12]))
    metaindex, _ = decode_varint(data, len(data) - 48)
    for position in range(8 * metaindex):
        flipped = bytearray(data)
        flipped[position // 8] ^= 1 << position % 8
        with pytest.raises(CkptMetaError, match="checksum of the block at byte 0 does not match"):
            read(bytes(flipped))


@given(st.data())
@undisturbed
def test_table_with_bytes_changed_raises_corrupt_or_gives_the_same(data: st.DataObject) -> None:
    original = table_of(ENTRIES, data.draw(st.sampled_from([0, 1])))
    position = data.draw(st.integers(0, len(original)))
    removed = data.draw(st.integers(0, 8))
    changed = original[:position] + data.draw(st.binary(max_size=8)) + original[position + removed :]
    assert outcome(lambda: read(changed)) in (sorted(ENTRIES.items()), Code.CHECKPOINT_CORRUPT)


@given(st.data())
@undisturbed
def test_table_whose_blocks_are_crafted_raises_nothing_but_corrupt(data: st.DataObject) -> None:
    block = bytearray(block_of(sorted(ENTRIES.items())[:30], 4))
    for _ in range(data.draw(st.integers(1, 4))):
        block[data.draw(st.integers(0, len(block) - 1))] = data.draw(st.integers(0, 255))
    found = outcome(lambda: read(table_of_blocks([bytes(block)])))
    assert found is Code.CHECKPOINT_CORRUPT or (isinstance(found, list) and found == sorted(found))


@given(st.lists(st.binary(max_size=20), max_size=6))
@undisturbed
def test_table_whose_index_is_crafted_raises_nothing_but_corrupt(handles: list[bytes]) -> None:
    data = table_of_blocks([block_of([(b"a", b"1")]), block_of([(b"b", b"2")])], handles=handles)
    found = outcome(lambda: read(data))
    assert found is Code.CHECKPOINT_CORRUPT or len(found) <= 2


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (table_of_blocks([b""]), "a block is too short"),
        (table_of_blocks([b"\xff\xff\xff\xff"]), "a block is shorter than its own restart array"),
        (table_of_blocks([b"\x00\x01\x7fk\0\0\0\0"]), "an entry runs past the end of its block"),
        (table_of_blocks([b"\x01\x01\x01kv\0\0\0\0"]), "an entry runs past the end of its block"),
        (table_of_blocks([b"\xff\0\0\0\0"]), "an entry runs past the end of its block"),
        (table_of_blocks([block_of([(b"b", b""), (b"a", b"")])]), "its keys are not in order"),
        (table_of_blocks([block_of([(b"a", b""), (b"a", b"")])]), "its keys are not in order"),
        (table_of_blocks([block_of([(b"b", b"")]), block_of([(b"a", b"")])]), "its keys are not in order"),
        (table_of_blocks([block_of([(b"a", b"")])], kind=7), "the compression type 7"),
        (
            table_of_blocks([block_of([(b"a", b"")])], handles=[varint(0) + varint(13)] * 3),
            "its blocks overlap",
        ),
        (
            table_of_blocks([block_of([(b"a", b"")])], handles=[varint(0) + varint(1 << 62)]),
            "a block lies outside the file",
        ),
        (
            table_of_blocks([block_of([(b"a" * n, b"") for n in range(2000)], 1 << 30)]),
            "the keys of a block unfold to many times its size",
        ),
        (
            bytes(400) + varint(0) * 2 + varint(1 << 60) * 2 + bytes(20) + MAGIC.to_bytes(8, "little"),
            "outside",
        ),
    ],
)
def test_table_that_breaks_a_rule_of_the_format_raises_and_names_it(data: bytes, message: str) -> None:
    with pytest.raises(CkptMetaError, match=message) as caught:
        read(data)
    assert caught.value.code is Code.CHECKPOINT_CORRUPT


@pytest.mark.parametrize("kind", [0, 1])
@pytest.mark.parametrize("size", [10, 3_000, 200_000])
def test_first_entry_before_a_large_value_reads_little_more_than_itself(kind: int, size: int) -> None:
    metadata = random.Random(size).randbytes(size)
    weights = random.Random(1).randbytes(4 << 20)
    file = CountingFile(table_of({b"": metadata, b"w": weights}, kind))
    table = Table(file, "ckpt")
    assert table.first_entry() == (b"", metadata)
    assert file.count < 2 * size + 140_000
    assert len(table.block_checksums()) == 5
    assert file.count < 2 * size + 141_000


def test_first_entry_of_a_small_block_verifies_its_checksum() -> None:
    data = bytearray(table_of({b"": b"metadata", b"w": b"weights"}))
    data[14] ^= 1
    with pytest.raises(CkptMetaError, match="checksum of the block at byte 0"):
        Table(io.BytesIO(data), "ckpt").first_entry()


@pytest.mark.parametrize("blocks", [[], [block_of([])]])
def test_first_entry_of_an_empty_table_raises_corrupt(blocks: list[bytes]) -> None:
    table = Table(io.BytesIO(table_of_blocks(blocks)), "ckpt")
    with pytest.raises(CkptMetaError, match="holds no entries"):
        table.first_entry()


@pytest.mark.parametrize("kind", [0, 1, 9])
@given(start=st.binary(min_size=1, max_size=60))
@settings(undisturbed, max_examples=40)
def test_first_entry_of_a_large_crafted_block_returns_or_raises_corrupt(kind: int, start: bytes) -> None:
    block = start + bytes((1 << 20) + 8)
    data = table_of_blocks([block], kind)
    found = outcome(Table(io.BytesIO(data), "ckpt").first_entry)
    assert found is Code.CHECKPOINT_CORRUPT or sum(map(len, found)) <= len(block)
