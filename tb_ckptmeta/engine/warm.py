"""Run jobs in workers that are forked from a process that has imported TensorFlow. Runs in the caller's process.

Importing TensorFlow takes seconds, a fork milliseconds. There is one such process for each of the two Keras, started
when it is first needed or somebody prepares for that, and another for references (`choose_hash_seed`). Where there is
none, or it is lost, a job runs in a fresh process as it always can.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tb_ckptmeta.core.job import SOURCES, STEPS, Describe, Job, Rebuild, Reference, Spec, write_job
from tb_ckptmeta.core.system import refused_by_system
from tb_ckptmeta.engine.current import describe_installation
from tb_ckptmeta.engine.process import (
    GRACE_SECONDS,
    GUARDIAN_OUTPUT,
    HASH_SEED,
    MAIN,
    REFERENCE_SEED,
    OnSteps,
    OtherKeras,
    Process,
    choose_hash_seed,
    finish_worker,
    make_environment,
    make_temporary,
    run_worker,
    watch_worker,
)
from tb_ckptmeta.engine.recent import Recent

KERAS_3 = "3"
_MOST_KNOWN = 1000
_IMPORT_SECONDS = 120.0
"""How long importing TensorFlow may take before a fresh process is tried instead."""
_BEGIN_SECONDS = 10.0
"""How long a worker may take to begin once TensorFlow has been imported: its process may have been stopped since."""
_CLOSE_SECONDS = 3.0
"""How long it may take to end when nobody will ask any more; then it is killed, and what it forked ends by itself."""

_Asked = tuple[Spec, str | None, str | None] | None
"""A SPEC, the builder of it that is run, if any, and what the checkpoint's keys show."""


class Workers:
    """Runs jobs, in forked workers where that is safe. Safe for threads."""

    def __init__(self) -> None:
        # A fork of a process that has used certain frameworks is not safe on macOS; and there is no /proc.
        self._forks = sys.platform == "linux" and hasattr(socket, "send_fds")
        self._parents: dict[tuple[str, str], _Parent] = {}  # by Keras and hash seed
        self._keras: Recent[_Asked, str] = Recent(_MOST_KNOWN)  # what turned out to be needed
        self._lock = threading.RLock()
        self._is_closed = False
        # Also when the interpreter ends.
        self._finalizer = weakref.finalize(self, _close, self._parents)

    def run(
        self,
        job: Job,
        folder: Path,
        subject: str,
        *,
        on_steps: OnSteps | None = None,
        cancelled: threading.Event | None = None,
    ) -> Any:
        """As `run_worker`, without the time of TensorFlow's import.

        Raises:
            CkptMetaError: as `run_worker`.
        """
        for _ in range(3 if self._forks else 0):
            process = self._start(job, folder, self._choose_keras(job))
            if process is None:  # the one that was there is gone: another is started
                continue
            steps = watch_worker(process, job, folder, on_steps, cancelled)
            if not process.begun and not (cancelled is not None and cancelled.is_set()):
                self._forget(process.parent)
                _clean(folder)
                continue
            try:
                return finish_worker(job, folder, subject, steps, cancelled)
            except OtherKeras as other:
                with self._lock:
                    self._keras[_find_asked(job)] = other.keras
                _clean(folder)
        return run_worker(job, folder, subject, on_steps=on_steps, cancelled=cancelled)

    def prepare(self, keras: str = KERAS_3, *, references: bool = False) -> None:
        """Start a process that workers will be forked from, before one is asked for; it is not waited for.

        `references`: the one for a check's references. After `close` nothing is prepared any more.
        """
        with self._lock:
            if self._forks and not self._is_closed:
                with contextlib.suppress(OSError):  # too many processes, say: whoever needs one will hear of it
                    self._find_parent(keras, REFERENCE_SEED if references else HASH_SEED)

    def close(self) -> None:
        """End what was started; jobs that run go on to their end, and what is asked later starts others."""
        with self._lock:
            self._is_closed = True
            _close(self._parents)

    def _choose_keras(self, job: Job) -> str:
        """Return which Keras a job is tried with: its worker says so if it needs the other.

        Where only the process of the legacy Keras has been prepared, no builder is known that needs another.
        """
        if isinstance(job, (Rebuild, Reference)) and job.source.keras is not None:
            return job.source.keras
        asked = _find_asked(job)
        if asked is None:
            return KERAS_3
        with self._lock:
            known = self._keras.get(asked)
            started = {keras for keras, seed in self._parents if seed == choose_hash_seed(job)}
        return known or (started.pop() if len(started) == 1 else KERAS_3)

    def _start(self, job: Job, folder: Path, keras: str) -> ForkedProcess | None:
        try:
            parent = self._find_parent(keras, choose_hash_seed(job))
            write_job(job, folder)
            # Told by us, for where it is waited for nobody else can.
            (folder / STEPS).write_text(json.dumps({"name": "importing TensorFlow", "at": time.time()}) + "\n")
        except OSError as error:  # a full disk, too many processes
            raise refused_by_system(error) from error
        try:
            return parent.fork(folder)
        except OSError:
            self._forget(parent)
            _clean(folder)
            return None

    def _find_parent(self, keras: str, hash_seed: str) -> _Parent:
        environment = make_environment(hash_seed)
        # What it has imported it does not read again: an update, or other settings of Keras, take another one.
        installation = describe_installation()
        with self._lock:
            parent = self._parents.get((keras, hash_seed))
            current = parent is not None and (parent.environment, parent.installation) == (environment, installation)
            if parent is None or not current or not parent.is_alive():
                if parent is not None:
                    parent.close()
                parent = self._parents[keras, hash_seed] = _Parent(keras, environment, installation)
            return parent

    def _forget(self, parent: _Parent) -> None:
        with self._lock:
            for key in [key for key, known in self._parents.items() if known is parent]:
                del self._parents[key]
        parent.close()


class _Parent:
    """A process that has imported TensorFlow with one Keras, and our end of the line to it."""

    def __init__(self, keras: str, environment: Mapping[str, str], installation: str) -> None:
        self.environment = dict(environment)
        self.installation = installation
        self._connection, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, str(MAIN), "--warm", str(theirs.fileno()), keras],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=self.environment,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self._lock = threading.Lock()
        self._ready = False

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def is_ready(self) -> bool:
        """Whether it has imported what it is there for: it says so once."""
        if not self._ready:
            with contextlib.suppress(OSError):
                self._ready = bool(self._connection.recv(1, socket.MSG_DONTWAIT))
        return self._ready

    def fork(self, folder: Path) -> ForkedProcess:
        """Ask for a worker in `folder`.

        Raises:
            OSError: the process is gone.
        """
        request = {"folder": str(folder), "temporary": make_temporary(folder), "directory": _find_directory()}
        message = json.dumps(request).encode("ascii")
        with contextlib.ExitStack() as given, contextlib.ExitStack() as kept:
            lifeline_read, lifeline = os.pipe()
            given.callback(os.close, lifeline_read)
            kept.callback(os.close, lifeline)
            done, done_write = os.pipe()
            given.callback(os.close, done_write)
            kept.callback(os.close, done)
            output = os.open(folder / GUARDIAN_OUTPUT, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            given.callback(os.close, output)
            with self._lock:
                socket.send_fds(self._connection, [message], [lifeline_read, done_write, output])
            kept.pop_all()
        return ForkedProcess(self, lifeline, done)

    def close(self) -> None:
        """End the process, and the worker that waits; it holds nothing but what it has imported."""
        if self.is_ready():
            with contextlib.suppress(OSError):
                self._connection.shutdown(socket.SHUT_WR)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_CLOSE_SECONDS)
        self._connection.close()
        self._process.kill()
        self._process.wait()


class ForkedProcess(Process):
    """A guardian that is not our child: it holds one end of a pipe until it ends."""

    def __init__(self, parent: _Parent, lifeline: int, done: int) -> None:
        self.parent = parent
        self.begun = False
        self._lifeline: int | None = lifeline
        self._done: int | None = done
        self._asked = time.monotonic()
        self._may_begin: float | None = None  # since when

    def wait(self, seconds: float) -> bool:
        if self._done is None:
            return True
        with selectors.DefaultSelector() as selector:
            selector.register(self._done, selectors.EVENT_READ)
            if not selector.select(seconds):
                if self.begun or not self._is_overdue():
                    return False
                self._close_done()  # it never began: somebody else must
                return True
        if os.read(self._done, 64):
            self.begun = True
            return False
        self._close_done()
        return True

    def end(self) -> None:
        if self._lifeline is not None:
            os.close(self._lifeline)
            self._lifeline = None
        deadline = time.monotonic() + GRACE_SECONDS
        while self.begun and time.monotonic() < deadline and not self.wait(0.1):
            pass
        if self._done is not None:
            self._close_done()

    def _is_overdue(self) -> bool:
        now = time.monotonic()
        if self._may_begin is None and self.parent.is_ready():
            self._may_begin = now
        if self._may_begin is not None:
            return now - self._may_begin > _BEGIN_SECONDS
        return now - self._asked > _IMPORT_SECONDS

    def _close_done(self) -> None:
        assert self._done is not None
        os.close(self._done)
        self._done = None


def _find_asked(job: Job) -> _Asked:
    """Return what decides which Keras a job needs, beside the code; None of one that needs none of the two."""
    match job:
        case Describe():
            return job.spec, None, None
        case Rebuild() | Reference():
            return job.source.spec, job.source.builder, job.source.keras_hint
    return None


def _find_directory() -> str | None:
    try:
        return os.getcwd()
    except FileNotFoundError:  # deleted; where the other process was started must do
        return None


def _clean(folder: Path) -> None:
    for name in (STEPS, SOURCES, GUARDIAN_OUTPUT):
        (folder / name).unlink(missing_ok=True)


def _close(parents: dict[tuple[str, str], _Parent]) -> None:
    while parents:
        parents.popitem()[1].close()
