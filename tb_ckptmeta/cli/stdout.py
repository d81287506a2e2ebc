"""Print whatever there is to print, and tell a failure to do so from every other one."""

from __future__ import annotations

import io
import os
import sys


class OutputFailed(Exception):
    """What was to be printed could not be: the disk that stdout leads to is full, say."""


class _Stdout(io.TextIOWrapper):
    """As Python's own, but that a name for which the encoding has no letters is printed escaped."""

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError as error:
            raise _explain(error) from error

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            raise _explain(error) from error


def _explain(error: OSError) -> Exception:
    if isinstance(error, BrokenPipeError):  # whoever read it has gone, as `head` does
        return error
    return OutputFailed(f"The output cannot be written: {error.strerror or error}.")


def replace_stdout() -> None:
    """Let what this process prints from here on go through the above; not where somebody else has replaced it."""
    # What has been closed (`>&-`) is nothing to Python.
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    ours = sys.stdout
    if type(ours) is io.TextIOWrapper:
        encoding, lines, through = ours.encoding, ours.line_buffering, ours.write_through
        sys.stdout = _Stdout(ours.detach(), encoding, "backslashreplace", line_buffering=lines, write_through=through)


def discard_output() -> None:
    """Let go what has not been printed, which Python would try once more at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
