"""Notice where user code's imports look: a file that appears there changes what is imported. Runs in the worker."""

from __future__ import annotations

import contextlib
import importlib.machinery
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from tb_ckptmeta.core.dependencies import FILE, FOLDER
from tb_ckptmeta.worker.places import Places

# In the order that Python looks.
_SUFFIXES = (f"{os.sep}__init__.py", *importlib.machinery.EXTENSION_SUFFIXES, ".py", ".pyc")


class _Listener:
    """A finder that finds nothing, and tells what there is where a module is looked for, in the user's own folders."""

    def __init__(self, places: Places, find_kind: Callable[[str], str], on_import: Callable[[], None]) -> None:
        self._places = places
        self._find_kind = find_kind
        self._on_import = on_import

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: Any = None) -> None:
        self._on_import()
        if name in sys.builtin_module_names:
            return
        stem = name.rpartition(".")[2]
        for folder in list(sys.path if path is None else path):
            if not isinstance(folder, str) or not self._places.is_own(os.path.abspath(folder)):
                continue
            if self._find_kind(folder) != FOLDER:  # an archive, which is read like any file, or nothing
                continue
            base = os.path.join(folder, stem)
            # An installed module has a place of its own behind these, or has none.
            if any(self._find_kind(base + suffix) == FILE for suffix in _SUFFIXES):
                return
            self._find_kind(base)


@contextlib.contextmanager
def watching_imports(places: Places, find_kind: Callable[[str], str], on_import: Callable[[], None]) -> Iterator[None]:
    """Ask `find_kind` of each path that could be a module which is looked for, until one is found, within.

    `on_import` is called before each import of what has not been loaded.
    """
    listener: Any = _Listener(places, find_kind, on_import)
    sys.meta_path.insert(0, listener)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # user code may have its own
            sys.meta_path.remove(listener)
