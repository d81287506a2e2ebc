"""Remember what a function returned, up to a number of answers. Runs in the caller's process."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Memo(dict[Key, Value]):
    """A mapping that makes what it lacks. One that is full begins anew: what is asked of each node is cheap to make.

    Unlike `functools.lru_cache` it takes no longer than a dictionary to answer. For one thread.
    """

    def __init__(self, make: Callable[[Key], Value], most: int) -> None:
        super().__init__()
        self._make = make
        self._most = most

    def __missing__(self, key: Key) -> Value:
        value = self._make(key)
        if len(self) >= self._most:
            self.clear()
        self[key] = value
        return value
