"""A checkpoint's files, here or behind a URL: their sizes, their bytes, and the errors that name them.

Runs in the caller's process.
"""

from __future__ import annotations

import os
import stat
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO, cast

from tb_ckptmeta.core.dependencies import RACY_NS
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.engine.remote import RemoteFile, as_path, find_entry, is_remote, is_remote_folder, list_folder

FindSize = Callable[[str], int | None]
"""Path -> the bytes of a file, None where there is none."""


def find_file_size(path: str) -> int | None:
    """Return the bytes of a regular file, None when there is no such file.

    Raises:
        CkptMetaError: CHECKPOINT_UNREADABLE.
    """
    try:
        if is_remote(path):
            entry = find_entry(path)
            return entry.size if entry is not None and not entry.is_folder else None
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a path with a zero byte in it.
        return None
    except OSError as error:
        raise unreadable_error(path, error) from None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


Stamp = tuple[int, ...]
"""What changes when a file does: of a local one its times in nanoseconds, its size and its place."""


def stamp(path: str) -> Stamp:
    """Return what changes when a local file is edited or replaced; () when it is gone."""
    try:
        status = os.stat(path)
    except OSError:
        return ()
    return (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)


def is_folder(path: str) -> bool:
    """Tell whether a path or URL is a folder.

    Raises:
        CkptMetaError: CHECKPOINT_UNREADABLE, of a URL that cannot be asked.
    """
    if not is_remote(path):
        return os.path.isdir(as_path(path))
    try:
        return is_remote_folder(path)
    except OSError as error:
        raise unreadable_error(path, error) from None


def stamp_file(path: str) -> Stamp:
    """Return what changes when a file does; () when it is gone, or so new that it may change again in the same moment.

    Raises:
        CkptMetaError: CHECKPOINT_UNREADABLE, of a URL that cannot be asked.
    """
    if not is_remote(path):
        now = stamp(path)
        return now if now and time.time_ns() - max(now[:2]) > RACY_NS else ()
    try:
        entry = find_entry(path)
    except OSError as error:
        raise unreadable_error(path, error) from None
    return (zlib.crc32(entry.mark.encode()), entry.size) if entry is not None else ()


def list_names(folder: str) -> list[str]:
    """List the names in a folder, in order.

    Raises:
        OSError: as the system, or the file system of a URL, says.
    """
    return [entry.name for entry in list_folder(folder)] if is_remote(folder) else sorted(os.listdir(folder or "."))


@contextmanager
def open_file(path: str, gone: Code, size: int | None = None) -> Iterator[BinaryIO]:
    """Open a file that was there a moment ago; a training may delete old checkpoints at any time.

    Of a URL each read fetches what it asks for. `size`: where it is known, and need not be asked for then.

    Raises:
        CkptMetaError: CHECKPOINT_UNREADABLE; `gone` where the file is no longer there.
    """
    try:
        with cast(BinaryIO, RemoteFile(path, size)) if is_remote(path) else open(path, "rb") as file:
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
