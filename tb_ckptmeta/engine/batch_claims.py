"""Which exports are a batch's own, though no line tells of them. Runs in the caller's process.

A line comes after its export, and a crash may come in between; a line that holds no longer goes before its export is
made again. What is a batch's own stands here, file by file with its size and time: what somebody has put to the same
place since is somebody's.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from tb_ckptmeta.core.landing import land_bytes, unwritable

NAME = ".results.jsonl.planned"

Identity = tuple[int, int]


class Claims:
    """Those of one folder of exports. Safe for threads, and for processes but for `keep`."""

    def __init__(self, folder: str) -> None:
        self._folder = os.path.realpath(folder)
        self._path = Path(folder, NAME)

    def add(self, output: Path, files: Mapping[Path, Path]) -> None:
        """Claim the export that will stand at `output`: each of its files where it will stand -> where it lies now.

        Raises:
            CkptMetaError: OUTPUT_UNWRITABLE.
        """
        self._append(self._describe(output, target, source) for target, source in files.items())

    def add_standing(self, outputs: Mapping[Path, Iterable[Path]]) -> None:
        """Claim exports as they stand: where each stands -> its files or folders.

        Raises:
            CkptMetaError: OUTPUT_UNWRITABLE.
        """
        lines = []
        for output, taken in outputs.items():
            for path in _list_files(taken):
                with contextlib.suppress(OSError):  # it goes at this moment
                    lines.append(self._describe(output, path, path))
        self._append(lines)

    def cover(self, taken: Iterable[Path]) -> bool:
        """Tell whether all that stands at these paths is what a batch has put there."""
        files = _list_files(taken)
        if not files:
            return False
        claimed = {(line["path"], *line["identity"]) for line in self._read()}
        return all((self._name(path), *_identify(path)) in claimed for path in files)

    def keep(self, told: Collection[str]) -> None:
        """Forget the exports that lines tell of (`told`), and those that stand there no longer.

        Raises:
            CkptMetaError: OUTPUT_UNWRITABLE.
        """
        kept = [line for line in self._read() if line["output"] not in told and self._stands(line)]
        if kept:
            land_bytes(b"".join(map(_encode, kept)), self._path, overwrite=True)
            return
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            raise unwritable(self._path, error) from error

    def _stands(self, line: Mapping[str, Any]) -> bool:
        try:
            return _identify(Path(self._folder, line["path"])) == tuple(line["identity"])
        except OSError:
            return False

    def _describe(self, output: Path, target: Path, source: Path) -> dict[str, Any]:
        return {"output": self._name(output), "path": self._name(target), "identity": _identify(source)}

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
            content = self._path.read_bytes()
        except OSError:
            return []
        return [line for line in map(_parse, content.splitlines()) if line is not None]


def _identify(path: Path) -> Identity:
    """Return what tells a file from another one at its place, and stays when it is moved; of a link, the link's."""
    status = os.lstat(path)
    return status.st_size, status.st_mtime_ns


def _list_files(taken: Iterable[Path]) -> list[Path]:
    return [f for p in taken for f in ([p] if p.is_symlink() or not p.is_dir() else sorted(_list_below(p)))]


def _list_below(folder: Path) -> list[Path]:
    return [p for p in folder.rglob("*") if p.is_symlink() or not p.is_dir()]


def _encode(line: Mapping[str, Any]) -> bytes:
    return json.dumps(line).encode("ascii") + b"\n"


def _parse(raw: bytes) -> dict[str, Any] | None:
    try:
        line = json.loads(raw)
        size, modified = line["identity"]
    except (ValueError, KeyError, TypeError):
        return None
    fits = isinstance(line["output"], str) and isinstance(line["path"], str)
    return line if fits and isinstance(size, int) and isinstance(modified, int) else None
