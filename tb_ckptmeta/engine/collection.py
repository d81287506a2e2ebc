"""Pause Python's garbage collection while much is made that is kept. Runs in the caller's process."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collection_paused() -> Iterator[None]:
    """Keep Python from looking for garbage: what is made is kept, and all of it would be looked through several times.

    In a process with other threads, nothing that may wait (for a disk, a network) is to be done meanwhile: it holds for
    all of them.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        if not gc.get_freeze_count():  # else what somebody has frozen would thaw
            # What was made counts as old at once. As young objects, all of it would be looked through right now.
            gc.freeze()
            gc.unfreeze()
        gc.enable()
