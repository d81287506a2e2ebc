"""Notice which environment variables user code reads. Runs in the worker."""

from __future__ import annotations

import collections
import contextlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tb_ckptmeta.worker.watch import Watch


def watch_environment(watch: Watch) -> None:
    """Tell of what is asked of `os.environ` and `os.environb`, from now on."""
    _watch(os.environ, watch)
    if os.supports_bytes_environ:
        _watch(os.environb, watch)


def _watch(environ: Any, watch: Watch) -> None:
    kind: Any = type(environ)

    listed: collections.deque[Any] = collections.deque()

    def is_next(name: Any) -> bool:
        """Tell whether dict() or its like goes on: it has all names, then takes one after the other."""
        with contextlib.suppress(IndexError):
            if listed[0] == name:
                listed.popleft()
                return True
        listed.clear()
        return False

    class Watched(kind):  # type: ignore[misc]
        """The environment, which tells what is asked of it. Whoever goes through it has read all of it."""

        def __getitem__(self, name: Any) -> Any:
            if isinstance(name, (str, bytes)) and not is_next(name):
                watch.add_variable(os.fsdecode(name))
            return super().__getitem__(name)

        def __setitem__(self, name: Any, value: Any) -> None:
            if isinstance(name, (str, bytes)):
                watch.add_own_variable(os.fsdecode(name))
            super().__setitem__(name, value)

        def __delitem__(self, name: Any) -> None:
            if isinstance(name, (str, bytes)):
                watch.add_own_variable(os.fsdecode(name))
            super().__delitem__(name)

        def __iter__(self) -> Any:
            watch.add_environment()
            listed.clear()
            for name in super().__iter__():
                listed.append(name)
                yield name

        def __len__(self) -> Any:
            watch.add_environment()
            return super().__len__()

        def __repr__(self) -> Any:
            watch.add_environment()
            return super().__repr__()

    environ.__class__ = Watched
