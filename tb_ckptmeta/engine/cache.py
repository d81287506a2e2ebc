"""Keep what took long to make in files, for later and for other processes of this user. Runs in the caller's process.

An entry is one file, written elsewhere and renamed into place, and read whole: several processes may write and evict at
once, and none ever sees half of one. It holds data alone (JSON and protobuf), a checksum before it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import shlex
import struct
import sys
import tempfile
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_logger = logging.getLogger(__name__)

VARIABLE = "TB_CKPTMETA_CACHE"
"""The environment variable that names the cache's folder; empty for none."""
MOST_BYTES = 1 << 30
_LARGEST_ENTRY = MOST_BYTES // 4
# What is ours in the folder, whoever else keeps files there; nothing else is counted or taken away.
_ENTRY = re.compile(r"[a-z]+-[0-9a-f]{64}")
_TEMPORARY = "ckptmeta-new-"
_MAGIC = b"CKM1"
_HEAD = struct.Struct("<4sIQ")  # magic, CRC-32 of all that follows, bytes of the JSON
_STALE_SECONDS = 3600.0


@dataclass(frozen=True)
class Entry:
    """What was kept: facts as JSON has them, and bytes."""

    facts: Mapping[str, Any]
    parts: tuple[bytes, ...]


def find_cache_folder() -> Path | None:
    """Return the folder that this user's cache lies in: what TB_CKPTMETA_CACHE names, else the system's place for it.

    None where the variable is empty.
    """
    named = os.environ.get(VARIABLE)
    if named is not None:
        return Path(named) if named else None
    if sys.platform == "darwin":
        return Path(os.path.expanduser("~/Library/Caches/tb_ckptmeta"))
    base = os.environ.get("XDG_CACHE_HOME") or ""
    return Path(base if os.path.isabs(base) else os.path.expanduser("~/.cache")) / "tb_ckptmeta"


class Cache:
    """A folder of entries, the least recently used evicted. Safe for threads and processes.

    A cache that cannot be read or written is an empty one: nothing that it is for fails with it. It is said once, as a
    warning, for everything takes its time then.
    """

    def __init__(self, folder: Path | None, most_bytes: int = MOST_BYTES) -> None:
        self._folder = folder
        self._most_bytes = most_bytes
        self._is_told = False

    def read(self, kind: str, key: str) -> Entry | None:
        """Return the entry of a key, a hexadecimal digest; None where there is none."""
        if self._folder is None:
            return None
        path = self._folder / f"{kind}-{key}"
        try:
            if not self._is_believed(self._folder):
                return None
            content = path.read_bytes()
            entry = _unpack(content)
            if entry is None:
                path.unlink()  # the disk was full, or its format is another
                return None
        except OSError:
            return None
        with contextlib.suppress(OSError):  # a folder that others have filled, and we may only read
            os.utime(path)  # used: the last to be evicted
        return entry

    def write(self, kind: str, key: str, facts: Mapping[str, Any], *parts: bytes) -> None:
        """Keep an entry, in the place of one of the same key."""
        if self._folder is None:
            return
        content = _pack(facts, parts)
        if len(content) > min(_LARGEST_ENTRY, self._most_bytes):
            return
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not self._is_believed(self._folder):
                return
            self._evict(len(content))
            handle, temporary = tempfile.mkstemp(prefix=_TEMPORARY, dir=self._folder)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(content)
                os.replace(temporary, self._folder / f"{kind}-{key}")
            except BaseException:
                os.unlink(temporary)
                raise
        except OSError as error:
            self._tell(f"it cannot be written to ({error.strerror or error}). Make room for it there, or name another")

    def _is_believed(self, folder: Path) -> bool:
        fault = _find_fault(folder)
        if fault is not None:
            self._tell(fault)
        return fault is None

    def _tell(self, fault: str) -> None:
        if not self._is_told:
            self._is_told = True
            _logger.warning(
                "The cache folder %s is not used, and models are built anew each time: %s (%s=/another/folder; empty "
                "for none, without this warning).",
                self._folder,
                fault,
                VARIABLE,
            )

    def _evict(self, room: int) -> None:
        """Make room for so many bytes, and take away what a killed process was writing."""
        assert self._folder is not None
        found = []
        for entry in os.scandir(self._folder):
            with contextlib.suppress(OSError):  # another process has evicted it
                status = entry.stat(follow_symlinks=False)
                if entry.name.startswith(_TEMPORARY):
                    if time.time() - status.st_mtime > _STALE_SECONDS:
                        os.unlink(entry.path)
                elif _ENTRY.fullmatch(entry.name):
                    found.append((status.st_mtime_ns, status.st_size, entry.path))
        held = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if held + room <= self._most_bytes:
                return
            with contextlib.suppress(OSError):
                os.unlink(path)
            held -= size


def _pack(facts: Mapping[str, Any], parts: tuple[bytes, ...]) -> bytes:
    header = json.dumps({"facts": facts, "sizes": [len(p) for p in parts]}).encode("ascii")
    body = b"".join([struct.pack("<Q", len(header)), header, *parts])
    return _MAGIC + struct.pack("<I", zlib.crc32(body)) + body


def _unpack(content: bytes) -> Entry | None:
    if len(content) < _HEAD.size:
        return None
    magic, checksum, size = _HEAD.unpack_from(content)
    if magic != _MAGIC or zlib.crc32(memoryview(content)[8:]) != checksum:
        return None
    header = json.loads(content[_HEAD.size : _HEAD.size + size])
    parts = []
    at = _HEAD.size + size
    for length in header["sizes"]:
        parts.append(content[at : at + length])
        at += length
    return Entry(header["facts"], tuple(parts))


def _find_fault(folder: Path) -> str | None:
    """Return why what is read in a folder cannot be believed: it is another user's, or others may write into it."""
    if not hasattr(os, "getuid"):
        return None
    status = os.stat(folder)
    if status.st_uid != os.getuid():
        return f"it belongs to another user (number {status.st_uid}). Name one of your own"
    if status.st_mode & 0o022:
        return f"others may write into it. Take that from them (chmod go-w {shlex.quote(str(folder))}), or name another"
    return None
