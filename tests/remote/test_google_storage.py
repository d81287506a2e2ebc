"""The command line on a server that speaks Google Cloud Storage's JSON API, through gcsfs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from buckets import Environment, find_free_port, make_runner, put, serving, without_proxy

pytestmark = pytest.mark.remote


@pytest.fixture(scope="module")
def google(demo_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Environment, Path]]:
    """Serve the demo's runs in the bucket `demo`; give what leads gcsfs there, and the server's log."""
    folder, port = tmp_path_factory.mktemp("google"), find_free_port()
    command = [str(Path(sys.executable).with_name("gcp-storage-emulator")), "-d", str(folder / "buckets"), "start"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--default-bucket", "demo"]
    environment = {
        "STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{port}",
        # gcsfs would ask over gRPC, too, what kind of bucket it is, for a minute: this server has no such door.
        "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
        **without_proxy(),
    }
    log = folder / "requests.log"
    with serving(command, port, log):
        put(demo_runs, "gs", environment, '{"token": "anon"}')
        yield environment, log


@pytest.fixture
def run(cli: Callable[..., Any], google: tuple[Environment, Path], demo_builders: Path) -> Callable[..., Any]:
    return make_runner(cli, google[0], demo_builders)


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
