"""A file of lines that is never left half written, and that one process at a time writes. Runs in the caller's process.

The process holds the file's lock (flock(2)), which ends with it, whatever ends it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO

from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.landing import unwritable


class LineFile:
    """An open file of lines, locked; begun where there is none. Not safe for threads."""

    def __init__(self, path: Path) -> None:
        """Open the file at `path`, and change nothing.

        Raises:
            CkptMetaError: BUSY while another process writes it; OUTPUT_UNWRITABLE.
        """
        self.path = path
        # Where a link leads, so that a new file comes into the place of the old one, not of the link.
        self._real = Path(os.path.realpath(path))
        self._begun = not self._real.exists()
        self._file = _open_locked(path)

    def read(self) -> Iterator[bytes]:
        """Yield the lines, each with its newline; a crash may have left the last without."""
        with open(os.dup(self._file.fileno()), "rb") as reader:
            reader.seek(0)
            yield from reader

    def read_whole(self, take: Callable[[bytes], object], beginning: bytes, what: str) -> int:
        """Give every whole line to `take`, and return where the last of them ends.

        Args:
            take: raises ValueError, KeyError, TypeError or AttributeError for what is no such line.
            beginning: what each line begins with, by which half of one is known.
            what: what the lines are, for people.

        Raises:
            CkptMetaError: OUTPUT_EXISTS where something else is there.
        """
        end = 0
        for number, raw in enumerate(self.read(), 1):
            whole = raw.endswith(b"\n")
            try:
                if whole:
                    take(raw)
                elif raw[: len(beginning)] != beginning[: len(raw)]:
                    raise ValueError("it is no half of a line")
            except (ValueError, KeyError, TypeError, AttributeError):
                raise CkptMetaError(
                    Code.OUTPUT_EXISTS,
                    f"{self.path} holds something else than the {what} of a batch (line {number}), and nothing was "
                    "changed. Choose another output; --overwrite replaces it.",
                ) from None
            end += len(raw) if whole else 0
        return end

    def cut(self, size: int) -> None:
        """Take away all behind the first `size` bytes.

        Raises:
            CkptMetaError: OUTPUT_UNWRITABLE.
        """
        try:
            self._file.truncate(size)
        except OSError as error:
            raise unwritable(self.path, error) from error

    def append(self, line: bytes) -> None:
        """Add a line, or nothing where that fails.

        Raises:
            CkptMetaError: OUTPUT_UNWRITABLE.
        """
        try:
            end = self._file.seek(0, os.SEEK_END)
            try:
                _write(self._file, line)
            except OSError:
                self._file.truncate(end)  # of a full disk: the next line must not follow half of this one
                raise
        except OSError as error:
            raise unwritable(self.path, error) from error

    def rewrite(self, lines: Iterable[bytes]) -> None:
        """Put these lines in the place of those that are there, all at once: a crash leaves the old file or the new.

        Raises:
            CkptMetaError: OUTPUT_UNWRITABLE; the old file is then as it was.
        """
        temporary = self._real.with_name(f".{self._real.name}.{secrets.token_hex(6)}.tmp")
        try:
            with contextlib.ExitStack() as stack:
                new = stack.enter_context(_open(temporary))
                stack.callback(temporary.unlink, missing_ok=True)
                _try_lock(new, self.path)  # before it is there for others to open
                os.fchmod(new.fileno(), stat.S_IMODE(os.fstat(self._file.fileno()).st_mode))
                for line in lines:
                    _write(new, line)
                os.fsync(new.fileno())
                os.replace(temporary, self._real)
                stack.pop_all()
        except OSError as error:
            raise unwritable(self.path, error) from error
        self._file.close()
        self._file = new
        _sync_folder(self._real.parent)

    def close(self) -> None:
        """Close it when what was written has reached the disk; what was begun, and nothing written to, goes."""
        with contextlib.suppress(OSError):  # a file system that cannot tell
            if self._begun and os.fstat(self._file.fileno()).st_size == 0:
                self._real.unlink()
            os.fsync(self._file.fileno())
        self._file.close()


def _write(file: IO[bytes], line: bytes) -> None:
    data = memoryview(line)
    while data:  # a raw file may take a part of it, and say so
        data = data[file.write(data) :]


def _sync_folder(path: Path) -> None:
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


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
            # Whoever held it may have put a new file there meanwhile (`rewrite`).
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
