"""A process that has imported TensorFlow, and keeps a worker ready for whenever one is asked for. Runs in the child.

It may only import: after one eager operation TensorFlow has threads, which a fork does not copy, and whatever waits for
them in the forked half waits for ever. So it counts its threads before each fork, and ends rather than fork with more.

A fork of so large a process takes 20 ms, and there are two for a worker (the guardian's, and its own). So one is always
forked ahead: it waits, with what TensorFlow sets up in every process done.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import selectors
import signal
import socket
from collections.abc import Iterable
from typing import NoReturn

from tb_ckptmeta.worker.flavour import set_environment
from tb_ckptmeta.worker.forked import Request, fork_worker
from tb_ckptmeta.worker.guardian import guard
from tb_ckptmeta.worker.loaded import get_loaded

IDLE_SECONDS = 900.0
"""How long it waits for the next request: what it holds is memory that others might use."""
MESSAGE_BYTES = 1 << 16
END_SECONDS = 1.0
"""How long the worker that waits may take to end, once nobody will ask."""

_MODULES = ("describe", "rebuild", "reference", "check")


def serve(connection: socket.socket, keras: str) -> NoReturn:
    """Import TensorFlow with one of the two Keras, then fork for each request that comes through `connection`.

    A request is JSON, a `Request`, with three file descriptors: the lifeline, what the guardian keeps open until it
    ends, and where its own output goes. It ends when the other side closes.
    """
    with contextlib.suppress(Exception):
        # Whatever is wrong with the installation the worker itself says.
        set_environment(keras)
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
        ahead = _Ahead(connection, keras)
        try:
            message, fds, _, _ = socket.recv_fds(connection, MESSAGE_BYTES, 3)
        except (TimeoutError, OSError):
            break
        if not message or len(fds) != 3 or _count_threads() > threads or loaded.has_changed():
            break
        while not ahead.give(message, fds):  # something has killed it
            ahead = _Ahead(connection, keras, not_theirs=fds)
        for fd in fds:
            os.close(fd)
    ahead.end()
    os._exit(0)


class _Ahead:
    """A guardian and its worker that wait for a request, and our end of the line to them."""

    def __init__(self, connection: socket.socket, keras: str, *, not_theirs: Iterable[int] = ()) -> None:
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            if os.fork() == 0:
                connection.close()
                self._line.close()
                for fd in not_theirs:
                    os.close(fd)
                _become_guardian(theirs, keras)

    def give(self, message: bytes, fds: list[int]) -> bool:
        """Hand the request over; False if nobody is there."""
        with self._line:
            try:
                socket.send_fds(self._line, [message], fds)
            except OSError:
                return False
        return True

    def end(self) -> None:
        """Have both end, and wait for it."""
        with contextlib.suppress(OSError), self._line:
            self._line.shutdown(socket.SHUT_WR)
            self._line.settimeout(END_SECONDS)
            self._line.recv(1)


def _become_guardian(line: socket.socket, keras: str) -> NoReturn:
    """Wait for a request, and then be what a process started for it alone would be."""
    os.setsid()
    worker = fork_worker([line.fileno()], keras)
    with selectors.DefaultSelector() as selector:
        selector.register(line, selectors.EVENT_READ)
        selector.register(worker.ended, selectors.EVENT_READ)
        while line not in [key.fileobj for key, _ in selector.select()]:
            os.read(worker.ended, 4096)
            if os.waitpid(worker.pid, os.WNOHANG)[0]:
                os._exit(1)  # another is forked when one is asked for
    message, fds, _, _ = socket.recv_fds(line, MESSAGE_BYTES, 3)
    if os.waitpid(worker.pid, os.WNOHANG)[0]:
        os._exit(1)  # it has ended just now, for a reason that is not the builder's
    if not fds:
        worker.end()
        os._exit(0)  # and so closes the line: somebody waits for that
    line.close()
    lifeline, done, output = fds
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    try:
        os.write(done, b"\n")  # begun
    except BrokenPipeError:  # too late: another does it
        worker.end()
        os._exit(0)
    guard(worker, Request(**json.loads(message)), lifeline)


def _fork_for_nothing() -> None:
    """Fork once: numpy's own threads (OpenBLAS) end before a fork by themselves, and are not to be counted."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def _count_threads() -> int:
    return len(os.listdir("/proc/self/task"))
