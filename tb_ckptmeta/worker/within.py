"""Know where a path is that is given within an open folder (`dir_fd`). Runs in the worker."""

from __future__ import annotations

import os
import sys
from typing import Any

_NO_FOLDER = -1
"""What an audit event has where no folder is given."""

_readlink = os.readlink  # while user code runs, os.readlink tells of who asks


def find_within(path: Any, folder: int | None) -> Any:
    """Return where a path within an open folder is: itself where none is given, None where that cannot be known."""
    if folder is None or folder == _NO_FOLDER:
        return path
    try:
        return os.path.join(_find_folder(folder), os.fsdecode(path))
    except (OSError, TypeError, ValueError):  # no such folder is open, or it is no path: the system will say so
        return None


def _find_folder(descriptor: int) -> str:
    if sys.platform == "darwin":
        import fcntl

        return os.fsdecode(fcntl.fcntl(descriptor, fcntl.F_GETPATH, bytes(1024)).rstrip(b"\0"))
    return _readlink(f"/proc/self/fd/{descriptor}")
