"""Scan again when somebody asks, once for all who ask at a time. Runs in the caller's process."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from tb_ckptmeta.engine.listing import Logdir, ScanReport
from tb_ckptmeta.engine.scan import Scanner


class Rescanner:
    """Keeps what the last scan has found. Safe for threads, and no lock is held while a file system is waited for.

    A slow endpoint keeps only those waiting who want to know how things are *now*, and all of them for the same scan.
    """

    def __init__(self, logdirs: Sequence[Logdir]) -> None:
        self._scanner = Scanner(logdirs)
        self._changed = threading.Condition()
        self._scanning = False
        self._last: tuple[float, ScanReport] | None = None
        """When a scan began (`time.monotonic`), and what it found."""

    def scan(self, max_age: float) -> ScanReport:
        """Return the report of a scan that began when this was called, or at most `max_age` seconds before."""
        asked = time.monotonic()
        with self._changed:
            while True:
                if self._last is not None and self._last[0] >= asked - max_age:
                    return self._last[1]
                if not self._scanning:
                    self._scanning = True
                    break
                self._changed.wait()
        began = time.monotonic()
        report: ScanReport | None = None
        try:
            report = self._scanner.scan()
        finally:
            with self._changed:
                self._scanning = False
                if report is not None:
                    self._last = (began, report)
                self._changed.notify_all()
        return report
