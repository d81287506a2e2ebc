"""Tell whether user code would still read what it has read, and run on what it ran on. Runs in the caller's process."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
import math
import os
import platform
import sys
import sysconfig
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tb_ckptmeta
from tb_ckptmeta.core.dependencies import (
    RACY_NS,
    Dependencies,
    digest_environment,
    digest_file,
    digest_link,
    digest_names,
    digest_text,
    find_kind,
    find_size,
)
from tb_ckptmeta.engine.process import make_environment

_LIBRARIES = ("tensorflow", "keras", "tf_keras")
# What TensorFlow and Keras read at import, before anybody notices.
_PREFIXES = ("TF_", "KERAS_", "XLA_", "PYTHON")
# File systems of object stores may leave a folder's times as they are for ever.
_BELIEVED_SECONDS = 60.0

Stat = tuple[int, int, int, int]


@dataclass(frozen=True)
class _Known:
    """The digest that something had with these times, size and place, and when it was taken."""

    status: Stat
    digest: str
    taken: float


class Digests:
    """The digests of files and folders as they are now; read again when their times, size or place have changed."""

    def __init__(self) -> None:
        self._files: dict[str, _Known] = {}
        self._folders: dict[str, _Known] = {}

    def get(self, path: str) -> str:
        """Return the digest of a file's content."""
        return _look(path, digest_file, self._files, math.inf)

    def get_names(self, folder: str) -> str:
        """Return the digest of a folder's names."""
        return _look(folder, digest_names, self._folders, _BELIEVED_SECONDS)

    def are_current(self, read: Dependencies) -> bool:
        """Tell whether all is as it was when it was read."""
        if read.directory is not None and read.directory != _find_directory():
            return False
        if any(self.get(path) != digest for path, digest in read.files.items()):
            return False
        if any(find_kind(path) != kind for path, kind in read.kinds.items()):
            return False
        if any(digest_link(path) != digest for path, digest in read.links.items()):
            return False
        if any(find_size(path) != size for path, size in read.sizes.items()):
            return False
        if any(self.get_names(path) != digest for path, digest in read.folders.items()):
            return False
        if not read.environment and read.whole_environment is None:
            return True
        environment = make_environment("0")  # workers get that of now
        if read.whole_environment not in (None, digest_environment(environment)):
            return False
        return all(digest_text(environment.get(n)) == digest for n, digest in read.environment.items())


def _look(path: str, digest: Callable[[str], str], known: dict[str, _Known], believed: float) -> str:
    """Return the digest that is known of a path as it is now, or take it, and know it for `believed` seconds."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return ""
    now = (status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)
    found = known.get(path)
    if found is not None and found.status == now and time.monotonic() - found.taken < believed:
        return found.digest
    taken = time.monotonic()
    value = digest(path)
    if time.time_ns() - max(now[:2]) > RACY_NS:
        known[path] = _Known(now, value, taken)
    return value


def _find_directory() -> str | None:
    try:
        return os.getcwd()
    except OSError:  # it has been deleted
        return None


def make_key(asked: Any) -> str:
    """Return the cache's key of what is asked of user code, on this installation."""
    parts = [asked, describe_installation()]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode("ascii")).hexdigest()


def describe_installation() -> str:
    """Return what changes when something is installed, updated or set up otherwise, TensorFlow not imported.

    Python, the folders that packages are installed in, the three libraries' own files, Keras' configuration file, the
    environment that is read at import, and this package's own code.
    """
    folders = [p for p in sys.path if p and os.path.isdir(p)]
    folders += [sysconfig.get_path(name) for name in ("purelib", "platlib")]
    home = os.environ.get("KERAS_HOME") or os.path.expanduser("~/.keras")
    libraries = [_find_file(name) for name in _LIBRARIES]
    files = [f for f in libraries if f] + [os.path.join(home, "keras.json")]
    environment = {n: v for n, v in make_environment("0").items() if n.startswith(_PREFIXES)}
    if path := environment.get("PYTHONPATH"):  # relative ones lead elsewhere from another folder
        environment["PYTHONPATH"] = os.pathsep.join(os.path.abspath(folder) for folder in path.split(os.pathsep))
    parts = [
        sys.version,
        platform.platform(),
        tb_ckptmeta.__version__,
        [[p, _stamp(p)] for p in dict.fromkeys(folders) if os.path.basename(p) in ("site-packages", "dist-packages")],
        [[p, _stamp(p)] for p in files],
        {name: digest_text(value) for name, value in environment.items()},
        digest_own_code(),
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode("ascii")).hexdigest()


def _stamp(path: str) -> tuple[int, int]:
    """Return what is the same for an installation wherever it is mounted: a time in nanoseconds and a size."""
    try:
        status = os.stat(path)
    except OSError:
        return (0, 0)
    return (status.st_mtime_ns, status.st_size)


def _find_file(library: str) -> str | None:
    try:
        found = importlib.util.find_spec(library)
    except (ImportError, ValueError):
        return None
    return None if found is None else found.origin


@functools.cache
def digest_own_code() -> str:
    """Return the digest of this package's own code, as it is when this process first asks."""
    root = Path(tb_ckptmeta.__file__).parent
    found = hashlib.sha256()
    for part in ("core", "engine", "worker"):
        for path in sorted((root / part).glob("*.py")):
            status = path.stat()
            found.update(f"{path.name} {status.st_mtime_ns} {status.st_size}\n".encode())
    return found.hexdigest()
