"""Notice that source code is edited while a worker runs it. Runs in the caller's process.

A worker that hangs, or builds for minutes, in code that nobody has any more is not worth waiting for.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from tb_ckptmeta.core.dependencies import Dependencies
from tb_ckptmeta.core.job import Spec
from tb_ckptmeta.engine.current import Digests

_MOST_BESIDE = 500
_MOST_DIGESTED = 100
"""How many of them, each of which is read, before anybody knows which count."""


class Edits:
    """Some source files as they are now, and whether one is another later."""

    def __init__(self, digests: Digests, paths: Iterable[str]) -> None:
        self._digests = digests
        # Of their content: code that is generated at every import is written anew, and is the same.
        self._before = {path: digests.get(path) for path in paths}

    def are_made(self) -> bool:
        return any(self._digests.get(path) != digest for path, digest in self._before.items())


def list_sources(spec: Spec, read: Dependencies | None) -> list[str]:
    """Return the source files that a SPEC's builders are made of: those `read` the last time, else some beside it."""
    if read is not None:
        return [path for path in read.files if path.endswith(".py")]
    return list_beside(spec)[1 : _MOST_DIGESTED + 1]


def list_beside(spec: Spec) -> list[str]:
    """Return the folder that a SPEC's module is in, and the source files in it."""
    parts = [] if spec.module is None else spec.module.split(".")[:-1]
    folder = os.path.join(spec.folder, *parts)
    try:
        names = sorted(n for n in os.listdir(folder) if n.endswith(".py"))
    except OSError:
        names = []
    return [folder, *(os.path.join(folder, n) for n in names[:_MOST_BESIDE])]
