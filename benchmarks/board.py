"""A real TensorBoard that starts, with our plugin or without it, and what it is asked."""

from __future__ import annotations

import http.client
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine import make_environment

_MOST_SECONDS = 120.0
# What the stock command does; without our plugin, its module is not imported either.
_START = "from tensorboard import default, main; main.run_main()"
_START_WITHOUT = """
from importlib import metadata
from tensorboard import default, main

others = [e for e in metadata.entry_points(group="tensorboard_plugins") if not e.module.startswith("tb_ckptmeta")]
default.get_dynamic_plugins = lambda: [e.load() for e in others]
main.run_main()
"""


@dataclass(frozen=True)
class Board:
    """A TensorBoard that answers; `seconds` is how long that took from the start of its process."""

    port: int
    seconds: float

    def ask(self, path: str) -> bytes:
        """Return what a GET is answered with."""
        body = _ask(self.port, path)
        assert body is not None, path
        return body


@contextmanager
def start_board(logdir: Path, *, ours: bool = True) -> Iterator[Board]:
    """Start TensorBoard on a logdir, and wait until it says which plugins it has; end it with the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = ["--logdir", str(logdir), "--port", str(port), "--host", "127.0.0.1"]
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", _START if ours else _START_WITHOUT, *arguments],
        env=make_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while (listing := _ask(port, "/data/plugins_listing")) is None:
            if process.poll() is not None or time.perf_counter() - began > _MOST_SECONDS:
                raise RuntimeError("TensorBoard did not start")
            time.sleep(0.002)
        seconds = time.perf_counter() - began
        assert (b"ckptmeta" in listing) == ours, listing
        yield Board(port, seconds)
    finally:
        process.terminate()
        process.wait()


def _ask(port: int, path: str) -> bytes | None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_MOST_SECONDS)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
    except OSError:  # nobody listens yet
        return None
    finally:
        connection.close()
    assert response.status == http.client.OK, (path, response.status, body)
    return body
