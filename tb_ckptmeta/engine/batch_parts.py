"""Where workers elsewhere leave a batch's lines, until they are put into the results. Runs in the caller's process."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar, cast

from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.landing import land_bytes
from tb_ckptmeta.engine.batch_results import Outcome
from tb_ckptmeta.engine.batch_sources import parse_sources
from tb_ckptmeta.engine.batch_work import Line

PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0)
"""How many seconds are waited before each further attempt at what has failed."""

T = TypeVar("T")


class Parts(Protocol):
    """A file for each line; one that is not whole, or holds something else, reads as None."""

    def write(self, name: str, line: Line) -> None: ...

    def list(self) -> list[str]: ...

    def read(self, name: str) -> Line | None: ...

    def forget(self, name: str) -> None: ...

    def close(self) -> None: ...


class FolderParts:
    """A folder with a file for each line."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, name: str, line: Line) -> None:
        self._path.mkdir(parents=True, exist_ok=True)
        # Another attempt at the same item may write it, too: the same, or as good.
        land_bytes(json.dumps(line, allow_nan=False).encode("ascii"), self._path / name, overwrite=True)

    def list(self) -> list[str]:
        try:
            with os.scandir(self._path) as entries:
                files = [e.name for e in entries if e.is_file(follow_symlinks=False) and not e.name.startswith(".")]
        except FileNotFoundError:
            return []
        return sorted(files)

    def read(self, name: str) -> Line | None:
        return parse((self._path / name).read_bytes())

    def forget(self, name: str) -> None:
        (self._path / name).unlink(missing_ok=True)

    def close(self) -> None:
        """Take the folder away, where nothing is in it."""
        try:
            self._path.rmdir()
        except OSError:  # it was never made, or an attempt that nobody waits for writes to it
            pass


class PatientParts:
    """Parts whose file system fails now and then: what fails is tried again, later and later, and then named.

    Writing a line twice, or forgetting it twice, is doing it once.
    """

    def __init__(self, parts: Parts, address: str, pause: Callable[[float], object] = time.sleep) -> None:
        self._parts = parts
        self._address = address
        self._pause = pause

    def write(self, name: str, line: Line) -> None:
        """Raises CkptMetaError, WORKER_FAILED, as all of these do."""
        self._try("written to", lambda: self._parts.write(name, line))

    def list(self) -> list[str]:
        return self._try("looked for in", self._parts.list)

    def read(self, name: str) -> Line | None:
        return self._try("read from", lambda: self._parts.read(name))

    def forget(self, name: str) -> None:
        self._try("taken away from", lambda: self._parts.forget(name))

    def close(self) -> None:
        self._parts.close()

    def _try(self, done: str, act: Callable[[], T]) -> T:
        for seconds in PAUSES:
            try:
                return act()
            except Exception:  # each file system has errors of its own
                self._pause(seconds)
        try:
            return act()
        except Exception as error:
            said = error.message if isinstance(error, CkptMetaError) else f"{type(error).__name__}: {error}"
            raise CkptMetaError(
                Code.WORKER_FAILED,
                f"The lines of the batch cannot be {done} {self._address}, after {len(PAUSES) + 1} attempts in "
                f"{sum(PAUSES):g} s: {said.rstrip('.')}. What is there the same command takes up, later.",
            ) from error


def find_parts(results: Path) -> FolderParts:
    """Return where workers leave lines that share this machine's files: beside the results."""
    return FolderParts(find_folder(results))


def find_folder(results: Path) -> Path:
    """Return the folder of the lines, beside the results."""
    return results.with_name(f".{results.name}.parts")


def parse(data: bytes) -> Line | None:
    """Read a line; None of half of it, on a file system that shows that, and of what is none."""
    try:
        line = json.loads(data)
        Outcome.from_line(line)
        if line["sources"] is not None:
            parse_sources(line["sources"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return cast(Line, line)
