"""What running user code read: files, folders and environment variables, so that one can tell whether it would read the
same again. Runs anywhere.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

MOST_HASHED_BYTES = 16 << 20
"""A larger file is told by its size and times alone: it is data, and hashing it would cost more than it saves."""
UNSETTLED = "changed while it was read"
"""The digest of a file that changed since the process began: which of the two it read is not known, so none fits."""
RACY_NS = 2_000_000_000
"""A file that changed within the clock's tick may change again without showing it (as in Git's index)."""
FILE, FOLDER, OTHER, MISSING = "file", "folder", "other", ""
"""What a path may be."""
# What SQLite makes beside a database that it opens, even to read; an empty one says as much as none.
_LOGS = ("-wal", "-journal")
# What Python itself puts beside sources.
_NO_NAMES = frozenset({"__pycache__"})
# What differs from terminal to terminal and from start to start, and decides how things are shown, if anything.
_NOISE = frozenset(
    [
        *("_", "SHLVL", "PWD", "OLDPWD", "PS1", "COLUMNS", "LINES", "TERM", "COLORTERM", "TERM_PROGRAM"),
        *("TERM_PROGRAM_VERSION", "TERM_SESSION_ID", "WINDOWID", "SSH_AUTH_SOCK", "SSH_AGENT_PID", "SSH_CLIENT"),
        *("SSH_CONNECTION", "SSH_TTY", "TMUX", "TMUX_PANE", "STY", "XDG_SESSION_ID", "DBUS_SESSION_BUS_ADDRESS"),
        *("INVOCATION_ID", "JOURNAL_STREAM"),
        *("TMPDIR", "TEMP", "TMP", "TF_USE_LEGACY_KERAS"),  # what a worker has of its own
    ]
)


@dataclass(frozen=True)
class Dependencies:
    """What was read.

    `files`: path -> digest of its content. `folders`: path -> digest of its names, where they were listed. `kinds`:
    path -> FILE, FOLDER, OTHER or MISSING, where that was asked. `links`: path -> digest of where a symbolic link
    leads, where that was asked. `sizes`: path -> its size and time, where user code asked for them. `environment`:
    variable -> digest of its value, empty where unset. `whole_environment`: what `digest_environment` gives, where all
    of it was read. `directory`: the working directory that it began in, where that mattered.
    """

    files: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    directory: str | None = None
    folders: Mapping[str, str] = field(default_factory=dict)
    kinds: Mapping[str, str] = field(default_factory=dict)
    whole_environment: str | None = None
    links: Mapping[str, str] = field(default_factory=dict)
    sizes: Mapping[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Dependencies:
        return cls(**value)


def digest_text(text: str | None) -> str:
    """Return what tells a text from another, and says nothing of it; empty for None."""
    return "" if text is None else hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def digest_environment(environment: Mapping[str, str]) -> str:
    """Return what changes when a variable does, or comes or goes, but for those of terminals and of workers."""
    return digest_text(json.dumps(sorted((n, v) for n, v in environment.items() if not is_noise(n))))


def is_noise(variable: str) -> bool:
    """Tell whether a variable counts only where it is asked for by name."""
    return variable in _NOISE


def digest_file(path: str) -> str:
    """Return what changes when a file's content does; empty when it is gone. Of a folder: when its names do."""
    try:
        status = os.stat(path)
        if status.st_size == 0 and path.endswith(_LOGS):
            return ""
        if stat.S_ISREG(status.st_mode) and status.st_size <= MOST_HASHED_BYTES:
            with open(path, "rb") as file:
                return hashlib.sha256(file.read()).hexdigest()
    except OSError:
        return ""
    return f"{status.st_size} bytes of {status.st_mtime_ns}, {status.st_ctime_ns}"


def digest_names(folder: str) -> str:
    """Return what changes when a folder's names do, or a file becomes a folder or a link; empty when it is gone."""
    try:
        with os.scandir(folder) as entries:
            names = [
                f"{entry.name}/{_is_folder(entry):d}{entry.is_symlink():d}"
                for entry in entries
                if entry.name not in _NO_NAMES
            ]
    except OSError:
        return ""
    return digest_text("\0".join(sorted(names)))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def digest_link(path: str) -> str:
    """Return what changes when a symbolic link leads elsewhere; empty of what is none."""
    try:
        return digest_text(os.readlink(path))
    except (OSError, ValueError):
        return ""


def find_kind(path: str) -> str:
    """Return what a path is, links followed."""
    try:
        return name_kind(os.stat(path).st_mode)
    except (OSError, ValueError):
        return MISSING


def find_size(path: str) -> str:
    """Return the size and the time of a path, links followed; empty when it is gone."""
    try:
        return describe_size(os.stat(path))
    except (OSError, ValueError):
        return ""


def describe_size(status: os.stat_result) -> str:
    """Return what `find_size` does of a path of that status."""
    return f"{status.st_size} bytes of {status.st_mtime_ns}"


def name_kind(mode: int) -> str:
    """Return what a path of that mode is."""
    return FILE if stat.S_ISREG(mode) else FOLDER if stat.S_ISDIR(mode) else OTHER
