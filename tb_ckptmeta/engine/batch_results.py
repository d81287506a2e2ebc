"""The results of a batch: a file with one JSON line for each checkpoint. Runs in the caller's process.

A line is appended when its checkpoint is done. What a crash leaves half-written is cut off when the file is opened the
next time. What a line was made of stands in a file beside it (`batch_sources`).
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from tb_ckptmeta.core.dependencies import Dependencies
from tb_ckptmeta.core.verdict import MATCH
from tb_ckptmeta.engine.batch_claims import Files, parse_files
from tb_ckptmeta.engine.batch_sources import Sources
from tb_ckptmeta.engine.batch_work import Line, make_title
from tb_ckptmeta.engine.line_file import LineFile

_BEGINNING = b'{"prefix": '


@dataclass(frozen=True)
class Outcome:
    """What a line says, without its lists.

    `status` is the verdict's, ERROR where there is none; `code` is that of the error, also of one that kept an export
    from a verdict that is there.
    `sources`: the digest of what user code read for it, None where that is not known. `output`: where an export stands,
    relative to its folder, and `files` what it is there, None in a line of an earlier version. `earlier`: what became
    of an export from before, where there is none now (`batch_withdraw`).
    """

    prefix: str
    title: str
    builder: str | None
    status: str
    summary: str
    code: str | None
    fingerprint: str
    sources: str | None
    output: str | None = None
    files: Files | None = None
    earlier: str | None = None

    @property
    def is_exported(self) -> bool:
        return self.code is None and self.output is not None

    @property
    def agrees(self) -> bool:
        """Whether an export was made, or a verdict is a match."""
        return self.is_exported or (self.code is None and self.status == MATCH)

    @classmethod
    def from_line(cls, line: Line) -> Outcome:
        """Read a line as it stands in the file; raises KeyError, TypeError or AttributeError for what is none."""
        verdict = line.get("verdict", line)
        error, sources = line["error"], line["sources"]
        builder, code = verdict["builder"], None if error is None else error["code"]
        output, earlier = line.get("output"), line.get("earlier")
        texts = [line[name] for name in ("prefix", "run", "name", "summary", "fingerprint")] + [verdict["status"]]
        if not all(isinstance(t, str) for t in texts + [t for t in (builder, output, code, earlier) if t is not None]):
            raise TypeError("a text is none")
        return cls(
            line["prefix"],
            make_title(line["run"], line["name"]),
            builder,
            verdict["status"],
            line["summary"],
            code,
            line["fingerprint"],
            sources if isinstance(sources, str) else None,
            output,
            parse_files(line.get("files")),
            earlier,
        )


class Results:
    """The open results of a batch, locked. Safe for threads.

    `outcomes`: what the lines say, by the checkpoint's prefix; `earlier`: what those say that are to be cleared.
    """

    def __init__(self, path: Path, *, exports: bool, overwrite: bool = False) -> None:
        """Open the results at `path`, or begin them; with `overwrite` whatever is there will do, until it is cleared.

        `exports`: lines of exports.

        Raises:
            CkptMetaError: BUSY while another batch writes them; OUTPUT_EXISTS where something else is there;
                OUTPUT_UNWRITABLE.
        """
        self.path = path
        self.outcomes: dict[str, Outcome] = {}
        self.earlier: dict[str, Outcome] = {}
        self._exports = exports
        self._lock = threading.Lock()
        self._lines = LineFile(path)
        try:
            end = None
            if overwrite:
                self._look()
            else:
                end = self._read()
            self._sources = Sources(path, overwrite=overwrite)
            if end is not None:
                self._lines.cut(end)
        except BaseException:
            self._lines.close()
            raise

    def __enter__(self) -> Results:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._sources.close()
            self._lines.close()

    @property
    def sources(self) -> Mapping[str, Dependencies]:
        """What user code read for the lines, by its digest."""
        return self._sources.known

    def fit(self, line: Line) -> bool:
        """Tell whether a line is of what these are: verdicts, or exports."""
        return ("verdict" in line) == self._exports

    def clear(self) -> None:
        """Take away all that is there.

        Raises:
            CkptMetaError: OUTPUT_UNWRITABLE.
        """
        with self._lock:
            self._lines.cut(0)
            self._sources.clear()
            self.outcomes.clear()

    def append(self, line: Line) -> Outcome:
        """Add a line, and return what it says.

        Raises:
            CkptMetaError: OUTPUT_UNWRITABLE.
        """
        with self._lock:
            read = line["sources"]
            stored = {**line, "sources": None if read is None else self._sources.add(read)}
            outcome = Outcome.from_line(stored)
            self._lines.append(json.dumps(stored, allow_nan=False).encode("ascii") + b"\n")
            self.outcomes[outcome.prefix] = outcome
        return outcome

    def drop(self, prefixes: Collection[str]) -> None:
        """Take the lines of checkpoints away, all at once: a crash leaves the old file or the new one.

        Raises:
            CkptMetaError: OUTPUT_UNWRITABLE; the lines are then as they were.
        """
        if not prefixes:
            return
        with self._lock:
            self._lines.rewrite(raw for raw in self._lines.read() if json.loads(raw)["prefix"] not in prefixes)
            for prefix in prefixes:
                self.outcomes.pop(prefix, None)
            self._sources.keep({outcome.sources for outcome in self.outcomes.values()})

    def _read(self) -> int:
        """Read the lines, and return where the last whole one ends."""
        return self._lines.read_whole(self._take, _BEGINNING, "exports" if self._exports else "verdicts")

    def _look(self) -> None:
        """Read what are lines of what may be something else."""
        for raw in self._lines.read():
            if not raw.startswith(_BEGINNING):
                return
            with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
                outcome = self._parse(raw)
                self.earlier[outcome.prefix] = outcome

    def _take(self, raw: bytes) -> None:
        outcome = self._parse(raw)
        self.outcomes[outcome.prefix] = outcome

    def _parse(self, raw: bytes) -> Outcome:
        line = json.loads(raw)
        outcome = Outcome.from_line(line)
        if not self.fit(line):
            raise ValueError("it is another kind of line")
        return outcome
