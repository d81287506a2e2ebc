"""The S3 server that the tests here ask: the demo's runs, and a checkpoint of 1 GB."""

from __future__ import annotations

import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from s3 import S3, serve_s3

_ROOT = Path(__file__).parents[2]

_WRITE = """
import sys
from pathlib import Path
from benchmarks.verdict_size import write_stacks

write_stacks(Path(sys.argv[1]), [("keras-stack", 2240)])
"""


@pytest.fixture(scope="session")
def s3_server(demo_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    """A server with the buckets `demo`, which no test changes, and `large`, with a record beside 1 GB of zeros."""
    folder = tmp_path_factory.mktemp("s3")
    shutil.copytree(demo_runs, folder / "buckets" / "demo" / "runs")
    command = [sys.executable, "-c", _WRITE, str(folder / "buckets" / "large")]
    written = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=False)
    assert written.returncode == 0, written.stderr
    with serve_s3(folder / "buckets", folder / "requests.jsonl") as server:
        yield server


@pytest.fixture
def s3(s3_server: S3, monkeypatch: pytest.MonkeyPatch) -> S3:
    """The server, with the environment of this process leading to it."""
    for name, value in s3_server.environment.items():
        monkeypatch.setenv(name, value)
    return s3_server


@pytest.fixture
def upload(s3: S3) -> Callable[[Path], str]:
    """Put the files below a folder into a bucket of their own, and return its URL."""

    def put(folder: Path) -> str:
        bucket = f"test-{uuid.uuid4().hex}"
        s3.client.create_bucket(Bucket=bucket)
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            s3.client.put_object(Bucket=bucket, Key=path.relative_to(folder).as_posix(), Body=path.read_bytes())
        return f"s3://{bucket}"

    return put


@pytest.fixture
def memory() -> Callable[[Path], str]:
    """Put the files below a folder into fsspec's `memory://`, and return their URL."""
    import fsspec

    def put(folder: Path) -> str:
        root = f"memory://{uuid.uuid4().hex}/runs"
        system = fsspec.filesystem("memory")
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            system.pipe_file(f"{root}/{path.relative_to(folder).as_posix()}", path.read_bytes())
        return root

    return put
