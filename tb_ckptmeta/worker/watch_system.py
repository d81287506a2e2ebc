"""Notice what user code asks the system without an audit event: what a path is, and where it is. Runs in the worker."""

from __future__ import annotations

import contextlib
import functools
import os
import pathlib
import stat
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from tb_ckptmeta.core.dependencies import MISSING, describe_size, name_kind
from tb_ckptmeta.worker.within import find_within

if TYPE_CHECKING:
    from tb_ckptmeta.worker.watch import Watch

_KEPT = ("getcwd", "readlink", "stat")
# What of Python's own asks on somebody's behalf, and what of it gives more than what a path is.
_BETWEEN = ("genericpath", "os", "pathlib", "posixpath")
_SIZES = ("getctime", "getmtime", "getsize", "lstat", "stat")


@contextlib.contextmanager
def watching_system(watch: Watch) -> Iterator[None]:
    """Tell of `os.stat` and its like, within; all of `os.path` and `pathlib` comes down to them.

    Python's own import system has others, and is not heard.
    """
    replaced: dict[str, Callable[..., Any]] = {
        "getcwd": _tell_directory(os.getcwd, watch),
        "getcwdb": _tell_directory(os.getcwdb, watch),
        "stat": _tell_kind(os.stat, watch),
        "lstat": _tell_kind(os.lstat, watch, links=True),
        "access": _tell_access(os.access, watch),
        "readlink": _tell_link(os.readlink, watch),
        "open": _tell_open(os.open, watch),
    }
    originals = {name: getattr(os, name) for name in replaced}
    # Python 3.10's pathlib has taken these for itself.
    kept: Any = getattr(pathlib, "_NormalAccessor", None)
    pathlibs = {name: kept.__dict__[name] for name in _KEPT if kept is not None and name in kept.__dict__}
    # Who looks there finds that the function takes a file descriptor, say.
    abilities = (os.supports_dir_fd, os.supports_fd, os.supports_follow_symlinks, os.supports_effective_ids)
    for name, function in replaced.items():
        for ability in abilities:
            if originals[name] in ability:
                ability.add(function)
        function.__module__ = "os"  # the original's is where pickle would not find it
        setattr(os, name, function)
    for name in pathlibs:
        setattr(kept, name, staticmethod(replaced[name]))
    try:
        yield
    finally:
        for name, function in originals.items():
            setattr(os, name, function)
        for name, function in pathlibs.items():
            setattr(kept, name, function)


def _tell_directory(function: Callable[[], Any], watch: Watch) -> Callable[[], Any]:
    @functools.wraps(function)
    def tell() -> Any:
        watch.add_directory()
        return function()

    return tell


def _tell_kind(function: Callable[..., Any], watch: Watch, *, links: bool = False) -> Callable[..., Any]:
    """Tell that it is asked what a path is. `links`: and whether it is itself a link, which is then not followed."""

    @functools.wraps(function)
    def tell(path: Any, **options: Any) -> Any:
        place = find_within(path, options.get("dir_fd"))
        if links or not options.get("follow_symlinks", True):
            watch.add_link(place)
        try:
            status = function(path, **options)
        except OSError:
            watch.add_kind(place, MISSING)
            raise
        if not stat.S_ISLNK(status.st_mode):
            watch.add_kind(place, name_kind(status.st_mode))
            if _is_size_asked(watch):
                watch.add_size(place, describe_size(status))
        return status

    return tell


def _tell_access(function: Callable[..., Any], watch: Watch) -> Callable[..., Any]:
    @functools.wraps(function)
    def tell(path: Any, mode: int, **options: Any) -> Any:
        place = find_within(path, options.get("dir_fd"))
        if not options.get("follow_symlinks", True):
            watch.add_link(place)
        watch.add_kind(place)
        return function(path, mode, **options)

    return tell


def _tell_link(function: Callable[..., Any], watch: Watch) -> Callable[..., Any]:
    @functools.wraps(function)
    def tell(path: Any, **options: Any) -> Any:
        watch.add_link(find_within(path, options.get("dir_fd")))
        return function(path, **options)

    return tell


def _tell_open(function: Callable[..., int], watch: Watch) -> Callable[..., int]:
    """Tell what a path within an open folder is: the audit event does not say that it is within one."""

    @functools.wraps(function)
    def tell(path: Any, flags: int, *mode: Any, dir_fd: int | None = None, **options: Any) -> int:
        if dir_fd is None:
            return function(path, flags, *mode, **options)
        watch.add_open(find_within(path, dir_fd), flags)
        with watch.look_aside():
            return function(path, flags, *mode, dir_fd=dir_fd, **options)

    return tell


def _is_size_asked(watch: Watch) -> bool:
    """Tell whether user code itself asks for a status: which file is the newest, say, not only whether it is there."""
    frame = sys._getframe(2)
    name = "stat"
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _BETWEEN:
        name = frame.f_code.co_name
        frame = frame.f_back
    file = frame.f_code.co_filename
    return name in _SIZES and os.path.isabs(file) and watch.places.is_own(file)
