"""Have models rebuilt, each once for as long as its source files stay the same. Runs in the caller's process."""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tb_ckptmeta.core.contents import Contents
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.job import CONTENTS, GRAPH, REBUILT, Limits, Rebuild, Source
from tb_ckptmeta.core.rebuilt import Rebuilt
from tb_ckptmeta.engine.process import OnSteps, Run, run_worker
from tb_ckptmeta.engine.registry import stamp

_MOST_KEPT = 8


@dataclass(frozen=True)
class Artifacts:
    """What a rebuild made: the facts, and the forward pass as a serialized GraphDef."""

    rebuilt: Rebuilt
    graph: bytes
    files: Mapping[str, tuple[int, int]]


class Rebuilder:
    """Rebuilds models, and keeps the last few: a graph, its conceptual graph and its verdict are one rebuild.

    A kept one is used for as long as no source file that it imported has changed. Two requests for one model wait
    for the same worker; at most `workers` run at a time. Safe for threads.
    """

    def __init__(self, limits: Limits, workers: int = 2, run: Run = run_worker) -> None:
        self.run_worker = run
        self._limits = limits
        self._slots = threading.BoundedSemaphore(workers)
        self._kept: OrderedDict[str, Artifacts] = OrderedDict()
        self._ended: OrderedDict[str, tuple[float, Artifacts | CkptMetaError]] = OrderedDict()
        self._locks: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()

    @property
    def limits(self) -> Limits:
        return self._limits

    def rebuild(
        self,
        source: Source,
        *,
        fresh: bool = False,
        on_steps: OnSteps | None = None,
        cancelled: threading.Event | None = None,
    ) -> Artifacts:
        """Return the rebuilt model of `source`; `fresh` rebuilds it whatever is kept.

        Raises:
            CkptMetaError: as the worker says.
        """
        asked = time.monotonic()
        if not source.arrays:  # then the names matter to the comparison alone, which is the caller's
            source = replace(source, renames=())
        key = json.dumps([vars(source.spec), {**vars(source), "spec": None}], sort_keys=True, default=str)
        with self._lock:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            # What came of it while we waited is ours as well: a builder that hangs must not do so for each who asks.
            ended = self._ended.get(key)
            if ended is not None and ended[0] > asked:
                if isinstance(ended[1], CkptMetaError):
                    raise ended[1]
                return ended[1]
            kept = self._kept.get(key)
            if kept is not None and not fresh and all(stamp(p) == was for p, was in kept.files.items()):
                with self._lock:
                    self._kept.move_to_end(key)
                return kept
            try:
                with tempfile.TemporaryDirectory(prefix="ckptmeta-") as name:
                    folder = Path(name)
                    value = self.run(Rebuild(source, self._limits), folder, on_steps=on_steps, cancelled=cancelled)
                    artifacts = read_artifacts(folder, value)
            except CkptMetaError as error:
                if error.code is not Code.CANCELLED:  # that is the end of this request alone
                    self._ended[key] = (time.monotonic(), error)
                raise
            self._ended[key] = (time.monotonic(), artifacts)
            with self._lock:
                self._kept[key] = artifacts
                while len(self._kept) > _MOST_KEPT:
                    gone, _ = self._kept.popitem(last=False)
                    self._ended.pop(gone, None)
            return artifacts

    def rebuild_once(self, source: Source) -> Rebuilt:
        """Rebuild `source` now, and keep nothing of it.

        Raises:
            CkptMetaError: as the worker says.
        """
        with tempfile.TemporaryDirectory(prefix="ckptmeta-") as name:
            folder = Path(name)
            value = self.run(Rebuild(source, self._limits), folder)
            return read_artifacts(folder, value).rebuilt

    def run(
        self,
        job: Rebuild,
        folder: Path,
        *,
        on_steps: OnSteps | None = None,
        cancelled: threading.Event | None = None,
    ) -> dict[str, Any]:
        """Run a rebuild in `folder`, and once more with memory for the weights where the builder reads them.

        Raises:
            CkptMetaError: as the worker says.
        """
        subject = job.source.title
        with self.slot(cancelled):
            value: dict[str, Any] = self.run_worker(job, folder, subject, on_steps=on_steps, cancelled=cancelled)
            if "needs_allocation" in value:
                clear_folder(folder)
                value = self.run_worker(
                    replace(job, allocate=True), folder, subject, on_steps=on_steps, cancelled=cancelled
                )
        return value

    def slot(self, cancelled: threading.Event | None = None) -> Slot:
        """Return a context in which one worker may run."""
        return Slot(self._slots, cancelled)


class Slot:
    """One of the places for workers; waiting for it ends when the work is cancelled."""

    def __init__(self, slots: threading.BoundedSemaphore, cancelled: threading.Event | None) -> None:
        self._slots = slots
        self._cancelled = cancelled

    def __enter__(self) -> None:
        while not self._slots.acquire(timeout=0.2):
            if self._cancelled is not None and self._cancelled.is_set():
                raise CkptMetaError(Code.CANCELLED, "Cancelled.")

    def __exit__(self, *_: object) -> None:
        self._slots.release()


def read_artifacts(folder: Path, value: Mapping[str, Any]) -> Artifacts:
    """Read what a rebuild left in its folder."""
    return Artifacts(
        Rebuilt.from_json(json.loads((folder / REBUILT).read_text(encoding="utf-8"))),
        (folder / GRAPH).read_bytes(),
        {path: (mtime, size) for path, mtime, size in value["files"]},
    )


def write_contents(contents: Contents, folder: Path) -> None:
    """Give a job the contents of its checkpoint."""
    (folder / CONTENTS).write_text(json.dumps(contents.as_json()), encoding="utf-8")


def clear_folder(folder: Path) -> None:
    """Take a job's traces away, all but the checkpoint's contents, so that it can run again."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != CONTENTS:
            path.unlink()
