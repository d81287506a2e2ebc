"""The results of a batch: a file with one JSON line for each checkpoint. Runs in the caller's process.

A line is appended when its checkpoint is done. What a crash leaves half-written is cut off when the file is opened the
next time. One process at a time writes: it holds the file's lock (flock(2)), which ends with the process, whatever ends
it.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import secrets
import stat
import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.landing import unwritable
from tb_ckptmeta.core.verdict import ERROR, MATCH
from tb_ckptmeta.engine.batch_work import Line, make_title

_BEGINNING = b'{"prefix": '


@dataclass(frozen=True)
class Outcome:
    """What a line says, without its lists.

    `status` is the verdict's, or ERROR where there is no verdict or an export failed; `code` is then the error's.
    `output`: where an export stands, relative to its folder.
    """

    prefix: str
    title: str
    builder: str | None
    status: str
    summary: str
    code: str | None
    fingerprint: str
    sources: Mapping[str, str]
    output: str | None = None

    @property
    def agrees(self) -> bool:
        """Whether an export was made, or a verdict is a match."""
        return self.code is None and (self.output is not None or self.status == MATCH)

    @classmethod
    def from_line(cls, line: Line) -> Outcome:
        """Read a line; raises KeyError or TypeError for what is none."""
        verdict = line.get("verdict", line)
        error = line["error"]
        return cls(
            line["prefix"],
            make_title(line["run"], line["name"]),
            verdict["builder"],
            verdict["status"] if error is None else ERROR,
            line["summary"],
            None if error is None else error["code"],
            line["fingerprint"],
            dict(line["sources"]),
            line.get("output"),
        )


class Results:
    """The open results of a batch, locked. Safe for threads.

    `outcomes`: what the lines say, by the checkpoint's prefix.
    """

    def __init__(self, path: Path, *, exports: bool, overwrite: bool = False) -> None:
        """Open the results at `path`, or begin them; `overwrite` does not look at what is there, until it is cleared.

        `exports`: lines of exports.

        Raises:
            CkptMetaError: BUSY while another batch writes them; OUTPUT_EXISTS where something else is there;
                OUTPUT_UNWRITABLE.
        """
        self.path = path
        self.outcomes: dict[str, Outcome] = {}
        self._exports = exports
        self._lock = threading.Lock()
        self._file = _open_locked(path)
        try:
            if not overwrite:
                self._file.truncate(self._read())
            self._file.seek(0, os.SEEK_END)
        except OSError as error:
            self._file.close()
            raise unwritable(path, error) from error
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Results:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._file.close()

    def clear(self) -> None:
        """Take away all that is there.

        Raises:
            CkptMetaError: OUTPUT_UNWRITABLE.
        """
        with self._lock:
            try:
                self._file.truncate(0)
                self._file.seek(0)
            except OSError as error:
                raise unwritable(self.path, error) from error
            self.outcomes.clear()

    def append(self, line: Line) -> Outcome:
        """Add a line, and return what it says.

        Raises:
            CkptMetaError: OUTPUT_UNWRITABLE.
        """
        data = memoryview(json.dumps(line, allow_nan=False).encode("ascii") + b"\n")
        outcome = Outcome.from_line(line)
        with self._lock:
            try:
                while data:
                    data = data[self._file.write(data) :]
            except OSError as error:
                raise unwritable(self.path, error) from error
            self.outcomes[outcome.prefix] = outcome
        return outcome

    def drop(self, prefixes: Collection[str]) -> None:
        """Take the lines of checkpoints away, all at once: a crash leaves the old file or the new one.

        Raises:
            CkptMetaError: OUTPUT_UNWRITABLE.
        """
        if not prefixes:
            return
        temporary = self.path.with_name(f".{self.path.name}.{secrets.token_hex(6)}.tmp")
        with self._lock:
            try:
                new = _open(temporary)
                _try_lock(new, temporary)
                self._file.seek(0)
                for raw in _read_lines(self._file):
                    if json.loads(raw)["prefix"] not in prefixes:
                        new.write(raw)
                os.replace(temporary, self.path)
            except OSError as error:
                raise unwritable(self.path, error) from error
            finally:
                temporary.unlink(missing_ok=True)
            self._file.close()
            self._file = new
            for prefix in prefixes:
                self.outcomes.pop(prefix, None)

    def _read(self) -> int:
        """Read the lines, and return where the last whole one ends."""
        end = 0
        for number, raw in enumerate(_read_lines(self._file), 1):
            if not raw.endswith(b"\n"):
                if raw[: len(_BEGINNING)] != _BEGINNING[: len(raw)]:
                    raise self._foreign(number)
                break
            try:
                line = json.loads(raw)
                outcome = Outcome.from_line(line)
            except (ValueError, KeyError, TypeError, AttributeError):
                raise self._foreign(number) from None
            if ("verdict" in line) != self._exports:
                raise self._foreign(number)
            self.outcomes[outcome.prefix] = outcome
            end += len(raw)
        return end

    def _foreign(self, number: int) -> CkptMetaError:
        what = "exports" if self._exports else "verdicts"
        return CkptMetaError(
            Code.OUTPUT_EXISTS,
            f"{self.path} holds something else than the {what} of a batch (line {number}), and nothing was changed. "
            "Choose another output; --overwrite replaces it.",
        )


def _open(path: Path) -> IO[bytes]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0), 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is not a file")
    return open(descriptor, "r+b", buffering=0)


def _open_locked(path: Path) -> IO[bytes]:
    while True:
        try:
            file = _open(path)
        except OSError as error:
            raise unwritable(path, error) from error
        try:
            _try_lock(file, path)
            # Whoever held it may have put a new file there meanwhile (`drop`).
            if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                return file
        except FileNotFoundError:
            pass
        except BaseException:
            file.close()
            raise
        file.close()


def _try_lock(file: IO[bytes], path: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise CkptMetaError(
            Code.BUSY,
            f"Another batch is writing {path}. Wait for its end, or choose another output.",
        ) from None
    except OSError:  # a file system without locks
        pass


def _read_lines(file: IO[bytes]) -> Any:
    """Yield the lines from the beginning; of the raw file, for its position must not run ahead."""
    with open(os.dup(file.fileno()), "rb") as reader:
        reader.seek(0)
        yield from reader
