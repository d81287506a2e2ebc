"""Wait for what another thread, process or page does."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(condition: Callable[[], T], what: str, seconds: float = 60.0) -> T:
    """Return the first true value of `condition`; fail when a try that began after `seconds` gives none.

    However long one try takes, as on a machine that stood still, there is another after it.
    """
    deadline = time.monotonic() + seconds
    is_last = False
    while not (value := condition()):
        assert not is_last, f"It did not come true within {seconds:g} s that {what}."
        time.sleep(0.05)
        is_last = time.monotonic() >= deadline
    return value
