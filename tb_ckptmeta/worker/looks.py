"""Know what a file held when it was read, though the digest is taken at another time. Runs in the worker."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from tb_ckptmeta.core.dependencies import RACY_NS, UNSETTLED, digest_file

_HASHED_BYTES = 1 << 20
"""A larger file is hashed at the end, and if it has been touched until then, it counts as changed."""

_stat = os.stat  # while user code runs, os.stat tells of who asks


@dataclass(frozen=True)
class Look:
    """A file at one time: its times, size and place, None when it is missing, and perhaps its digest."""

    mark: tuple[int, ...] | None
    digest: str | None
    racy: bool = False


def mark(path: str) -> tuple[int, ...] | None:
    """Return what changes when a file is written to: its times, size and inode; None when it is missing."""
    try:
        status = _stat(path)
    except (OSError, ValueError):
        return None
    return (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)


def look(path: str) -> Look:
    """Look at a file, now."""
    found = mark(path)
    if found is None:
        return Look(None, "")
    racy = time.time_ns() - max(found[:2]) < RACY_NS
    return Look(found, digest_file(path) if racy or found[2] <= _HASHED_BYTES else None, racy)


def settle(path: str, before: Look) -> str:
    """Return the digest of what a file held at `before` and since then; UNSETTLED where that is not one content."""
    if not before.racy and mark(path) == before.mark:
        return digest_file(path) if before.digest is None else before.digest
    now = digest_file(path)
    return now if now == before.digest else UNSETTLED


def is_late(found: tuple[int, ...] | None, since: int) -> bool:
    """Tell of a file's mark whether it was written to at `since` (`time.time_ns`) or later, perhaps after a reading."""
    return found is not None and max(found[:2]) >= since
