"""The configuration is found in the first records of an event file, and a damaged file ends where it is damaged."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from tensorboard.compat.proto import event_pb2

from tb_ckptmeta.engine import event_file
from tb_ckptmeta.engine.event_file import find_keras_text
from tb_ckptmeta.engine.sstable import crc32c


def mask(checksum: int) -> int:
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF


def make_record(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", mask(crc32c(length))) + data + struct.pack("<I", mask(crc32c(data)))


def make_model(text: str, plugin: str = "graph_keras_model", tag: str = "keras") -> bytes:
    event = event_pb2.Event()
    value = event.summary.value.add(tag=tag)
    value.metadata.plugin_data.plugin_name = plugin
    value.tensor.string_val.append(text.encode())
    return make_record(event.SerializeToString())


VERSION = make_record(event_pb2.Event(file_version="brain.Event:2").SerializeToString())
SCALAR = make_record(event_pb2.Event(step=1).SerializeToString())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.out.tfevents.1.host"


def test_configuration_is_found_behind_other_records(path: Path) -> None:
    path.write_bytes(VERSION + SCALAR + make_model("{}", plugin="text") + make_model("{}", tag="x") + make_model("yes"))
    assert find_keras_text(str(path)) == "yes"


def test_file_without_one_has_none(path: Path) -> None:
    path.write_bytes(VERSION + SCALAR)
    assert find_keras_text(str(path)) is None


@pytest.mark.parametrize("cut", [0, 3, 11, 12, 30, -1])
def test_file_that_ends_within_a_record_has_none(path: Path, cut: int) -> None:
    path.write_bytes(make_model('{"class_name": "Sequential"}')[:cut])
    assert find_keras_text(str(path)) is None


@pytest.mark.parametrize("at", [0, 9, 20, -2])
def test_file_with_a_wrong_byte_has_none(path: Path, at: int) -> None:
    data = bytearray(make_model('{"class_name": "Sequential"}'))
    data[at] ^= 1  # of the length, its checksum, the model, its checksum
    path.write_bytes(bytes(data))
    assert find_keras_text(str(path)) is None


def test_record_that_claims_more_than_any_model_is_not_read(path: Path) -> None:
    length = struct.pack("<Q", 1 << 60)
    path.write_bytes(length + struct.pack("<I", mask(crc32c(length))) + b"x" * 100)
    assert find_keras_text(str(path)) is None


def test_configuration_late_in_a_file_is_not_looked_for(path: Path) -> None:
    path.write_bytes(SCALAR * event_file.MOST_RECORDS + make_model("late"))
    assert find_keras_text(str(path)) is None
    path.write_bytes(SCALAR * (event_file.MOST_RECORDS - 1) + make_model("just"))
    assert find_keras_text(str(path)) == "just"
