"""Watch over one worker: time, memory, output, and the caller's life. Runs in the child.

The process that the caller starts forks once (see `forked`), before anything heavy is imported. The parent half (the
guardian) needs no interpreter lock of the other half: whatever user code does there, even a C loop that never lets go,
it can be ended. The caller keeps the guardian's standard input open; when that closes, for whatever reason, SIGKILL of
the caller included, the worker and all it started are killed.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import time
from pathlib import Path
from typing import NoReturn

from tb_ckptmeta.core.job import ENDING, OUTPUT, Limits, read_job
from tb_ckptmeta.worker.forked import Forked, Request

HEAD_BYTES = 16 << 10
TAIL_BYTES = 64 << 10
"""How much of the worker's output is kept: its beginning and its end."""

_TICK = 0.05
_TREE_TICK = 1.0


def guard(worker: Forked, request: Request, lifeline: int) -> NoReturn:
    """Let a forked worker carry out a request, and write down how it ended.

    `lifeline`: a file descriptor that is at its end when the caller has gone, or wants no more.
    """
    folder = Path(request.folder)
    limits = read_job(folder).limits
    try:
        worker.begin(request)
        ending = _watch(worker, lifeline, limits, folder)
    except BaseException:
        _signal(-worker.pid, signal.SIGKILL)  # unwatched, it must not live on
        _signal(worker.pid, signal.SIGKILL)
        raise
    temporary = folder / (ENDING + ".tmp")
    temporary.write_text(json.dumps(ending), encoding="utf-8")
    temporary.replace(folder / ENDING)
    os._exit(0)


def _watch(worker: Forked, lifeline: int, limits: Limits, folder: Path) -> dict[str, object]:
    pid, output, wake = worker.pid, worker.output, worker.ended
    started = time.monotonic()
    kept = _Output()
    peak = 0
    reason = "ended"
    status: int | None = None
    next_tree = started
    with selectors.DefaultSelector() as selector:
        for fd in (lifeline, output, wake):
            selector.register(fd, selectors.EVENT_READ)
        while status is None:
            for key, _ in selector.select(_TICK):
                if key.fd == lifeline:
                    if not os.read(lifeline, 4096):
                        selector.unregister(lifeline)
                        reason = "orphaned"
                elif key.fd == output:
                    if not kept.take(output):
                        selector.unregister(output)
                else:
                    os.read(wake, 4096)
            now = time.monotonic()
            resident = _resident_bytes(pid)
            if now >= next_tree:
                resident = max(resident, _tree_bytes(pid))
                next_tree = now + _TREE_TICK
            peak = max(peak, resident)
            if reason == "ended":
                if now - started > limits.seconds:
                    reason = "timeout"
                elif resident > limits.memory:
                    reason = "memory"
            if reason != "ended":
                if reason == "timeout":
                    # A hang is easier to mend when one sees where: the worker's faulthandler writes the stack.
                    _signal(pid, signal.SIGUSR1)
                    time.sleep(0.2)
                    kept.take(output)
                _signal(-pid, signal.SIGKILL)
            ended, ending = os.waitpid(pid, os.WNOHANG)
            if ended:
                status = ending
                # What it started is still of its process group; an empty group is nobody's.
                _signal(-pid, signal.SIGKILL)
    kept.take(output)
    _end_strays()
    (folder / OUTPUT).write_bytes(kept.text())
    return {
        "reason": reason,
        "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else None,
        "status": os.WEXITSTATUS(status) if os.WIFEXITED(status) else None,
        "peak_memory": peak,
        "seconds": time.monotonic() - started,
    }


class _Output:
    """The beginning and the end of what came through a pipe."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._tail = bytearray()
        self._dropped = 0

    def take(self, fd: int) -> bool:
        """Take what there is to read; False at the end of the pipe."""
        # Bounded: a worker that prints without end must not keep its guardian from the clock.
        for _ in range(64):
            try:
                block = os.read(fd, 1 << 16)
            except BlockingIOError:
                return True
            if not block:
                return False
            room = HEAD_BYTES - len(self._head)
            self._head += block[:room] if room > 0 else b""
            self._tail += block[max(room, 0) :]
            if len(self._tail) > 2 * TAIL_BYTES:
                self._dropped += len(self._tail) - TAIL_BYTES
                del self._tail[:-TAIL_BYTES]
        return True

    def text(self) -> bytes:
        middle = b"\n[... %d bytes left out ...]\n" % self._dropped if self._dropped else b""
        return bytes(self._head) + middle + bytes(self._tail)


def _resident_bytes(pid: int) -> int:
    """Return the resident memory of one process in bytes, 0 where the platform does not tell cheaply."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return 0


def _tree_bytes(session: int) -> int:
    """Return the resident memory of every process of a session in bytes."""
    if not os.path.isdir("/proc/self"):
        return _tree_bytes_by_ps(session)
    total = 0
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                # The command, in parentheses, may hold anything; the session is the 4th field after it.
                fields = file.read().rpartition(b")")[2].split()
            if int(fields[3]) == session:
                total += _resident_bytes(int(name))
        except (OSError, IndexError, ValueError):
            continue
    return total


def _tree_bytes_by_ps(group: int) -> int:
    import subprocess

    listing = subprocess.run(["ps", "-A", "-o", "pgid=,rss="], capture_output=True, text=True, check=False)
    rows = (line.split() for line in listing.stdout.splitlines())
    return sum(int(row[1]) * 1024 for row in rows if len(row) == 2 and row[0] == str(group))


def _end_strays() -> None:
    """Kill what left the worker's session: as subreaper, the guardian has become its parent (Linux)."""
    for _ in range(100):
        try:
            with open(f"/proc/self/task/{os.getpid()}/children", "rb") as file:
                children = [int(pid) for pid in file.read().split()]
        except OSError:
            return
        if not children:
            return
        for pid in children:
            _signal(pid, signal.SIGKILL)
        for pid in children:
            try:
                os.waitpid(pid, 0)
            except ChildProcessError:
                pass


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        pass
