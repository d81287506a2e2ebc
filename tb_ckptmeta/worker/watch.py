"""Notice which files, folders and environment variables user code reads, beside the modules it imports. Runs in the
worker.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tb_ckptmeta.core.dependencies import (
    FILE,
    UNSETTLED,
    Dependencies,
    digest_environment,
    digest_link,
    digest_names,
    digest_text,
    find_kind,
    is_noise,
)
from tb_ckptmeta.core.job import SOURCES
from tb_ckptmeta.worker.links import find_links
from tb_ckptmeta.worker.looks import Look, look, mark, settle
from tb_ckptmeta.worker.places import Places
from tb_ckptmeta.worker.start import ENVIRONMENT
from tb_ckptmeta.worker.watch_environment import watch_environment
from tb_ckptmeta.worker.watch_events import make_hook
from tb_ckptmeta.worker.watch_imports import watching_imports
from tb_ckptmeta.worker.watch_libraries import Libraries, require_names
from tb_ckptmeta.worker.watch_system import watching_system

# What the worker itself has set, by the job or by what the caller's key for it says.
_OURS = ("TMPDIR", "TEMP", "TMP", "TF_USE_LEGACY_KERAS")
# What sits between the environment and who goes through it.
_BETWEEN = ("tb_ckptmeta.", "collections.abc", "os")
# Who goes through the environment for variables of its own, which decide how progress is shown.
_HARMLESS = ("tqdm.",)

# A file without a name is made in a folder, whose path is given.
_NAMELESS = getattr(os, "O_TMPFILE", -1)


class Watch:
    """What is read between `watching` and its end. Nothing is kept of an environment variable but a digest.

    `folder`: where the job's own files are, which are not noted. It is told there which source files have been read
    (`core.job.SOURCES`), as it happens.
    """

    def __init__(self, folder: Path) -> None:
        self.began = time.time_ns()
        self._looks: dict[str, Look | None] = {}  # None: what it held is not one content
        self._folders: dict[str, str] = {}
        self._kinds: dict[str, str] = {}
        self._links: dict[str, str] = {}
        self._sizes: dict[str, str] = {}
        self._made: set[str] = set()
        self._environment: dict[str, str] = {}
        self._whole_environment: str | None = None
        self._set = set(_OURS)
        # Asked for now: to find it, Python asks for the working directory, and then knows it.
        self.places = Places(tempfile.gettempdir(), str(folder))
        self._sources = folder / SOURCES
        self._getcwd = os.getcwd
        self._first_directory = self._find_directory()
        self._directory: str | None = None
        self._has_moved = False
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
            self.began = time.time_ns()
            self._watching = True
            sys.addaudithook(make_hook(self))
            try:
                yield
            finally:
                self._watching = False
        require_names()  # of what has been loaded meanwhile

    def find_read(self) -> Dependencies:
        """Return what was read. A file that was not one content has a digest that never fits; what user code has made
        and taken away again is its own affair.
        """
        # Copies all: a thread of user code may go on reading.
        looks = {p: s for p, s in self._looks.copy().items() if (s and s.mark is None) or not self._is_gone(p)}
        return Dependencies(
            {path: UNSETTLED if seen is None else settle(path, seen) for path, seen in looks.items()},
            self._environment.copy(),
            self._directory,
            self._leave_gone(self._folders),
            self._leave_gone(self._kinds),
            self._whole_environment,
            self._leave_gone(self._links),
            self._leave_gone(self._sizes),
        )

    def is_watching(self) -> bool:
        return self._watching

    def add_file(self, path: Any) -> None:
        """Note a file that is read; of one that is not on this machine no digest will ever fit."""
        text = self._place(path)
        if text is None:
            return
        if text.endswith(".pyc"):
            with contextlib.suppress(ValueError):  # one without a source is what there is to read
                text = importlib.util.source_from_cache(text)
        with self.look_aside():
            if text not in self._looks:
                self._looks[text] = seen = look(text)
                self._tell_source(text, seen.digest)
                return
            before = self._looks[text]
            if before is None or (mark(text) == before.mark and not before.racy):
                return
            if before.mark is None and text in self._made:  # it was missing: that is what has been read
                return
            now = look(text)
            if now.digest is None or now.digest != before.digest:
                self._looks[text] = None

    def add_folder(self, path: Any) -> None:
        """Note a folder whose names are listed."""
        text = self._place("." if path is None else path)
        if text is not None and text not in self._folders:
            with self.look_aside():
                self._folders[text] = digest_names(text)

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
        if kind is not None and _is_no_path(path):
            return kind
        text = self._place(path)
        if text is None:
            return ""
        if text not in self._kinds:
            with self.look_aside():
                self._kinds[text] = find_kind(text) if kind is None else kind
        return self._kinds[text]

    def add_variable(self, name: str) -> None:
        """Note an environment variable that is read."""
        if name not in self._set and self._is_asked(is_noise(name)):
            self._environment.setdefault(name, digest_text(ENVIRONMENT.get(name)))

    def add_environment(self) -> None:
        """Note that all environment variables are read."""
        if self._is_asked():
            self._whole_environment = digest_environment(ENVIRONMENT)

    def add_own_variable(self, name: str) -> None:
        """Note that user code has set a variable: what it reads there from now on is its own."""
        if self._watching:
            self._set.add(name)

    def add_directory(self) -> None:
        """Note that it is asked what the working directory is."""
        if self._is_heard() and not (self._has_moved and self._find_directory() != self._first_directory):
            self._directory = self._first_directory

    def add_move(self, directory: Any) -> None:
        """Note that the working directory is about to be changed: to one of user code's own, or from where it is."""
        if isinstance(directory, int) or os.path.isabs(os.fsdecode(directory)):
            self._has_moved = True
        else:
            self.add_directory()
        # What is read by a relative path is noted where it is, and no longer by the links that led there.
        text = self._find_place(directory)
        if text is not None:
            with self.look_aside():
                links = [link for link in find_links(text) if self.places.is_own(link)]
                self._links.update((link, digest_link(link)) for link in links if link not in self._links)

    def add_open(self, path: Any, flags: int) -> None:
        """Note a file that is opened with flags of open(2)."""
        if flags & os.O_CREAT:
            self.add_made(path)
        elif flags & (os.O_WRONLY | os.O_RDWR):
            self._add_written(self._find_place(path))
        if flags & _NAMELESS != _NAMELESS and not flags & (os.O_WRONLY | os.O_TRUNC):
            self.add_file(path)

    def add_made(self, path: Any) -> None:
        """Note a file or folder that is made, if it is not there yet."""
        text = self._find_place(path)
        self._add_written(text)
        while text is not None and text not in self._made and mark(text) is None:
            self._made.add(text)
            text = os.path.dirname(text)

    def add_alias(self, path: Any, alias: Any) -> None:
        """Note a file that gets another name: what is read by that may go again, or be where nobody listens."""
        self.add_made(alias)
        beside = os.path.join(self._find_directory() or "", os.fsdecode(alias))
        text = os.path.join(os.path.dirname(beside), os.fsdecode(path))
        with self.look_aside():
            is_read = find_kind(text) == FILE and text not in self._made
        if is_read:
            self.add_file(text)

    def add_link(self, path: Any) -> None:
        """Note that it is asked where a symbolic link leads, or whether a path is one."""
        text = None if _is_no_path(path) else self._place(path)
        if text is not None and text not in self._links:
            with self.look_aside():
                self._links[text] = digest_link(text)

    def add_size(self, path: Any, size: str) -> None:
        """Note that user code asks for the size or the time of a path (`core.dependencies.find_size`)."""
        text = self._place(path)
        if text is not None:
            self._sizes.setdefault(text, size)

    def _add_written(self, text: str | None) -> None:
        with self.look_aside():
            if text is not None:
                self._tell_source(text, None)

    def _tell_source(self, path: str, digest: str | None) -> None:
        if path.endswith(".py"):
            # Opened anew each time: user code may close what it has not opened, and get the same descriptor.
            with contextlib.suppress(OSError), self._sources.open("a", encoding="ascii") as file:
                file.write(json.dumps([path, digest]) + "\n")

    def _place(self, path: Any) -> str | None:
        """Return the absolute path of what is to be noted, None of what is not, and note what it depends on."""
        text = self._find_place(path)
        if text is None:
            return None
        if "://" in text:
            self._looks[text] = None
            return None
        if not os.path.isabs(os.fsdecode(path)):
            self.add_directory()
        return text

    def _find_place(self, path: Any) -> str | None:
        """Return the absolute path or the URL of what may be noted, None of what is not heard or not worth it."""
        if not self._is_heard():
            return None
        try:
            text = os.fsdecode(path)
        except TypeError:  # a file descriptor
            return None
        if "://" in text:
            return text
        if not os.path.isabs(text):
            text = os.path.join(self._find_directory() or "", text)
        if not self.places.is_own(text):
            return None
        if self.places.is_made(text):  # by TMPDIR/../x one finds x for as long as there is a TMPDIR
            head, _, rest = text.rpartition(f"{os.sep}..")
            with self.look_aside():
                text = os.path.realpath(f"{head}{os.sep}..") + rest
        return text

    def _is_asked(self, by_name: bool = False) -> bool:
        """Tell whether the environment is read for something that is not noted yet."""
        if not self._is_heard() or (self._whole_environment is not None and not by_name):
            return False
        return not _find_caller().startswith(_HARMLESS)

    def _is_heard(self) -> bool:
        return self._watching and not getattr(self._aside, "is_on", False)

    @contextlib.contextmanager
    def look_aside(self) -> Iterator[None]:
        """Read for the watch's own sake, within."""
        before = getattr(self._aside, "is_on", False)
        self._aside.is_on = True
        try:
            yield
        finally:
            self._aside.is_on = before

    def _leave_gone(self, noted: dict[str, str]) -> dict[str, str]:
        """Return what is noted, but for what is user code's own and gone; that it was missing before stays true."""
        return {path: value for path, value in noted.copy().items() if value == "" or not self._is_gone(path)}

    def _is_gone(self, path: str) -> bool:
        """Tell whether user code has made a file or folder, or what it was in, and has taken it away again."""
        made = self._made
        if not made or mark(path) is not None:
            return False
        while path not in made and path != os.path.dirname(path):
            path = os.path.dirname(path)
        return path in made

    def _find_directory(self) -> str | None:
        try:
            return self._getcwd()
        except OSError:  # it has been deleted
            return None


def _is_no_path(path: Any) -> bool:
    """Tell of what only the system takes for a path: a URL, and Python's <frozen …>, asked for its source."""
    return isinstance(path, str) and ("://" in path or (path[:1], path[-1:]) == ("<", ">"))


def _find_caller() -> str:
    """Return the module that asks for the environment."""
    frame = sys._getframe(1)
    while frame is not None:
        name: str = frame.f_globals.get("__name__", "")
        if name not in _BETWEEN and not name.startswith(_BETWEEN[0]):
            return name
        frame = frame.f_back  # type: ignore[assignment]
    return ""
