"""Notice what user code reads by what Python tells of it: audit events (PEP 578). Runs in the worker."""

from __future__ import annotations

import contextlib
import os
import sys
import urllib.parse
from collections.abc import Callable, Set
from typing import TYPE_CHECKING, Any

from tb_ckptmeta.worker.within import find_within

if TYPE_CHECKING:
    from tb_ckptmeta.worker.watch import Watch

_EVENTS = frozenset(
    [
        *("open", "os.listdir", "os.scandir", "os.mkdir", "os.link", "os.rename", "os.symlink", "os.chdir"),
        *("ctypes.dlopen", "sqlite3.connect"),
    ]
)
# Who lists folders to find modules and what is installed, which is known by other means.
_FINDERS = ("importlib.", "zipimport", "pkg_resources")


def make_hook(watch: Watch) -> Callable[[str, tuple[Any, ...]], None]:
    """Return what hears audit events, which are many: TensorFlow alone asks for `id` by the ten thousand."""

    def hear(event: str, arguments: tuple[Any, ...], events: Set[str] = _EVENTS) -> None:
        if event in events and watch.is_watching():
            # What is not understood must not fail in the middle of user code, which will fail by itself.
            with contextlib.suppress(TypeError, ValueError):
                _note(watch, event, arguments)

    return hear


def _note(watch: Watch, event: str, arguments: tuple[Any, ...]) -> None:
    what = arguments[0]
    if event == "open":  # a path, a mode and flags
        watch.add_open(what, arguments[2])
    elif event == "os.mkdir":  # a path, a mode, a folder that it is in
        watch.add_made(find_within(what, arguments[2]))
    elif event == "os.link":  # two paths, the folders that they are in
        watch.add_alias(os.path.abspath(find_within(what, arguments[2])), find_within(arguments[1], arguments[3]))
    elif event == "os.rename":  # as for os.link; what is read at its new place comes from the old one
        watch.add_made(find_within(arguments[1], arguments[3]))
        watch.add_file(find_within(what, arguments[2]))
    elif event == "os.symlink":  # where it leads, its own path, a folder that this is in
        watch.add_alias(what, find_within(arguments[1], arguments[2]))
    elif event == "os.chdir":
        watch.add_move(what)
    elif event == "ctypes.dlopen":
        # A name alone is looked for among the system's libraries.
        if what is not None and os.sep in os.fsdecode(what):
            watch.add_file(what)
    elif event == "sqlite3.connect":
        path = _find_database(os.fsdecode(what))
        if path is not None:
            for suffix in ("", "-wal", "-journal"):  # what has been committed, or was being written, lies beside it
                watch.add_file(f"{path}{suffix}")
    # Who asks: the frames of an audit hook are on top of those of who causes the event.
    elif not sys._getframe(2).f_globals.get("__name__", "").startswith(_FINDERS):
        watch.add_folder(find_within("", what) if isinstance(what, int) else what)


def _find_database(name: str) -> str | None:
    """Return the path of a database, by its path or URI (https://www.sqlite.org/uri.html); None of one without."""
    if name.startswith("file:"):
        path, _, query = name.removeprefix("file:").partition("#")[0].partition("?")
        if "mode=memory" in query.split("&"):
            return None
        if path.startswith("//"):  # an authority, which may be empty
            path = f"/{path[2:].partition('/')[2]}"
        name = urllib.parse.unquote(path)
    return None if name in ("", ":memory:") else name
