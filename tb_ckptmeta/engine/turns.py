"""Let those who want the same thing take turns, and tell each what came of it. Runs in the caller's process."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

from tb_ckptmeta.core.errors import CkptMetaError, Code

_LOOK_SECONDS = 0.2

Outcome = TypeVar("Outcome")


class Lock(Protocol):
    """What can be waited for."""

    def acquire(self, blocking: bool = ..., timeout: float = ...) -> bool: ...


def acquire(lock: Lock, cancelled: threading.Event | None) -> None:
    """Wait for a lock.

    Raises:
        CkptMetaError: CANCELLED, when the work is cancelled that it is wanted for.
    """
    while not lock.acquire(timeout=_LOOK_SECONDS):
        if cancelled is not None and cancelled.is_set():
            raise CkptMetaError(Code.CANCELLED, "Cancelled.")


class Turn(Generic[Outcome]):
    """One thing that several want: who has the turn, how many there are, and what came of the last turn."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.people = 0
        self._ended: tuple[float, Outcome] | None = None

    def end(self, outcome: Outcome) -> None:
        """Tell those who wait what came of it."""
        self._ended = time.monotonic(), outcome

    def find_outcome(self, since: float) -> Outcome | None:
        """Return what came of it, if that was after `since`, by the monotonic clock."""
        return None if self._ended is None or self._ended[0] <= since else self._ended[1]


class Turns(Generic[Outcome]):
    """The turns by key, each there for as long as somebody has it or waits for it. Safe for threads."""

    def __init__(self) -> None:
        self._turns: dict[str, Turn[Outcome]] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._turns)

    @contextlib.contextmanager
    def take(self, key: str, cancelled: threading.Event | None = None) -> Iterator[Turn[Outcome]]:
        """Wait for the turn of a key, and have it within.

        Raises:
            CkptMetaError: CANCELLED.
        """
        with self._lock:
            turn = self._turns.setdefault(key, Turn())
            turn.people += 1
        try:
            acquire(turn.lock, cancelled)
            try:
                yield turn
            finally:
                turn.lock.release()
        finally:
            with self._lock:
                turn.people -= 1
                if not turn.people:
                    del self._turns[key]
