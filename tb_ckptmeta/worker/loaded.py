"""Know what was loaded before any user code. Runs in the worker, and in the process that workers are forked from.

TensorFlow or Keras may be installed editable, or be found by PYTHONPATH: such files are edited without anything being
installed.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tb_ckptmeta.core.dependencies import UNSETTLED
from tb_ckptmeta.worker.looks import Look, is_late, look, mark, settle
from tb_ckptmeta.worker.places import Places
from tb_ckptmeta.worker.start import STARTED


@dataclass(frozen=True)
class Loaded:
    """The names of all loaded modules and of their packages, and the files of those that are not installed.

    `last`: some that were loaded last; several, for one may be taken out and imported again.
    """

    names: frozenset[str]
    packages: frozenset[str]
    files: Mapping[str, Look]
    last: frozenset[str]

    def find_newer(self) -> dict[str, Any]:
        """Return the modules that have been loaded since, by name.

        From the end, for to look at what a forked process shares with its parent is to copy it.
        """
        left, found = set(self.last), []
        try:
            for name in reversed(sys.modules):
                left.discard(name)
                if not left:
                    break
                found.append(name)
        except RuntimeError:  # a thread of user code goes on importing
            found = list(sys.modules)
        return {name: sys.modules.get(name) for name in found if name not in self.names}

    def has_changed(self) -> bool:
        """Tell whether one of the files is no longer what was imported, or may not be."""
        return any(mark(path) != seen.mark or is_late(seen.mark, STARTED) for path, seen in self.files.items())

    def digest_files(self) -> dict[str, str]:
        """Return path -> digest of what was imported."""
        late = {path for path, seen in self.files.items() if is_late(seen.mark, STARTED)}
        return {path: UNSETTLED if path in late else settle(path, seen) for path, seen in self.files.items()}


@functools.cache
def get_loaded() -> Loaded:
    """Return what is loaded when this is first asked for; a forked worker knows what its parent found."""
    places, modules = Places(), list(sys.modules.items())
    files = {path for _, module in modules if (path := find_file(module)) is not None and places.is_own(path)}
    names = frozenset(name for name, _ in modules)
    packages = frozenset(name.partition(".")[0] for name in names)
    return Loaded(
        names, packages, {path: look(path) for path in sorted(files)}, frozenset(name for name, _ in modules[-5:])
    )


def find_file(module: Any) -> str | None:
    """Return the file of a module, by an absolute path; None where it has none."""
    try:
        path = vars(module).get("__file__")  # getattr would have lazy modules import themselves
    except Exception:  # user code may put anything there
        return None
    return os.path.abspath(path) if isinstance(path, str) else None
