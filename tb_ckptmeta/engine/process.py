"""Run one job in a worker process; however it ends, make a value or one error of it. Runs in the caller's process."""

from __future__ import annotations

import abc
import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tb_ckptmeta
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.job import ENDING, OUTPUT, RESULT, STEPS, TEMPORARY, Job, Reference, write_job
from tb_ckptmeta.core.system import refused_by_system

# By path, for the worker may import nothing of the caller's and the caller nothing of the worker's.
MAIN = Path(tb_ckptmeta.__file__).with_name("worker") / "__main__.py"
_OURS = os.path.dirname(os.path.abspath(tb_ckptmeta.__file__)) + os.sep
GUARDIAN_OUTPUT = "guardian.txt"
HASH_SEED, REFERENCE_SEED = "0", "1"
"""See `choose_hash_seed`."""
_POLL_SECONDS = 0.02
GRACE_SECONDS = 20.0
_MOST_DETAILS = 8000
_LEAST_ROOM = 64 << 10
# What TensorFlow says of every start: its log before it is set up, and the missing GPU.
_LOG_LINE = re.compile(r"[IWE]0000 00:00:|WARNING: All log messages before absl|To enable the following instructions:")


@dataclass(frozen=True)
class Step:
    """One real step of a worker; `seconds` is None while it goes on."""

    name: str
    seconds: float | None

    def as_json(self) -> dict[str, Any]:
        return {"name": self.name, "seconds": self.seconds}


OnSteps = Callable[[list[Step]], None]
Run = Callable[..., Any]
"""What has the signature of `run_worker`."""


def run_worker(
    job: Job,
    folder: Path,
    subject: str,
    *,
    on_steps: OnSteps | None = None,
    cancelled: threading.Event | None = None,
) -> Any:
    """Run `job` in a process of its own, whose files lie in `folder`, and return its result's value.

    Args:
        subject: who did it, to begin a sentence: "Builder 'mlp'".
        on_steps: told the worker's steps whenever one begins.
        cancelled: ends the worker when it is set.

    Raises:
        CkptMetaError: the worker's own error, or BUILDER_TIMEOUT, BUILDER_OUT_OF_MEMORY, BUILDER_CRASHED,
            BUILDER_EXITED, CANCELLED, WORKER_FAILED.
    """
    try:
        write_job(job, folder)
        process = _FreshProcess(job, folder)
    except OSError as error:  # a full disk, too many processes
        raise refused_by_system(error) from error
    steps = watch_worker(process, job, folder, on_steps, cancelled)
    return finish_worker(job, folder, subject, steps, cancelled)


class Process(abc.ABC):
    """A guardian that runs; `begun` tells whether it has."""

    begun = True

    @abc.abstractmethod
    def wait(self, seconds: float) -> bool:
        """Wait until it has ended, at most so long; True when it has."""

    @abc.abstractmethod
    def end(self) -> None:
        """Close the lifeline, and wait for it to clean up."""


class _FreshProcess(Process):
    """A guardian that is started for one job."""

    def __init__(self, job: Job, folder: Path) -> None:
        with (folder / GUARDIAN_OUTPUT).open("wb") as guardian_output:
            self._process = subprocess.Popen(
                [sys.executable, str(MAIN), str(folder)],
                stdin=subprocess.PIPE,
                stdout=guardian_output,
                stderr=subprocess.STDOUT,
                env={**make_environment(choose_hash_seed(job)), "TMPDIR": make_temporary(folder)},
                # Ctrl-C in a terminal is the caller's to handle; the worker ends when the caller does.
                start_new_session=True,
            )

    def wait(self, seconds: float) -> bool:
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        if not self.wait(GRACE_SECONDS):
            self._process.kill()
            self._process.wait()


class OtherKeras(Exception):
    """The job needs the other Keras than the process has that its worker was forked from."""

    def __init__(self, keras: str) -> None:
        super().__init__(keras)
        self.keras = keras


def watch_worker(
    process: Process, job: Job, folder: Path, on_steps: OnSteps | None, cancelled: threading.Event | None
) -> list[Step]:
    """Wait for the end of a worker, or bring it about, and return its steps."""
    watch = _StepWatch(folder, on_steps)
    deadline: float | None = None
    try:
        while not process.wait(_POLL_SECONDS):
            watch.look()
            if cancelled is not None and cancelled.is_set():
                break
            # The guardian keeps the limits; this is for a guardian that is itself lost.
            if process.begun and deadline is None:
                deadline = time.monotonic() + job.limits.seconds + GRACE_SECONDS
            if deadline is not None and time.monotonic() > deadline:
                break
    finally:
        process.end()
    return watch.finish()


def finish_worker(job: Job, folder: Path, subject: str, steps: list[Step], cancelled: threading.Event | None) -> Any:
    """Return the result that a worker has left, or raise what kept it from one.

    Raises:
        CkptMetaError: as `run_worker`.
        OtherKeras: the forked worker has done nothing.
    """
    if cancelled is not None and cancelled.is_set():
        raise CkptMetaError(Code.CANCELLED, "Cancelled.")
    result_file = folder / RESULT
    if result_file.exists():
        result = json.loads(result_file.read_text(encoding="utf-8"))
        if "keras" in result:
            result_file.unlink()
            raise OtherKeras(result["keras"])
        if "error" in result:
            raise CkptMetaError.from_json(result["error"])
        return result["value"]
    raise _explain(job, folder, subject, steps)


def make_temporary(folder: Path) -> str:
    """Make the worker's `TMPDIR`.

    What TensorFlow or user code leaves there (AutoGraph writes a module for each traced function) goes with the job.
    """
    temporary = folder / TEMPORARY
    temporary.mkdir(exist_ok=True)
    return str(temporary)


def choose_hash_seed(job: Job) -> str:
    """Return the worker's `PYTHONHASHSEED`.

    The same builder must give the same bytes, even if it walks a set. But then its order is one of many: a check's
    reference gets another, and finds out whether it matters.
    """
    return REFERENCE_SEED if isinstance(job, Reference) else HASH_SEED


def make_environment(hash_seed: str) -> dict[str, str]:
    """Return the environment of workers, but for their `TMPDIR`."""
    # pytest names each test there: who tests builders would wait for TensorFlow's import every time.
    given = {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
    return {
        **given,
        # What TensorFlow Hub has downloaded is worth keeping, where it would keep it by itself.
        "TFHUB_CACHE_DIR": os.environ.get("TFHUB_CACHE_DIR") or os.path.join(tempfile.gettempdir(), "tfhub_modules"),
        # On the CPU: a rebuild must not disturb a training on the same machine.
        "CUDA_VISIBLE_DEVICES": "-1",
        "KERAS_BACKEND": "tensorflow",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        # A check compares what a graph computes, and not the kernels that a processor has: oneDNN's add up constants,
        # a frozen graph's, in another order than variables, and were seen to be off by 1.8e-4.
        "TF_ENABLE_ONEDNN_OPTS": "0",
        "PYTHONHASHSEED": hash_seed,
        "PYTHONIOENCODING": "utf-8:backslashreplace",
    }


class _StepWatch:
    """Reads the worker's steps as they are written."""

    def __init__(self, folder: Path, on_steps: OnSteps | None) -> None:
        self._path = folder / STEPS
        self._on_steps = on_steps
        self._begun: list[tuple[str, float]] = []
        self._size = 0

    def look(self) -> None:
        try:
            size = self._path.stat().st_size
        except FileNotFoundError:
            return
        if size == self._size:
            return
        self._size = size
        lines = self._path.read_text(encoding="utf-8").split("\n")[:-1]
        self._begun = [(row["name"], row["at"]) for row in map(json.loads, lines)]
        if self._on_steps is not None:
            self._on_steps(self._steps(None))

    def finish(self) -> list[Step]:
        self.look()
        steps = self._steps(time.time())
        if self._on_steps is not None:
            self._on_steps(steps)
        return steps

    def _steps(self, end: float | None) -> list[Step]:
        ends = [at for _, at in self._begun[1:]] + [end]
        return [
            Step(name, None if until is None else until - at)
            for (name, at), until in zip(self._begun, ends, strict=False)
        ]


def _explain(job: Job, folder: Path, subject: str, steps: list[Step]) -> CkptMetaError:
    """Say how a worker ended that left no result."""
    output = _read(folder / OUTPUT)
    doing = f" while {steps[-1].name}" if steps else ""
    room = _tell_room(folder)
    try:
        ending = json.loads((folder / ENDING).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return CkptMetaError(
            Code.WORKER_FAILED,
            f"{subject}: the worker process could not be watched to its end{doing}.{room}",
            _show(_read(folder / GUARDIAN_OUTPUT) + output),
        )
    reason, number = ending["reason"], ending["signal"]
    if reason == "timeout":
        return CkptMetaError(
            Code.BUILDER_TIMEOUT,
            f"{subject} was still at work after {job.limits.seconds:g} s{doing}, and was ended. If it needs "
            "longer, raise the time limit (--timeout, for TensorBoard --ckptmeta_timeout).",
            _show(output),
        )
    if reason == "memory":
        return CkptMetaError(
            Code.BUILDER_OUT_OF_MEMORY,
            f"{subject} took more than {job.limits.memory / 2**30:.3g} GiB of memory{doing}, and was ended. If it "
            "needs more, raise the limit (--memory-limit, for TensorBoard --ckptmeta_memory_limit).",
            _show(output),
        )
    if number is not None:
        try:
            name = signal.Signals(number).name
        except ValueError:
            name = f"signal {number}"
        hint = " Nobody here did: when memory runs out, Linux does." if number == signal.SIGKILL else ""
        message = f"{subject} crashed its process with {name}{doing}.{hint}{room}"
        return CkptMetaError(Code.BUILDER_CRASHED, message, _show(output))
    if room:
        return CkptMetaError(Code.WORKER_FAILED, f"{subject}: no result could be written{doing}.{room}", _show(output))
    return CkptMetaError(
        Code.BUILDER_EXITED,
        f"{subject} ended its process with exit status {ending['status']}{doing}; a builder returns a model and "
        "leaves the process alone.",
        _show(output),
    )


def _tell_room(folder: Path) -> str:
    """Say so where nothing more can be written into a job's folder."""
    try:
        free = shutil.disk_usage(folder).free
    except OSError:
        return ""
    return (
        "" if free >= _LEAST_ROOM else f" {refused_by_system(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))).message}"
    )


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="backslashreplace")
    except OSError:
        return ""


def _show(output: str) -> str:
    """Return the end of a worker's output; of the stack that its fault handler wrote, the user's frames."""
    lines = [line for line in output.strip().splitlines() if not _LOG_LINE.match(line)]
    text = "\n".join(line for line in lines if not line.startswith((f'  File "{_OURS}', '  File "<frozen '))).strip()
    return text if len(text) <= _MOST_DETAILS else "[…] " + text[-_MOST_DETAILS:]
