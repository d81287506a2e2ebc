"""How often a batch waits for a builder that hangs. Runs in the caller's process."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tb_ckptmeta.core.errors import CkptMetaError, Code

MOST_TIMEOUTS = 2
"""After so many in a row a builder call is given up: the next would cost its time limit, most likely for nothing."""


@dataclass
class _Waits:
    count: int = 0
    last: float = 0.0
    message: str = ""


class Patience:
    """Which builder calls have come to their time limit, again and again. Safe for threads."""

    def __init__(self) -> None:
        self._waits: dict[str, _Waits] = {}
        self._lock = threading.Lock()

    @contextmanager
    def waiting_for(self, call: str) -> Iterator[None]:
        """Note how the work within ends, which is of one builder call.

        Raises:
            CkptMetaError: BUILDER_TIMEOUT, before the work, where the call has been given up; as the work.
        """
        began = time.monotonic()
        with self._lock:
            waits = self._waits.setdefault(call, _Waits())
            if waits.count >= MOST_TIMEOUTS:
                raise CkptMetaError(
                    Code.BUILDER_TIMEOUT,
                    f"Not tried: {MOST_TIMEOUTS} times in a row the same builder with the same arguments came to its "
                    f"time limit, and this batch waits for it no more; the same command tries it again. The last time: "
                    f"{waits.message}",
                )
        try:
            yield
        except CkptMetaError as error:
            with self._lock:
                if error.code is not Code.BUILDER_TIMEOUT:
                    waits.count = 0
                elif began >= waits.last:  # else it has waited beside another, and for the same
                    waits.count, waits.last, waits.message = waits.count + 1, time.monotonic(), error.message
            raise
        with self._lock:
            waits.count = 0
