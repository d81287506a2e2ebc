"""An endpoint that is not there is noticed in seconds, and named; one that is slow is waited for."""

from __future__ import annotations

import contextlib
import itertools
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from s3 import S3, serve_s3

pytestmark = pytest.mark.remote

CODE = """
import json, sys
from tb_ckptmeta.engine import endpoint, remote

endpoint.SECONDS = float(sys.argv[1])
said = []
for url in sys.argv[2:]:
    try:
        said.append([entry.name for entry in remote.list_folder(url)])
    except FileNotFoundError:
        said.append("nothing")
    except OSError as error:
        said.append(f"{type(error).__name__}: {error.strerror}")
print(json.dumps(said))
"""


def ask(environment: dict[str, str], *urls: str, patience: float = 0.4) -> list[Any]:
    """List URLs, one after the other, in a process that waits so many seconds for the first answer, and then again."""
    given = {**environment, "PATH": "", "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", CODE, str(patience), *urls]
    done = subprocess.run(command, env=given, capture_output=True, text=True, timeout=60.0, check=False)
    assert done.returncode == 0, done.stderr
    said: list[Any] = json.loads(done.stdout.splitlines()[-1])
    return said


def lead_to(port: int, **more: str) -> dict[str, str]:
    """An environment as its users have it, with nothing said about patience."""
    names = {"AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
    return {**names, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", **more}


@contextmanager
def listening(backlog: int) -> Iterator[socket.socket]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(backlog)
        yield server


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server that takes connections, and never says a word."""
    with listening(50) as server:
        yield server.getsockname()[1]


@pytest.fixture
def closed() -> int:
    """A port that nobody listens on."""
    with listening(1) as server:
        port: int = server.getsockname()[1]
    return port


def test_endpoint_that_is_silent_is_named(silent: int) -> None:
    (said,) = ask(lead_to(silent), "s3://bucket/runs")
    assert said == (
        f"TimeoutError: http://127.0.0.1:{silent} has not answered for 0.8 s. "
        "See whether it is up, and whether this is its address"
    )


def test_endpoint_that_refuses_is_named_with_the_reason(closed: int) -> None:
    (said,) = ask(lead_to(closed), "s3://bucket/runs")
    assert f"http://127.0.0.1:{closed} has not answered for 0.8 s (Connection refused)" in said


def test_driver_that_asks_of_another_endpoint_is_bounded_too(closed: int) -> None:
    pytest.importorskip("gcsfs")
    environment = lead_to(closed, STORAGE_EMULATOR_HOST=f"http://127.0.0.1:{closed}", NO_GCE_CHECK="true")
    (said,) = ask({**environment, "FSSPEC_GCS_TOKEN": "anon"}, "gs://bucket/runs")
    assert f"http://127.0.0.1:{closed} has not answered for 0.8 s (Connection refused)" in said


@contextmanager
def slowed(small: S3, seconds: Callable[[int], float]) -> Iterator[int]:
    """The port of a proxy before a server that holds back the n-th request for so many seconds."""
    stop = threading.Event()
    numbers = itertools.count()

    def pass_on(client: socket.socket) -> None:
        address = small.environment["AWS_ENDPOINT_URL"].rpartition("/")[2].partition(":")
        with client, socket.create_connection((address[0], int(address[2]))) as server:
            threading.Thread(target=copy, args=(client, server, True), daemon=True).start()
            copy(server, client, False)

    def copy(source: socket.socket, target: socket.socket, held_back: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if held_back:
                    stop.wait(seconds(next(numbers)))
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def accept(server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=pass_on, args=(server.accept()[0],), daemon=True).start()

    with listening(50) as server:
        threading.Thread(target=accept, args=(server,), daemon=True).start()
        try:
            yield server.getsockname()[1]
        finally:
            stop.set()
            server.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    folder = tmp_path_factory.mktemp("small")
    (folder / "buckets" / "one" / "runs").mkdir(parents=True)
    (folder / "buckets" / "one" / "runs" / "a").write_bytes(b"x")
    with serve_s3(folder / "buckets", folder / "requests.jsonl") as server:
        yield server


def test_first_listing_that_takes_long_is_waited_for_where_little_is_answered(small: S3) -> None:
    with slowed(small, lambda number: 2.5 if number == 0 else 0.0) as port:
        assert ask(lead_to(port), "s3://one/runs", patience=1.0) == [["a"]]


@pytest.mark.parametrize(("first", "said"), [("s3://one/runs", ["a"]), ("s3://one/none", "nothing")])
def test_endpoint_that_has_answered_once_has_the_drivers_patience(small: S3, first: str, said: object) -> None:
    answers = 1 if said == ["a"] else 2  # whether a file has the name of a folder that there is not, s3fs asks, too
    with slowed(small, lambda number: 2.5 if number >= answers else 0.0) as port:
        assert ask(lead_to(port), first, "s3://one/runs", patience=1.0) == [said, ["a"]]


@pytest.mark.parametrize(
    "patience",
    [{"AWS_MAX_ATTEMPTS": "1"}, {"FSSPEC_S3": '{"config_kwargs": {"read_timeout": 9}}'}],
)
def test_patience_that_somebody_has_set_is_the_drivers(small: S3, patience: dict[str, str]) -> None:
    with slowed(small, lambda _: 1.3) as port:
        assert ask(lead_to(port, **patience), "s3://one/runs") == [["a"]]
