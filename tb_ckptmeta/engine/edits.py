"""End a worker whose source code is edited while it runs, and run it again. Runs in the caller's process.

A worker that hangs, or builds for minutes, in code that nobody has any more is not worth waiting for.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.job import CONTENTS, SOURCES
from tb_ckptmeta.engine.current import Digests
from tb_ckptmeta.engine.stop import Stop

MOST_EDITS = 10
"""How often a worker is run again; what is edited more often than that may be written by what it starts."""

T = TypeVar("T")


def run_until_unedited(
    run: Callable[[threading.Event | None], T], folder: Path, digests: Digests, cancelled: threading.Event | None
) -> T:
    """Run a worker in `folder`, and again when what it has read of source code was edited meanwhile.

    `run` gets the event that ends the worker: then it raises CANCELLED.

    Raises:
        CkptMetaError: as `run` does; CANCELLED where that is what the caller wants.
    """
    for _ in range(MOST_EDITS):
        stop = Stop(cancelled, lambda: is_edited(folder, digests))
        try:
            return run(stop.event)
        except CkptMetaError as error:
            if error.code is not Code.CANCELLED or not stop.has_reason:
                raise
        finally:
            stop.close()
        clear_folder(folder)
    return run(cancelled)


def is_edited(folder: Path, digests: Digests) -> bool:
    """Tell whether a source file is another now than the worker of `folder` has read."""
    return any(digests.get(path) != digest for path, digest in find_read(folder).items())


def find_read(folder: Path) -> dict[str, str]:
    """Return the source files that the worker of `folder` has read so far, but not written itself: path -> digest."""
    try:
        lines = (folder / SOURCES).read_bytes().splitlines()
    except OSError:  # nothing has been read yet
        return {}
    read: dict[str, str | None] = {}
    for line in lines:
        with contextlib.suppress(ValueError, TypeError):  # it is being written, or was when the disk was full
            path, digest = json.loads(line)
            # Read twice, what it was at first counts: by then user code has used it.
            if digest is None or path not in read:
                read[path] = digest
    return {path: digest for path, digest in read.items() if digest is not None}


def clear_folder(folder: Path) -> None:
    """Take a job's traces away, all but the checkpoint's contents, so that it can run again."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != CONTENTS:
            path.unlink()
