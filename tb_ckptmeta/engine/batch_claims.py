"""Which exports are a batch's own: file by file, by size and time. Runs in the caller's process.

What somebody has put to the same place since is somebody's. A line tells of its export's files; but it comes after the
export, and a crash may come in between, and a line that holds no longer goes before its export is made again. What no
line tells of stands here.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tb_ckptmeta.core.landing import land_bytes, unwritable

NAME = ".results.jsonl.planned"

Identity = tuple[int, int]
"""What tells a file from another one at its place, and stays when it is moved: its size, its time in nanoseconds."""

Files = Mapping[str, Identity]
"""The files of an export, relative to the folder of all."""


class Claims:
    """Those of one folder of exports. Safe for threads, and for processes but for `keep`."""

    def __init__(self, folder: str) -> None:
        self._folder = os.path.realpath(folder)
        self._path = Path(folder, NAME)

    def add(self, files: Mapping[Path, Path], of: str) -> Files:
        """Claim what is about to come, each file where it will stand -> where it lies now; return what a line tells.

        Args:
            of: the prefix of the checkpoint that is exported.

        Raises:
            CkptMetaError: OUTPUT_UNWRITABLE.
            OSError: where one cannot be looked at.
        """
        found = {self._name(target): _identify(source) for target, source in files.items()}
        self.add_told([(of, found)])
        return found

    def add_told(self, told: Iterable[tuple[str, Files]]) -> None:
        """Claim what lines tell of, each of its checkpoint's prefix, before these go.

        Raises:
            CkptMetaError: OUTPUT_UNWRITABLE.
        """
        self._append(
            {"path": path, "identity": identity, "of": of} for of, files in told for path, identity in files.items()
        )

    def find(self, of: str) -> set[str]:
        """Return where an export of this checkpoint is claimed, and something stands, whosever it is."""
        return {line["path"] for line in self._read() if line.get("of") == of and self._is_taken(line["path"])}

    def cover(self, taken: Iterable[Path], own: Iterable[str] = (), of: str | None = None) -> bool:
        """Tell whether all that stands at these paths is what a batch has put there.

        Args:
            own: the checkpoint's files. What an export shares with them, by a hard link, changes as they do.
            of: the prefix of the one checkpoint whose exports count; None where those of all do.
        """
        files = _list_files(taken)
        lines = [line for line in self._read() if of is None or line.get("of") == of]
        claimed = {(line["path"], *line["identity"]) for line in lines}
        others = [p for p in files if (self._name(p), *_identify(p)) not in claimed]
        if len(others) == len(files):
            return False
        shared = {_find_inode(path) for path in own} - {None}
        return all(_find_inode(path) in shared for path in others)

    def keep(self, told: Iterable[Files]) -> None:
        """Forget the files that lines tell of, and those that stand there no longer.

        Raises:
            CkptMetaError: OUTPUT_UNWRITABLE.
        """
        known = {(path, *identity) for files in told for path, identity in files.items()}
        kept = [line for line in self._read() if (line["path"], *line["identity"]) not in known and self._stands(line)]
        if kept:
            land_bytes(b"".join(map(_encode, kept)), self._path, overwrite=True)
            return
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            raise unwritable(self._path, error) from error

    def _stands(self, line: Mapping[str, Any]) -> bool:
        return are_standing(self._folder, {line["path"]: tuple(line["identity"])})

    def _is_taken(self, path: str) -> bool:
        try:
            return os.path.lexists(os.path.join(self._folder, path))
        except ValueError:  # a zero byte
            return False

    def _name(self, path: Path) -> str:
        folder, name = os.path.split(os.path.abspath(path))
        return os.path.relpath(os.path.join(os.path.realpath(folder), name), self._folder)

    def _append(self, lines: Iterable[Mapping[str, Any]]) -> None:
        try:
            data = b"".join(map(_encode, lines))
            if not data:
                return
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                # What a crash has left half-written must not spoil the next.
                os.write(descriptor, b"\n" + data)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise unwritable(self._path, error) from error

    def _read(self) -> list[dict[str, Any]]:
        """Return the claims that can be read; what cannot is not believed."""
        try:
            status = os.stat(self._path)
            return _read_lines(self._path, (status.st_ino, status.st_size, status.st_mtime_ns))
        except OSError:
            return []


@functools.lru_cache(maxsize=2)  # thousands of checkpoints may be refused one after the other
def _read_lines(path: Path, stamp: tuple[int, ...]) -> list[dict[str, Any]]:
    """Return the lines of a file that is only appended to; `stamp` tells one state of it from another."""
    return [line for line in map(_parse, path.read_bytes().splitlines()) if line is not None]


def are_standing(folder: str, files: Files) -> bool:
    """Tell whether all these files stand in a folder as a batch has put them there."""
    try:
        return all(_identify(os.path.join(folder, path)) == identity for path, identity in files.items())
    except (OSError, ValueError):  # ValueError: a zero byte
        return False


def parse_files(value: object) -> Files | None:
    """Read the files that a line tells of; None where it tells of none, as an earlier version's."""
    if not isinstance(value, dict) or not value:
        return None
    if not all(isinstance(i, list) and [type(n) for n in i] == [int, int] for i in value.values()):
        return None
    return {path: (size, modified) for path, (size, modified) in value.items()}


def _identify(path: str | Path) -> Identity:
    status = os.lstat(path)  # of a link, the link's
    return status.st_size, status.st_mtime_ns


def _find_inode(path: str | Path) -> Identity | None:
    try:
        status = os.lstat(path)
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def _list_files(taken: Iterable[Path]) -> list[Path]:
    return [f for p in taken for f in ([p] if p.is_symlink() or not p.is_dir() else sorted(_list_below(p)))]


def _list_below(folder: Path) -> list[Path]:
    return [p for p in folder.rglob("*") if p.is_symlink() or not p.is_dir()]


def _encode(line: Mapping[str, Any]) -> bytes:
    return json.dumps(line).encode("ascii") + b"\n"


def _parse(raw: bytes) -> dict[str, Any] | None:
    try:
        line = json.loads(raw)
        path, (size, modified) = line["path"], line["identity"]
    except (ValueError, KeyError, TypeError):
        return None
    return line if isinstance(path, str) and isinstance(size, int) and isinstance(modified, int) else None
