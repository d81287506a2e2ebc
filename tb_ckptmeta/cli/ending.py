"""End a command that is told to end as Ctrl-C does: what it has begun is ended, and its temporary files go."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

# `kill`, a batch system or a container's end; a terminal that closes.
_SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))


class ToldToEnd(KeyboardInterrupt):
    """A signal has come that asks this process to end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.signal = signal.Signals(number)


@contextmanager
def heeding_signals() -> Iterator[None]:
    """Raise ToldToEnd where a signal would end the process at once; the second one does.

    A signal that somebody handles, or has this process ignore (nohup), stays theirs.
    """
    if threading.current_thread() is not threading.main_thread():  # which gets no signals
        yield
        return
    taken = [number for number in _SIGNALS if signal.getsignal(number) is signal.SIG_DFL]

    def end(number: int, frame: FrameType | None) -> NoReturn:
        restore()
        raise ToldToEnd(number)

    def restore() -> None:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)

    for number in taken:
        signal.signal(number, end)
    try:
        yield
    finally:
        restore()


def describe_ending(interrupt: KeyboardInterrupt) -> str:
    """Return how a command was ended, to begin a sentence."""
    return f"Ended by {interrupt.signal.name}" if isinstance(interrupt, ToldToEnd) else "Interrupted"


def get_ending_status(interrupt: KeyboardInterrupt) -> int:
    """Return the exit status of a command that was ended, as shells have it."""
    number = interrupt.signal if isinstance(interrupt, ToldToEnd) else signal.SIGINT
    return 128 + number
