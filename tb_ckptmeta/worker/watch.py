"""Notice which files, folders and environment variables user code reads, beside the modules it imports. Runs in the
worker.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Set
from typing import Any

from tb_ckptmeta.core.dependencies import UNSETTLED, digest_environment, digest_names, digest_text, find_kind
from tb_ckptmeta.worker.looks import Look, look, mark, settle
from tb_ckptmeta.worker.places import Places
from tb_ckptmeta.worker.start import ENVIRONMENT
from tb_ckptmeta.worker.watch_environment import watch_environment
from tb_ckptmeta.worker.watch_imports import watching_imports
from tb_ckptmeta.worker.watch_libraries import Libraries, require_names
from tb_ckptmeta.worker.watch_system import watching_system

_EVENTS = frozenset({"open", "os.listdir", "os.scandir", "ctypes.dlopen", "sqlite3.connect"})
# What the worker itself has set, by the job or by what the caller's key for it says.
_OURS = ("TMPDIR", "TEMP", "TMP", "TF_USE_LEGACY_KERAS")
# Who lists folders to find modules and what is installed, which is known by other means.
_FINDERS = ("importlib.", "zipimport", "pkg_resources")
# What sits between the environment and who goes through it.
_BETWEEN = ("tb_ckptmeta.", "collections.abc", "os")
# Who goes through the environment for variables of its own, which decide how progress is shown.
_HARMLESS = ("tqdm.",)


class Watch:
    """What is read between `watching` and its end. Nothing is kept of an environment variable but a digest.

    `job`: folders that hold a job's own files, which are not noted.
    """

    def __init__(self, *job: str) -> None:
        self.folders: dict[str, str] = {}
        self.kinds: dict[str, str] = {}
        self.environment: dict[str, str] = {}
        self.whole_environment: str | None = None
        self.directory: str | None = None
        self._looks: dict[str, Look | None] = {}  # None: what it held is not one content
        self._set = set(_OURS)
        # Asked for now: to find it, Python asks for the working directory, and then knows it.
        self.places = Places(tempfile.gettempdir(), *job)
        self._getcwd = os.getcwd
        self._watching = False
        self._aside = threading.local()

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Notice reads within: those of Python, and those of TensorFlow and HDF5 where they are loaded.

        Raises:
            CkptMetaError: PRIVATE_API_MOVED.
        """
        require_names()
        libraries = Libraries(self)
        libraries.look()
        watch_environment(self)
        with watching_system(self), watching_imports(self.places, self.add_kind, libraries.look):
            self._watching = True
            sys.addaudithook(self._make_hook())
            try:
                yield
            finally:
                self._watching = False
        require_names()  # of what has been loaded meanwhile

    def find_digests(self) -> dict[str, str]:
        """Return path -> digest of each file that was read; of what was not one content, one that never fits."""
        return {path: UNSETTLED if seen is None else settle(path, seen) for path, seen in self._looks.items()}

    def add_file(self, path: Any) -> None:
        """Note a file that is read; of one that is not on this machine no digest will ever fit."""
        text = self._place(path)
        if text is None:
            return
        if text.endswith(".pyc"):
            with contextlib.suppress(ValueError):  # one without a source is what there is to read
                text = importlib.util.source_from_cache(text)
        with self._look_aside():
            if text not in self._looks:
                self._looks[text] = look(text)
                return
            before = self._looks[text]
            if before is None or (mark(text) == before.mark and not before.racy):
                return
            now = look(text)
            if now.digest is None or now.digest != before.digest:
                self._looks[text] = None

    def add_folder(self, path: Any) -> None:
        """Note a folder whose names are listed."""
        text = self._place("." if path is None else path)
        if text is not None and text not in self.folders:
            with self._look_aside():
                self.folders[text] = digest_names(text)

    def add_pattern(self, pattern: Any) -> None:
        """Note that files are looked for by a pattern; by one of folders, nothing will ever fit."""
        text = os.fsdecode(pattern)
        folder = os.path.dirname(text) or "."
        if any(c in folder for c in "*?["):
            if self._watching:
                self._looks[text] = None
        else:
            self.add_folder(folder)

    def add_kind(self, path: Any, kind: str | None = None) -> str:
        """Note that it is asked what a path is, and return it. `kind`: where the system has said so."""
        # What the system takes for paths, and nobody else: a URL, and Python's <frozen …>, asked for its source.
        if kind is not None and isinstance(path, str) and ("://" in path or (path[:1], path[-1:]) == ("<", ">")):
            return kind
        text = self._place(path)
        if text is None:
            return ""
        if text not in self.kinds:
            with self._look_aside():
                self.kinds[text] = find_kind(text) if kind is None else kind
        return self.kinds[text]

    def add_variable(self, name: str) -> None:
        """Note an environment variable that is read."""
        if self._is_asked() and name not in self._set:
            self.environment.setdefault(name, digest_text(ENVIRONMENT.get(name)))

    def add_environment(self) -> None:
        """Note that all environment variables are read."""
        if self._is_asked():
            self.whole_environment = digest_environment(ENVIRONMENT)

    def add_own_variable(self, name: str) -> None:
        """Note that user code has set a variable: what it reads there from now on is its own."""
        if self._watching:
            self._set.add(name)

    def add_directory(self) -> None:
        """Note that it is asked what the working directory is."""
        if self._is_heard():
            self.directory = self._getcwd()

    def _place(self, path: Any) -> str | None:
        """Return the absolute path of what is to be noted, None of what is not."""
        if not self._is_heard():
            return None
        try:
            text = os.fsdecode(path)
        except TypeError:  # a file descriptor
            return None
        if "://" in text:
            self._looks[text] = None
            return None
        if not os.path.isabs(text):
            with contextlib.suppress(OSError):  # it has been deleted
                self.directory = self._getcwd()
                text = os.path.join(self.directory, text)
        return text if self.places.is_own(text) else None

    def _is_asked(self) -> bool:
        """Tell whether the environment is read for something that is not noted yet."""
        return self._is_heard() and self.whole_environment is None and not _find_caller().startswith(_HARMLESS)

    def _is_heard(self) -> bool:
        return self._watching and not getattr(self._aside, "is_on", False)

    @contextlib.contextmanager
    def _look_aside(self) -> Iterator[None]:
        """Read for the watch's own sake, within."""
        self._aside.is_on = True
        try:
            yield
        finally:
            self._aside.is_on = False

    def _make_hook(self) -> Callable[[str, tuple[Any, ...]], None]:
        """Return what hears Python's audit events (PEP 578), which are many: TensorFlow alone asks for `id` by the ten
        thousand.
        """

        def hear(event: str, arguments: tuple[Any, ...], events: Set[str] = _EVENTS) -> None:
            if event in events and self._watching:
                # What is not understood must not fail in the middle of user code, which will fail by itself.
                with contextlib.suppress(TypeError, ValueError):
                    self._note(event, arguments)

        return hear

    def _note(self, event: str, arguments: tuple[Any, ...]) -> None:
        what = arguments[0]
        if event == "open":  # a path, a mode and flags
            if not arguments[2] & (os.O_WRONLY | os.O_TRUNC | os.O_APPEND):
                self.add_file(what)
        elif event == "ctypes.dlopen":
            # A name alone is looked for among the system's libraries.
            if what is not None and os.sep in os.fsdecode(what):
                self.add_file(what)
        elif event == "sqlite3.connect":
            if what != ":memory:":  # it may be a URI: file:PATH?mode=ro
                self.add_file(os.fsdecode(what).removeprefix("file:").partition("?")[0])
        # Who asks: the frames of an audit hook are on top of those of who causes the event.
        elif not sys._getframe(2).f_globals.get("__name__", "").startswith(_FINDERS):
            self.add_folder(what)


def _find_caller() -> str:
    """Return the module that asks for the environment."""
    frame = sys._getframe(1)
    while frame is not None:
        name: str = frame.f_globals.get("__name__", "")
        if name not in _BETWEEN and not name.startswith(_BETWEEN[0]):
            return name
        frame = frame.f_back  # type: ignore[assignment]
    return ""
