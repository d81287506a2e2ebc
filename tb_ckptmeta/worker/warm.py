"""A process that has imported TensorFlow, and forks a worker whenever one is asked for. Runs in the child.

It may only import: after one eager operation TensorFlow has threads, which a fork does not copy, and whatever waits for
them in the forked half waits for ever. So it counts its threads before each fork, and ends rather than fork with more.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import signal
import socket
import tempfile
from typing import NoReturn

from tb_ckptmeta.worker.flavour import set_environment
from tb_ckptmeta.worker.guardian import guard
from tb_ckptmeta.worker.loaded import get_loaded

IDLE_SECONDS = 900.0
"""How long it waits for the next request: what it holds is memory that others might use."""
MESSAGE_BYTES = 1 << 16

_MODULES = ("describe", "rebuild", "reference", "check")


def serve(connection: socket.socket, keras: str) -> NoReturn:
    """Import TensorFlow with one of the two Keras, then fork for each request that comes through `connection`.

    A request is JSON, {"folder", "temporary", "directory"}, with three file descriptors: the lifeline, what the
    guardian keeps open until it ends, and where its own output goes. It ends when the other side closes.
    """
    set_environment(keras)
    with contextlib.suppress(Exception):
        # Whatever is wrong with the installation the worker itself says.
        importlib.import_module("tensorflow")
        for name in _MODULES:
            importlib.import_module(f"tb_ckptmeta.worker.{name}")
        importlib.import_module("tb_ckptmeta.worker.rebuild").read_versions(keras)  # known to all that are forked
    loaded = get_loaded()
    gc.collect()
    # What is here stays: a collection in a forked half would touch, and so copy, every page of it.
    gc.freeze()
    _fork_for_nothing()
    threads = _count_threads()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the forked are reaped by themselves
    connection.settimeout(IDLE_SECONDS)
    with contextlib.suppress(OSError):
        connection.send(b"1")  # ready
    while True:
        try:
            message, fds, _, _ = socket.recv_fds(connection, MESSAGE_BYTES, 3)
        except (TimeoutError, OSError):
            os._exit(0)
        if not message or len(fds) != 3 or _count_threads() > threads or loaded.has_changed():
            os._exit(0)
        if os.fork() == 0:
            connection.close()
            _become_guardian(json.loads(message), fds, keras)
        for fd in fds:
            os.close(fd)


def _become_guardian(request: dict[str, object], fds: list[int], keras: str) -> NoReturn:
    """Be what a process started for this one request would be."""
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    lifeline, done, output = fds
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    os.environ["TMPDIR"] = str(request["temporary"])
    tempfile.tempdir = None
    with contextlib.suppress(OSError):
        os.chdir(str(request["directory"]))
    importlib.invalidate_caches()
    os.write(done, b"\n")  # begun
    guard(str(request["folder"]), lifeline, done, keras)


def _fork_for_nothing() -> None:
    """Fork once: numpy's own threads (OpenBLAS) end before a fork by themselves, and are not to be counted."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def _count_threads() -> int:
    return len(os.listdir("/proc/self/task"))
