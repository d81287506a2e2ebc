"""Tell the folders that hold a user's own files from those of installed packages and of ours. Runs in the worker."""

from __future__ import annotations

import functools
import os
import sys
import sysconfig

import tb_ckptmeta

OURS = os.path.dirname(os.path.abspath(tb_ckptmeta.__file__)) + os.sep
# What the system makes up. /dev/shm is a folder like others.
_NO_FILES = ("/proc/", "/sys/", "/dev/")
_SHARED = "/dev/shm/"


def find_installed() -> tuple[str, ...]:
    """Return the folders of Python and of installed packages, each with a separator at its end."""
    # A venv may see those of the system, or of its user.
    others = {p for p in sys.path if os.path.basename(p) in ("site-packages", "dist-packages")}
    installed = _find_configured() | others
    return tuple(f"{place}{os.sep}" for place in sorted(installed))


@functools.cache  # by the process that is forked from
def _find_configured() -> frozenset[str]:
    return frozenset(sysconfig.get_path(p) for p in ("stdlib", "platstdlib", "purelib", "platlib"))


class Places:
    """Which paths are worth noting: those that the caller's key for this installation does not cover.

    `job`: folders that hold a job's own files, and what is generated for it.
    """

    def __init__(self, *job: str) -> None:
        self._installed = find_installed()
        self._made = (OURS, *(f"{folder}{os.sep}" for folder in job))
        self.is_own = functools.lru_cache(maxsize=1024)(self._is_own)

    def is_installed(self, path: str) -> bool:
        """Tell whether an absolute path is that of an installed package, or of Python."""
        return f"{path}{os.sep}".startswith(self._installed) and ".." not in path

    def is_made(self, path: str) -> bool:
        """Tell whether an absolute path begins with a job's folder, or with ours, wherever it leads from there."""
        return path.startswith(self._made)

    def _is_own(self, path: str) -> bool:
        """Tell whether an absolute path may be the user's own: neither installed, nor ours, nor made for this job."""
        path = os.path.normpath(path)  # what begins with TMPDIR and goes on with .. is elsewhere
        within = f"{path}{os.sep}"
        if within.startswith(self._made) or self.is_installed(path):
            return False
        return not path.startswith(_NO_FILES) or path.startswith(_SHARED)
