"""Have models rebuilt, each once for as long as what it is made of stays the same. Runs in the caller's process."""

from __future__ import annotations

import functools
import hashlib
import json
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tb_ckptmeta.core.dependencies import Dependencies
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.job import CONTENTS, GRAPH, REBUILT, Limits, Rebuild, Source
from tb_ckptmeta.engine.cache import Cache
from tb_ckptmeta.engine.current import Digests, make_key
from tb_ckptmeta.engine.edits import clear_folder, run_until_unedited
from tb_ckptmeta.engine.process import OnSteps, Run, run_worker
from tb_ckptmeta.engine.temporary import temporary_folder
from tb_ckptmeta.engine.turns import Turns, acquire

if TYPE_CHECKING:
    from tb_ckptmeta.core.contents import Contents
    from tb_ckptmeta.core.rebuilt import Rebuilt
    from tb_ckptmeta.engine.node_table import NodeTable

_MOST_KEPT = 8

KIND = "rebuild"
"""What the cache calls a rebuild."""


@dataclass(frozen=True)
class Artifacts:
    """What a rebuild made: the facts, the forward pass as a serialized GraphDef, and what user code read for it.

    `table`: the same graph as whoever has just read it has it, if anybody has; it takes several times the memory.
    `content`: the digest of the one file that all of it follows from, if it does.
    """

    rebuilt: Rebuilt
    graph: bytes
    dependencies: Dependencies = field(default_factory=Dependencies)
    table: NodeTable | None = field(default=None, compare=False, repr=False)
    content: str = ""

    @functools.cached_property
    def digest(self) -> str:
        """What tells these artifacts from others."""
        if self.content:
            return self.content
        facts = json.dumps(self.rebuilt.as_json(), sort_keys=True, default=str).encode("utf-8", "surrogateescape")
        return hashlib.sha256(hashlib.sha256(facts).digest() + self.graph).hexdigest()


@dataclass(frozen=True)
class _Failed:
    """How a rebuild failed, and when it had begun, by the monotonic clock."""

    error: CkptMetaError
    began: float


class Rebuilder:
    """Rebuilds models, and keeps them: a graph, its conceptual graph and the verdicts of all steps are one rebuild.

    The last few are kept in memory, and `cache` keeps more of them, for other processes as well. A kept one is used
    for as long as nothing has changed of what it was made of: the builder call, the files and environment variables
    that user code read, the installation. Two requests for one model wait for the same worker; at most `workers` run
    at a time. Safe for threads.
    """

    def __init__(
        self,
        limits: Limits,
        workers: int = 2,
        run: Run = run_worker,
        *,
        cache: Cache | None = None,
        digests: Digests | None = None,
    ) -> None:
        self.run_worker = run
        self._cache = cache if cache is not None else Cache(None)
        self._digests = digests if digests is not None else Digests()
        self._limits = limits
        self._slots = threading.BoundedSemaphore(workers)
        self._kept: OrderedDict[str, Artifacts] = OrderedDict()
        self._turns: Turns[Artifacts | _Failed] = Turns()
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
        key = make_key([vars(source.spec), {**vars(source), "spec": None}])
        with self._turns.take(key, cancelled) as turn:
            # What came of it while we waited is ours as well: a builder that hangs must not do so for each who asks.
            ended = turn.find_outcome(asked)
            if isinstance(ended, _Failed):
                # What it had read is not known: whoever asked once it had begun may have edited that before.
                if ended.began >= asked:
                    raise ended.error
            elif ended is not None and self._digests.are_current(ended.dependencies):
                return ended
            found = None if fresh else self._find(key)
            if found is not None:
                return found
            began = time.monotonic()
            try:
                artifacts = self._run_once(source, on_steps, cancelled)
            except CkptMetaError as error:
                if error.code is not Code.CANCELLED:  # that is the end of this request alone
                    turn.end(_Failed(error, began))
                raise
            turn.end(artifacts)
            self._keep(key, artifacts)
            facts = {"dependencies": artifacts.dependencies.as_json(), "rebuilt": artifacts.rebuilt.as_json()}
            self._cache.write(KIND, key, facts, artifacts.graph)
            return artifacts

    def _run_once(
        self, source: Source, on_steps: OnSteps | None = None, cancelled: threading.Event | None = None
    ) -> Artifacts:
        """Run a worker, and again when its source was edited meanwhile: what that would make nobody wants."""
        job = Rebuild(source, self._limits)
        with temporary_folder() as folder:
            value = run_until_unedited(
                lambda stop: self.run(job, folder, on_steps=on_steps, cancelled=stop), folder, self._digests, cancelled
            )
            return read_artifacts(folder, value)

    def _find(self, key: str) -> Artifacts | None:
        """Return what is kept of a rebuild, in memory or in the cache, if it would be made the same way today."""
        kept = self._kept.get(key)
        if kept is not None and self._digests.are_current(kept.dependencies):
            with self._lock:
                if key in self._kept:  # else others have taken its place meanwhile
                    self._kept.move_to_end(key)
            return kept
        entry = self._cache.read(KIND, key)
        if entry is None:
            return None
        read = Dependencies.from_json(entry.facts["dependencies"])
        if not self._digests.are_current(read):
            return None
        from tb_ckptmeta.core.rebuilt import Rebuilt

        artifacts = Artifacts(Rebuilt.from_json(entry.facts["rebuilt"]), entry.parts[0], read)
        self._keep(key, artifacts)
        return artifacts

    def _keep(self, key: str, artifacts: Artifacts) -> None:
        with self._lock:
            self._kept[key] = artifacts
            self._kept.move_to_end(key)
            while len(self._kept) > _MOST_KEPT:
                self._kept.popitem(last=False)

    def rebuild_once(self, source: Source) -> Rebuilt:
        """Rebuild `source` now, and keep nothing of it.

        Raises:
            CkptMetaError: as the worker says.
        """
        return self._run_once(source).rebuilt

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
        acquire(self._slots, self._cancelled)

    def __exit__(self, *_: object) -> None:
        self._slots.release()


def read_artifacts(folder: Path, value: Mapping[str, Any]) -> Artifacts:
    """Read what a rebuild left in its folder."""
    from tb_ckptmeta.core.rebuilt import Rebuilt

    return Artifacts(
        Rebuilt.from_json(json.loads((folder / REBUILT).read_text(encoding="utf-8"))),
        (folder / GRAPH).read_bytes(),
        Dependencies.from_json(value["dependencies"]),
    )


def write_contents(contents: Contents, folder: Path) -> None:
    """Give a job the contents of its checkpoint."""
    (folder / CONTENTS).write_text(json.dumps(contents.as_json()), encoding="utf-8")
