"""What the lines of a batch were made of, in a file beside the results. Runs in the caller's process.

Thousands of lines are of one builder call, and so of the same files and environment variables: each such list stands
here once, and a line has its digest alone. What is lost here costs time and no truth: a line whose sources are not
known is not believed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from tb_ckptmeta.core.dependencies import Dependencies
from tb_ckptmeta.engine.line_file import LineFile

ENDING = ".sources"
_BEGINNING = b'{"sources": '


class Sources:
    """The open file, locked. Not safe for threads. `known`: digest -> what was read."""

    def __init__(self, results: Path, *, overwrite: bool = False) -> None:
        """Open the sources of the results at a path; `overwrite` does not look at what is there, until it is cleared.

        Raises:
            CkptMetaError: BUSY, OUTPUT_UNWRITABLE; OUTPUT_EXISTS where something else is there.
        """
        self.known: dict[str, Dependencies] = {}
        real = Path(os.path.realpath(results))  # beside the lines, also where these are behind a link
        self._file = LineFile(real.with_name(real.name + ENDING))
        try:
            if not overwrite:
                self._file.cut(self._file.read_whole(self._take, _BEGINNING, "sources"))
        except BaseException:
            self._file.close()
            raise

    def add(self, read: Mapping[str, Any]) -> str:
        """Keep what was read, the JSON of a `Dependencies`, and return its digest.

        Raises:
            CkptMetaError: OUTPUT_UNWRITABLE.
        """
        name = _digest(read)
        if name not in self.known:
            self._file.append(json.dumps({"sources": name, **read}, allow_nan=False).encode("ascii") + b"\n")
            self.known[name] = Dependencies.from_json(read)
        return name

    def keep(self, names: Collection[str | None]) -> None:
        """Forget all but these.

        Raises:
            CkptMetaError: OUTPUT_UNWRITABLE.
        """
        if self.known.keys() <= set(names):
            return
        self._file.rewrite(raw for raw in self._file.read() if json.loads(raw)["sources"] in names)
        self.known = {name: read for name, read in self.known.items() if name in names}

    def clear(self) -> None:
        """Forget all.

        Raises:
            CkptMetaError: OUTPUT_UNWRITABLE.
        """
        self._file.cut(0)
        self.known.clear()

    def close(self) -> None:
        """Close the file; one that has nothing to tell goes."""
        with contextlib.suppress(OSError):
            if self._file.path.stat().st_size == 0:
                self._file.path.unlink()
        self._file.close()

    def _take(self, raw: bytes) -> None:
        value = json.loads(raw)
        name = value.pop("sources")
        try:
            if name == _digest(value):
                self.known[name] = parse_sources(value)
        except (TypeError, ValueError):  # another version's
            pass


def parse_sources(value: Mapping[str, Any]) -> Dependencies:
    """Read what was written of sources; raises TypeError or ValueError for what none can be."""
    nothing = Dependencies()
    for name, part in value.items():
        usual = getattr(nothing, name, None)
        if isinstance(usual, Mapping):
            if not isinstance(part, dict):
                raise TypeError(f"{name} is no mapping")
            texts = [*part.keys(), *part.values()]
        else:
            texts = [] if part is None else [part]
        for text in texts:
            if b"\0" in os.fsencode(text):
                raise ValueError(f"{name} has a null byte")
    return Dependencies.from_json(value)


def _digest(read: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(read, sort_keys=True).encode("ascii")).hexdigest()[:32]
