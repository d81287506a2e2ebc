"""Pause Python's garbage collection while much is made that is kept. Runs in the caller's process."""

from __future__ import annotations

import gc
import itertools
from collections.abc import Iterator
from contextlib import contextmanager

_MANY = 10_000
_MOST_HIDDEN = 16
_hidden = itertools.count(1)


@contextmanager
def collection_paused() -> Iterator[None]:
    """Keep Python from looking for garbage: what is made is kept, and all of it would be looked through several times.

    It holds for the whole process: the garbage of other threads is memory until the end.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        if gc.get_count()[0] > _MANY:
            _make_old()
        gc.enable()


def _make_old() -> None:
    """Count all that is young as old: it would be looked through right now, and twice more.

    So does the garbage of others among it, which is then found only where everything is looked through; Python does
    that when much has grown old by itself, which this has not.
    """
    if gc.get_freeze_count():  # what somebody has frozen would thaw
        return
    gc.freeze()
    gc.unfreeze()
    if next(_hidden) % _MOST_HIDDEN == 0:
        gc.collect()
