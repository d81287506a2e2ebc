"""A checkpoint's files: their sizes, their bytes, and the errors that name them. Runs in the caller's process."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from tb_ckptmeta.core.errors import CkptMetaError, Code


def find_file_size(path: str) -> int | None:
    """Return the bytes of a regular file, None when there is no such file.

    Raises:
        CkptMetaError: CHECKPOINT_UNREADABLE.
    """
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a path with a zero byte in it.
        return None
    except OSError as error:
        raise unreadable_error(path, error) from None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def stamp(path: str) -> tuple[int, int]:
    """Return what changes when a file is edited: its time in nanoseconds and its size; (0, 0) when it is gone."""
    try:
        status = os.stat(path)
    except OSError:
        return (0, 0)
    return (status.st_mtime_ns, status.st_size)


@contextmanager
def open_file(path: str, gone: Code) -> Iterator[BinaryIO]:
    """Open a file that was there a moment ago; a training may delete old checkpoints at any time.

    Raises:
        CkptMetaError: CHECKPOINT_UNREADABLE; `gone` where the file is no longer there.
    """
    try:
        with open(path, "rb") as file:
            yield file
    except FileNotFoundError:
        raise CkptMetaError(gone, f"{path} is no longer there.") from None
    except OSError as error:
        raise unreadable_error(path, error) from None


def corrupt_error(path: str, reason: str) -> CkptMetaError:
    """Return the error of a file that does not follow its format."""
    return CkptMetaError(Code.CHECKPOINT_CORRUPT, f"{path} is corrupt: {reason}.")


def incomplete_error(prefix: str, missing: list[str]) -> CkptMetaError:
    """Return the error of a checkpoint whose shards `missing`, one or more paths, are not there."""
    others = f", and {len(missing) - 1} more with it" if len(missing) > 1 else ""
    return CkptMetaError(
        Code.CHECKPOINT_INCOMPLETE,
        f"The checkpoint {prefix} is incomplete: its shard {missing[0]} is missing{others}.",
        "\n".join(missing),
    )


def unreadable_error(path: str, error: OSError) -> CkptMetaError:
    """Return the error of a file or folder that the system refuses to read."""
    return CkptMetaError(Code.CHECKPOINT_UNREADABLE, f"{path} cannot be read: {error.strerror or error}.")
