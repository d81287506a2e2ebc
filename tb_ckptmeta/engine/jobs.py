"""Run exports in the background, and know how far they are. Runs in the caller's process."""

from __future__ import annotations

import atexit
import secrets
import shutil
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.system import refused_by_system
from tb_ckptmeta.engine.process import OnSteps, Step
from tb_ckptmeta.engine.temporary import make_temporary_folder

if TYPE_CHECKING:
    from tb_ckptmeta.engine.deliver import Download

RUNNING = "running"
DONE = "done"
FAILED = "failed"
CANCELLED = "cancelled"

_MOST_KEPT = 32


@dataclass(frozen=True)
class Made:
    """What a job made: its size in bytes, how it is downloaded and called, and facts about it."""

    bytes: int
    filename: str
    facts: dict[str, Any]
    open: Callable[[], Download]


Work = Callable[[Path, OnSteps | None, threading.Event | None], Made]


@dataclass
class BackgroundJob:
    """One piece of work in the background."""

    id: str
    folder: Path
    cancelled: threading.Event = field(default_factory=threading.Event)
    state: str = RUNNING
    steps: list[Step] = field(default_factory=list)
    made: Made | None = None
    error: CkptMetaError | None = None

    def as_json(self) -> dict[str, Any]:
        running = [s.name for s in self.steps if s.seconds is None]
        result = None
        if self.made is not None:
            result = {"filename": self.made.filename, "bytes": self.made.bytes, **self.made.facts}
        return {
            "id": self.id,
            "state": self.state,
            "step": running[-1] if running and self.state == RUNNING else "",
            "steps": [s.as_json() for s in self.steps],
            "result": result,
            "error": None if self.error is None else self.error.as_json(),
        }


class Jobs:
    """The jobs of this process; the last few are kept with their files, until the process ends. Safe for threads."""

    def __init__(self) -> None:
        self._jobs: OrderedDict[str, BackgroundJob] = OrderedDict()
        self._lock = threading.Lock()
        atexit.register(self.close)

    def start(self, work: Work) -> BackgroundJob:
        """Start `work` in a thread of its own.

        Raises:
            CkptMetaError: BUSY where as many jobs run as are kept.
        """
        with self._lock:
            ended = [j for j in self._jobs.values() if j.state != RUNNING]
            if len(self._jobs) >= _MOST_KEPT and not ended:
                raise CkptMetaError(Code.BUSY, f"{_MOST_KEPT} exports are running. Wait for one, or cancel one.")
            for job in ended[: len(self._jobs) - _MOST_KEPT + 1]:
                self._forget(job)
            job = BackgroundJob(secrets.token_urlsafe(12), make_temporary_folder())
            self._jobs[job.id] = job
        threading.Thread(target=_run, args=(job, work), name=f"ckptmeta-{job.id}", daemon=True).start()
        return job

    def get(self, id: str) -> BackgroundJob:
        """Return a job.

        Raises:
            CkptMetaError: NOT_FOUND.
        """
        job = self._jobs.get(id)
        if job is None:
            raise CkptMetaError(Code.NOT_FOUND, "There is no job of this id (any more). Export again.")
        return job

    def cancel(self, id: str) -> BackgroundJob:
        """End a job if it runs, and return it.

        Raises:
            CkptMetaError: NOT_FOUND.
        """
        job = self.get(id)
        job.cancelled.set()
        return job

    def close(self) -> None:
        """End every job and take its files away."""
        with self._lock:
            for job in list(self._jobs.values()):
                job.cancelled.set()
                self._forget(job)

    def _forget(self, job: BackgroundJob) -> None:
        del self._jobs[job.id]
        shutil.rmtree(job.folder, ignore_errors=True)


def _run(job: BackgroundJob, work: Work) -> None:
    def tell(steps: list[Step]) -> None:
        job.steps = steps

    try:
        made = work(job.folder, tell, job.cancelled)
    except CkptMetaError as error:
        job.error = error
        job.state = CANCELLED if error.code is Code.CANCELLED else FAILED
    except OSError as error:
        job.error = refused_by_system(error)
        job.state = FAILED
    except Exception as error:
        job.error = CkptMetaError(Code.WORKER_FAILED, f"The export failed with {type(error).__name__}: {error}.")
        job.state = FAILED
    else:
        job.made = made
        job.state = DONE
