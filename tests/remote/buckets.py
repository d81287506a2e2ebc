"""Servers of object stores that are programs of others, with the demo's runs in the bucket `demo`."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from waiting import wait_until

Environment = dict[str, str]

_PUT = """
import fsspec, json, pathlib, sys
scheme, root, options = sys.argv[1], pathlib.Path(sys.argv[2]), json.loads(sys.argv[3])
system = fsspec.filesystem(scheme, **options)
if not system.exists('demo'):
    system.mkdir('demo')
for path in sorted(p for p in root.rglob('*') if p.is_file()):
    system.pipe_file('demo/runs/' + path.relative_to(root).as_posix(), path.read_bytes())
"""


def find_free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@contextmanager
def serving(command: Sequence[str], port: int, log: Path) -> Iterator[None]:
    """Run a server that listens on a port of loopback until the context ends; `log` gets what it prints."""
    with log.open("wb") as output:
        server = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)

    def answers() -> bool:
        assert server.poll() is None, log.read_text()
        with socket.socket() as asking:
            return asking.connect_ex(("127.0.0.1", port)) == 0

    try:
        wait_until(answers, f"{command[0]} listens")
        yield
    finally:
        server.terminate()
        server.wait(30.0)


def without_proxy() -> Environment:
    return {"NO_PROXY": ",".join(["127.0.0.1", *filter(None, [os.environ.get("NO_PROXY")])])}


def put(runs: Path, scheme: str, environment: Environment, options: str = "{}") -> None:
    """Put the files below a folder below `demo/runs`, as a user's script does."""
    command = [sys.executable, "-c", _PUT, scheme, str(runs), options]
    subprocess.run(command, env={**os.environ, **environment}, check=True, timeout=120)


def make_runner(cli: Callable[..., Any], environment: Environment, builders: Path) -> Callable[..., Any]:
    """Return what runs a command with the demo's builders, and makes sure that it leaves nothing."""

    def call(*arguments: object) -> Any:
        outcome = cli(*arguments, "--builders", builders, environment=environment)
        assert (outcome.left_alive, outcome.left_behind) == ([], [])
        return outcome

    return call
