"""Notice which files and environment variables user code reads, beside the modules it imports. Runs in the worker."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

from tb_ckptmeta.core.dependencies import UNSETTLED, digest_text

_NO_SOURCES = ("/proc/", "/sys/", "/dev/")
# What the worker itself has set, by the job or by what the caller's key for it says.
_OURS = ("TMPDIR", "TEMP", "TMP", "TF_USE_LEGACY_KERAS")


class Watch:
    """What is read between `watching` and its end. Nothing is kept of an environment variable but a digest."""

    def __init__(self) -> None:
        self.files: dict[str, str | None] = {}
        self.environment: dict[str, str] = {}
        self.directory: str | None = None
        self._set = set(_OURS)
        # Asked for now: to find it, Python asks for the working directory, and then knows it.
        self._not_sources = (*_NO_SOURCES, tempfile.gettempdir() + os.sep)
        self._getcwd = os.getcwd
        self._watching = False

    @contextlib.contextmanager
    def watching(self, *watch: Callable[[Callable[[Any], None]], None]) -> Iterator[None]:
        """Notice reads within, those of Python, and those that each `watch` tells of the function it is given."""
        self._watching = True
        sys.addaudithook(self._hear)
        for tell in watch:
            tell(self.add_file)
        _watch_environment(self)
        os.getcwd = self._tell_directory
        try:
            yield
        finally:
            os.getcwd = self._getcwd
            self._watching = False

    def add_file(self, path: Any) -> None:
        """Note a file that is read; of one that is not on this machine no digest will ever fit."""
        try:
            text = os.fsdecode(path)
        except TypeError:  # a file descriptor
            return
        if not self._watching:
            return
        if "://" in text:
            self.files[text] = UNSETTLED
            return
        if not os.path.isabs(text):
            self.directory = self._getcwd()
            text = os.path.join(self.directory, text)
        if text.endswith(".pyc"):
            with contextlib.suppress(ValueError):  # one without a source is what there is to read
                text = importlib.util.source_from_cache(text)
        if not text.startswith(self._not_sources):
            self.files.setdefault(text, None)

    def add_variable(self, name: str, value: str | None) -> None:
        """Note an environment variable that is read."""
        if self._watching and name not in self._set:
            self.environment.setdefault(name, digest_text(value))

    def add_own_variable(self, name: str) -> None:
        """Note that user code has set a variable: what it reads there from now on is its own."""
        if self._watching:
            self._set.add(name)

    def _tell_directory(self) -> str:
        self.directory = self._getcwd()
        return self.directory

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Hear Python's audit events (PEP 578): `open` has a path, a mode and flags."""
        if event == "open" and self._watching and not arguments[2] & (os.O_WRONLY | os.O_TRUNC | os.O_APPEND):
            self.add_file(arguments[0])


def _watch_environment(watch: Watch) -> None:
    environ = os.environ

    class Watched(type(environ)):  # type: ignore[misc]
        """`os.environ` that tells which variables are asked for; a copy of all of them asks for none."""

        def __getitem__(self, name: str) -> str:
            try:
                value: str = super().__getitem__(name)
            except KeyError:
                watch.add_variable(name, None)
                raise
            watch.add_variable(name, value)
            return value

        def __setitem__(self, name: str, value: str) -> None:
            watch.add_own_variable(name)
            super().__setitem__(name, value)

        def __delitem__(self, name: str) -> None:
            watch.add_own_variable(name)
            super().__delitem__(name)

        def copy(self) -> dict[str, str]:
            return {self.decodekey(k): self.decodevalue(v) for k, v in self._data.items()}

    environ.__class__ = Watched
