"""Notice that source code is edited while a worker runs it. Runs in the caller's process.

A worker that hangs, or builds for minutes, in code that nobody has any more is not worth waiting for.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from types import TracebackType

from tb_ckptmeta.core.dependencies import Dependencies
from tb_ckptmeta.core.job import Spec
from tb_ckptmeta.engine.current import Digests

_LOOK_SECONDS = 0.05
_LOOKS_PER_DIGEST = 20
_MOST_BESIDE = 500
_MOST_TRIED = 100


class Edits:
    """Some source files as they are now, and whether one is another later."""

    def __init__(self, digests: Digests, paths: Iterable[str]) -> None:
        self._digests = digests
        # Of their content: code that is generated at every import is written anew, and is the same.
        self._before = {path: digests.get(path) for path in paths}

    def are_made(self) -> bool:
        return any(self._digests.get(path) != digest for path, digest in self._before.items())


class Attempt:
    """A context in which a worker runs, and that is ended when it is cancelled, or its source is edited.

    `ended` is what the worker is to be cancelled by; `is_edited` tells afterwards whether an edit was the reason.
    """

    def __init__(self, edits: Edits, cancelled: threading.Event | None) -> None:
        self.ended = threading.Event()
        self.is_edited = False
        self._edits = edits
        self._cancelled = cancelled
        self._closed = threading.Event()

    def __enter__(self) -> Attempt:
        threading.Thread(target=self._look, name="ckptmeta-edits", daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._closed.set()

    def _look(self) -> None:
        looks = 0
        while not self._closed.wait(_LOOK_SECONDS):
            looks += 1
            is_cancelled = self._cancelled is not None and self._cancelled.is_set()
            self.is_edited = not is_cancelled and looks % _LOOKS_PER_DIGEST == 0 and self._edits.are_made()
            if is_cancelled or self.is_edited:
                self.ended.set()
                return


def list_sources(spec: Spec, read: Dependencies | None) -> list[str]:
    """Return the source files that a SPEC's builders are made of: those `read` the last time, else some beside it."""
    if read is not None:
        return [path for path in read.files if path.endswith(".py")]
    return list_beside(spec)[1 : _MOST_TRIED + 1]


def list_beside(spec: Spec) -> list[str]:
    """Return the folder that a SPEC's module is in, and the source files in it."""
    parts = [] if spec.module is None else spec.module.split(".")[:-1]
    folder = os.path.join(spec.folder, *parts)
    try:
        names = sorted(n for n in os.listdir(folder) if n.endswith(".py"))
    except OSError:
        names = []
    return [folder, *(os.path.join(folder, n) for n in names[:_MOST_BESIDE])]
