"""Notice which environment variables user code reads. Runs in the worker."""

from __future__ import annotations

import os
from typing import Any, Protocol


class EnvironmentWatch(Protocol):
    """Who is told."""

    def add_variable(self, name: str) -> None: ...

    def add_environment(self) -> None: ...

    def add_own_variable(self, name: str) -> None: ...


def watch_environment(watch: EnvironmentWatch) -> None:
    """Tell of what is asked of `os.environ` and `os.environb`, from now on."""
    _watch(os.environ, watch)
    if os.supports_bytes_environ:
        _watch(os.environb, watch)


def _watch(environ: Any, watch: EnvironmentWatch) -> None:
    kind: Any = type(environ)

    class Watched(kind):  # type: ignore[misc]
        """The environment, which tells what is asked of it. Whoever goes through it has read all of it."""

        def __getitem__(self, name: Any) -> Any:
            if isinstance(name, (str, bytes)):
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
            return super().__iter__()

        def __len__(self) -> Any:
            watch.add_environment()
            return super().__len__()

        def __repr__(self) -> Any:
            watch.add_environment()
            return super().__repr__()

    environ.__class__ = Watched
