"""Find the Keras configuration in an event file, in its first records alone. Runs in the caller's process.

A record is its length in 8 bytes, their checksum, its bytes, their checksum (tensorflow/core/lib/io/record_writer.h).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

from tensorboard.compat.proto import event_pb2

from tb_ckptmeta.core.errors import Code
from tb_ckptmeta.engine.bound_message import parse_bounded
from tb_ckptmeta.engine.checkpoint_file import open_file
from tb_ckptmeta.engine.sstable import MalformedError, crc32c, unmask_crc

TAG = "keras"
PLUGIN = "graph_keras_model"
"""What `keras.callbacks.TensorBoard(write_graph=True)` logs a model under."""

MOST_RECORDS = 200
MOST_BYTES = 64 << 20
"""How much of a file is looked through: the callback logs the model before the training's first step."""
_LARGEST_RECORD = 16 << 20
_MOST_FIELDS = 10_000


def find_keras_text(path: str) -> str | None:
    """Return the model's configuration that Keras' callback has logged, None where it is not in the first records.

    A file that ends within a record, for it is being written, or that is damaged, ends there.

    Raises:
        CkptMetaError: SOURCE_MISSING, CHECKPOINT_UNREADABLE.
    """
    with open_file(path, Code.SOURCE_MISSING) as file:
        for record, checksum in _read_records(file):
            if PLUGIN.encode() not in record:
                continue
            if unmask_crc(checksum) != crc32c(record):
                return None
            try:
                event = parse_bounded(event_pb2.Event, record, _MOST_FIELDS)
            except MalformedError:
                return None
            for value in event.summary.value:
                logged = value.tag == TAG and value.metadata.plugin_data.plugin_name == PLUGIN
                if logged and value.tensor.string_val:
                    return bytes(value.tensor.string_val[0]).decode("utf-8", "replace")
    return None


def _read_records(file: BinaryIO) -> Iterator[tuple[bytes, int]]:
    """Yield records with their checksums; that of the length alone is made sure of, the others take their time."""
    left = MOST_BYTES
    for _ in range(MOST_RECORDS):
        head = file.read(12)
        if len(head) < 12:
            return
        length, checksum = struct.unpack("<QI", head)
        if unmask_crc(checksum) != crc32c(head[:8]) or length > _LARGEST_RECORD or length > left:
            return
        record = file.read(length + 4)
        if len(record) < length + 4:
            return
        left -= length
        yield record[:-4], int.from_bytes(record[-4:], "little")
