"""Fork the half of a process that will run user code, before it is known what for. Runs in the child.

What a fork and TensorFlow's context cost is paid while nobody waits; then the worker waits to be told its request.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import resource
import signal
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NoReturn

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True)
class Request:
    """Where a request lies, and what a process started for it alone would have been given.

    `temporary` is its `TMPDIR`, `directory` where it works; None where they are right as they are.
    """

    folder: str
    temporary: str | None = None
    directory: str | None = None


@dataclass(frozen=True)
class Forked:
    """A worker that waits for its request, and our ends of the lines to it, as file descriptors.

    `output` reads what it prints, `ended` can be read when it has ended, `request` takes its request.
    """

    pid: int
    output: int
    ended: int
    request: int

    def begin(self, request: Request) -> None:
        """Tell it its request. One that has ended meanwhile hears nothing, and it is not our affair here."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self.request, json.dumps(asdict(request)).encode("ascii"))
        os.close(self.request)

    def end(self) -> None:
        """End it before it has been told anything."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def fork_worker(not_its: Iterable[int], warm: str | None = None) -> Forked:
    """Fork a worker, which ends with this process.

    `not_its`: file descriptors that it has no business with. `warm`: the Keras that TensorFlow has been imported with
    already; then it makes itself as ready as it can.
    """
    output_read, output_write = os.pipe()
    request_read, request_write = os.pipe()
    ended_read, ended_write = os.pipe()
    os.set_blocking(ended_write, False)
    os.set_blocking(output_read, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(ended_write, warn_on_full_buffer=False)
    _call_prctl(_PR_SET_CHILD_SUBREAPER, 1)
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for fd in (*not_its, output_read, request_write, ended_read, ended_write):
            os.close(fd)
        _become_worker(output_write, parent)
        _run(request_read, warm)
    os.close(output_write)
    os.close(request_read)
    return Forked(pid, output_read, ended_read, request_write)


def _run(request: int, warm: str | None) -> NoReturn:
    if warm is not None:
        with contextlib.suppress(Exception):  # the request's own import says what is wrong
            importlib.import_module("tb_ckptmeta.worker.load").import_tensorflow()
    with open(request, "rb") as file:
        message = file.read()
    if not message:  # nobody asks any more
        os._exit(0)
    told = Request(**json.loads(message))
    if told.temporary is not None:
        os.environ["TMPDIR"] = told.temporary
        tempfile.tempdir = None
    if told.directory is not None:
        with contextlib.suppress(OSError):
            os.chdir(told.directory)
    importlib.invalidate_caches()
    from tb_ckptmeta.worker.run import run

    run(Path(told.folder), warm)


def _become_worker(output: int, parent: int) -> None:
    """Make this process a session of its own, with no input and its output in the parent's pipe."""
    os.setsid()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _call_prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the request to be told
        os._exit(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(null)
    os.close(output)
    for fd, name in ((1, "stdout"), (2, "stderr")):
        # Python opened its own for what the parent had there; and a lone surrogate must not end user code.
        stream = open(fd, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _call_prctl(option: int, value: int) -> None:
    """Call Linux' prctl(2); elsewhere do nothing, the lifeline alone must do."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)
