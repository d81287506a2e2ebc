"""End what runs when its caller cancels it, or when there is another reason to. Runs in the caller's process."""

from __future__ import annotations

import threading
from collections.abc import Callable

_LOOK_SECONDS = 0.05
_LOOKS_PER_QUESTION = 20


class Stop:
    """An event that follows the caller's, and can be set without setting that: by whoever has it, or for a reason.

    `find_reason`: asked about once a second whether there is one; `has_reason` tells afterwards whether it was that.
    """

    def __init__(self, cancelled: threading.Event | None, find_reason: Callable[[], bool] | None = None) -> None:
        self.event = threading.Event()
        self.has_reason = False
        self._cancelled = cancelled
        self._find_reason = find_reason
        self._closed = threading.Event()
        if cancelled is not None or find_reason is not None:
            threading.Thread(target=self._follow, name="ckptmeta-stop", daemon=True).start()

    def _follow(self) -> None:
        looks = 0
        while not self._closed.wait(_LOOK_SECONDS):
            looks += 1
            is_cancelled = self._cancelled is not None and self._cancelled.is_set()
            if not is_cancelled and self._find_reason is not None and looks % _LOOKS_PER_QUESTION == 0:
                try:
                    self.has_reason = self._find_reason()
                except Exception:  # a defect of ours: the caller is followed all the same
                    self._find_reason = None
            if is_cancelled or self.has_reason:
                self.event.set()
                return

    def close(self) -> None:
        """Follow no longer."""
        self._closed.set()
