"""Read the records that lie beside checkpoints, here or behind a URL. Runs in the caller's process."""

from __future__ import annotations

import os

from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.record import FILE_NAME, MAX_BYTES, RecordedPairing, parse_record
from tb_ckptmeta.engine.remote import is_remote, read_range

BROKEN = f"its record {FILE_NAME} is broken"
"""Why nobody can tell what a record says, as a phrase; what is wrong with it is told once for all checkpoints."""


def read_records(directory: str) -> tuple[RecordedPairing, ...]:
    """Return what the record in a folder says, nothing where there is none.

    Raises:
        CkptMetaError: INVALID_RECORD; CHECKPOINT_UNREADABLE of a URL without its driver.
    """
    path = f"{directory}/{FILE_NAME}" if is_remote(directory) else os.path.join(directory, FILE_NAME)
    try:
        return parse_record(_read(path), path)
    except FileNotFoundError:
        return ()
    except OSError as error:
        message = f"The record {path} cannot be read: {error.strerror or error}."
        raise CkptMetaError(Code.INVALID_RECORD, message) from error


def _read(path: str) -> bytes:
    if is_remote(path):
        return read_range(path, 0, MAX_BYTES + 1)
    with open(path, "rb") as file:
        return file.read(MAX_BYTES + 1)
