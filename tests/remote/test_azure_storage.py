"""The command line on Microsoft's server for tests that speaks Azure Blob Storage's REST API, through adlfs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from buckets import Environment, find_free_port, make_runner, put, serving, without_proxy

pytestmark = pytest.mark.remote

# Of the account that the server has: https://learn.microsoft.com/azure/storage/common/storage-use-azurite
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="

SERVER = Path(__file__).parents[2] / ".azurite" / "node_modules" / ".bin" / "azurite-blob"


def lead_to(port: int) -> Environment:
    connection = {
        "DefaultEndpointsProtocol": "http",
        "AccountName": ACCOUNT,
        "AccountKey": KEY,
        "BlobEndpoint": f"http://127.0.0.1:{port}/{ACCOUNT}",
    }
    text = "".join(f"{name}={value};" for name, value in connection.items())
    return {"AZURE_STORAGE_CONNECTION_STRING": text, **without_proxy()}


@pytest.fixture(scope="module")
def azure(demo_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Environment, Path]]:
    """Serve the demo's runs in the container `demo`; give what leads adlfs there, and the server's log."""
    assert SERVER.exists(), "Azurite is not installed; run: make remote-test"
    folder, port = tmp_path_factory.mktemp("azure"), find_free_port()
    command = [str(SERVER), "--blobHost", "127.0.0.1", "--blobPort", str(port), "--location", str(folder)]
    # It may be older than the newest version of the API, which the driver speaks; what is asked here is old.
    command += ["--skipApiVersionCheck", "--disableTelemetry"]
    environment, log = lead_to(port), folder / "requests.log"
    with serving(command, port, log):
        put(demo_runs, "abfs", environment)
        yield environment, log


@pytest.fixture
def run(cli: Callable[..., Any], azure: tuple[Environment, Path], demo_builders: Path) -> Callable[..., Any]:
    return make_runner(cli, azure[0], demo_builders)


@pytest.mark.parametrize("scheme", ["abfs", "az"])
def test_scan_lists_a_container(run: Callable[..., Any], scheme: str) -> None:
    outcome = run("scan", f"{scheme}://demo/runs", "--json")
    assert (outcome.status, outcome.stderr) == (0, "")
    found = {f"{c['run']}/{c['name']}": c for c in outcome.document["checkpoints"]}
    assert len(found) == 9
    checkpoint = found["mlp/ckpt-10"]
    assert checkpoint["prefix"] == f"{scheme}://demo/runs/mlp/ckpt-10"
    assert (checkpoint["state"], checkpoint["bytes"] > 1_000_000, checkpoint["modified"] > 1.7e9) == (
        "listed",
        True,
        True,
    )


def test_verify_reads_a_part_of_a_checkpoint(run: Callable[..., Any], azure: tuple[Environment, Path]) -> None:
    before = len(azure[1].read_text().splitlines())
    outcome = run("verify", "abfs://demo/runs/mlp/ckpt-10", "--json")
    assert (outcome.status, outcome.stderr) == (0, "")
    (verdict,) = outcome.document["verdicts"]
    assert (verdict["status"], verdict["bound"]) == ("match", 4)
    asked = azure[1].read_text().splitlines()[before:]
    # 206: a range, and not the whole blob; behind it how many bytes.
    reads = [re.search(r'(ckpt-10\.\w+)\S* HTTP/1.1" (\d+) (\d+)$', line) for line in asked]
    found = [(read[1], read[2], int(read[3])) for read in reads if read is not None]
    assert [(name, status) for name, status, _ in found] == [("ckpt-10.index", "206"), ("ckpt-10.data", "206")]
    assert sum(size for _, _, size in found) < 10_000


def test_export_of_a_checkpoint_there_is_checked_with_its_weights(run: Callable[..., Any], tmp_path: Path) -> None:
    output = tmp_path / "out.meta"
    outcome = run("export", "abfs://demo/runs/mlp/ckpt-10", "--output", output, "--json")
    assert outcome.status == 0, outcome.stderr
    assert outcome.document["check"]["status"] == "passed"
    assert output.stat().st_size > 1000


def test_container_that_is_not_there_is_named(run: Callable[..., Any]) -> None:
    outcome = run("scan", "abfs://no-such-container/runs")
    assert outcome.status == 3
    assert outcome.stderr == "tb-ckptmeta: There is no folder abfs://no-such-container/runs.\n"


def test_server_that_is_not_there_is_named(cli: Callable[..., Any]) -> None:
    port = find_free_port()
    outcome = cli("scan", "abfs://demo/runs", environment=lead_to(port))
    assert outcome.status == 3
    assert f"http://127.0.0.1:{port}/{ACCOUNT} has not answered" in outcome.stderr
    assert "Connection refused" in outcome.stderr


def test_account_without_credentials_is_an_error_that_says_so(cli: Callable[..., Any]) -> None:
    outcome = cli("scan", "abfs://demo/runs", environment={"AZURE_STORAGE_CONNECTION_STRING": None})
    assert outcome.status == 3
    assert "abfs://demo/runs cannot be read" in outcome.stderr
    assert "credentials" in outcome.stderr
    assert "Traceback" not in outcome.stderr
