"""What running user code read: files and environment variables, so that one can tell whether it would read the same
again. Runs anywhere.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MOST_HASHED_BYTES = 16 << 20
"""A larger file is told by its size and times alone: it is data, and hashing it would cost more than it saves."""
UNSETTLED = "changed while it was read"
"""The digest of a file that changed since the process began: which of the two it read is not known, so none fits."""


@dataclass(frozen=True)
class Dependencies:
    """What was read.

    `files`: path -> digest. `environment`: variable -> digest of its value, empty where unset. `directory`: the working
    directory, where that mattered.
    """

    files: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    directory: str | None = None

    def as_json(self) -> dict[str, Any]:
        return {"files": dict(self.files), "environment": dict(self.environment), "directory": self.directory}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Dependencies:
        return cls(dict(value["files"]), dict(value["environment"]), value["directory"])


def digest_text(text: str | None) -> str:
    """Return what tells a text from another, and says nothing of it; empty for None."""
    return "" if text is None else hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def digest_file(path: str) -> str:
    """Return what changes when a file's content does; empty when it is gone. Of a folder: when its names do."""
    try:
        status = os.stat(path)
        if stat.S_ISREG(status.st_mode) and status.st_size <= MOST_HASHED_BYTES:
            with open(path, "rb") as file:
                return hashlib.sha256(file.read()).hexdigest()
    except OSError:
        return ""
    return f"{status.st_size} bytes of {status.st_mtime_ns}, {status.st_ctime_ns}"
