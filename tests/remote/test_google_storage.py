"""The command line on a server that speaks Google Cloud Storage's JSON API, through gcsfs."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.remote

Environment = dict[str, str]


@pytest.fixture(scope="module")
def google(demo_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Environment, Path]]:
    """Serve the demo's runs in the bucket `demo`; give what leads gcsfs there, and the server's log."""
    folder = tmp_path_factory.mktemp("google")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = folder / "requests.log"
    command, bucket = Path(sys.executable).with_name("gcp-storage-emulator"), ("--default-bucket", "demo")
    with log.open("wb") as output:
        server = subprocess.Popen(
            [command, "-d", str(folder / "buckets"), "start", *("--host", "127.0.0.1", "--port", str(port)), *bucket],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    environment = {
        "STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{port}",
        # gcsfs would ask over gRPC, too, what kind of bucket it is, for a minute: this server has no such door.
        "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
        "NO_PROXY": ",".join(["127.0.0.1", *filter(None, [os.environ.get("NO_PROXY")])]),
    }
    try:
        deadline = time.monotonic() + 60
        while socket.socket().connect_ex(("127.0.0.1", port)) != 0:
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        put = (
            "import fsspec, pathlib, sys\n"
            "root, system = pathlib.Path(sys.argv[1]), fsspec.filesystem('gs', token='anon')\n"
            "for path in sorted(p for p in root.rglob('*') if p.is_file()):\n"
            "    system.pipe_file('demo/runs/' + path.relative_to(root).as_posix(), path.read_bytes())\n"
        )
        subprocess.run(
            [sys.executable, "-c", put, str(demo_runs)], env={**os.environ, **environment}, check=True, timeout=120
        )
        yield environment, log
    finally:
        server.terminate()
        server.wait(30.0)


@pytest.fixture
def run(cli: Callable[..., Any], google: tuple[Environment, Path], demo_builders: Path) -> Callable[..., Any]:
    def call(*arguments: object) -> Any:
        outcome = cli(*arguments, "--builders", demo_builders, environment=google[0])
        assert (outcome.left_alive, outcome.left_behind) == ([], [])
        return outcome

    return call


def test_scan_lists_a_google_bucket(run: Callable[..., Any]) -> None:
    outcome = run("scan", "gs://demo/runs", "--json")
    assert (outcome.status, outcome.stderr) == (0, "")
    found = {f"{c['run']}/{c['name']}": c["prefix"] for c in outcome.document["checkpoints"]}
    assert len(found) == 9
    assert found["mlp/ckpt-10"] == "gs://demo/runs/mlp/ckpt-10"


def test_verify_reads_a_part_of_a_google_checkpoint(run: Callable[..., Any], google: tuple[Environment, Path]) -> None:
    before = len(google[1].read_text().splitlines())
    outcome = run("verify", "gs://demo/runs/mlp/ckpt-10", "--json")
    assert (outcome.status, outcome.stderr) == (0, "")
    (verdict,) = outcome.document["verdicts"]
    assert (verdict["status"], verdict["bound"]) == ("match", 4)
    asked = [line for line in google[1].read_text().splitlines()[before:] if "/download/" in line and "ckpt-10" in line]
    # 206: a range, and not the whole object.
    assert [("ckpt-10.index" in line, " 206 " in line) for line in asked] == [(True, True), (False, True)]


def test_bucket_that_google_does_not_know_is_named(run: Callable[..., Any]) -> None:
    outcome = run("scan", "gs://no-such-bucket/runs")
    assert outcome.status != 0
    assert "gs://no-such-bucket/runs" in outcome.stderr
    assert "Traceback" not in outcome.stderr
