"""A command as a terminal starts it, for tests that end it."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any


@contextmanager
def started(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[Any]]:
    """Start a command that Ctrl-C and a closing terminal end, also where whoever runs the tests ignores these.

    It ends with the block.
    """
    with subprocess.Popen(command, preexec_fn=_heed_interrupts, **options) as process:
        try:
            yield process
        finally:
            process.kill()


def _heed_interrupts() -> None:
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
