"""A real S3 server (moto) on a folder, what asks it, and what it was asked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SERVER = Path(__file__).parents[2] / "benchmarks" / "s3_server.py"


@dataclass(frozen=True)
class S3:
    """A server that runs. `environment` is what leads every driver to it, and what a request needs."""

    environment: dict[str, str]
    log: Path

    @property
    def client(self) -> Any:
        """A client of Amazon's own, to change what is there."""
        import boto3

        names = ("aws_access_key_id", "aws_secret_access_key")
        given = {name: self.environment[name.upper()] for name in names}
        return boto3.client("s3", endpoint_url=self.environment["AWS_ENDPOINT_URL"], region_name="us-east-1", **given)

    def requests(self, since: int = 0) -> list[dict[str, Any]]:
        """What it was asked, in order."""
        return [json.loads(line) for line in self.log.read_text().splitlines()[since:]]

    @contextmanager
    def watch(self) -> Iterator[list[dict[str, Any]]]:
        """Give a list that holds, when the context has ended, what was asked meanwhile."""
        asked: list[dict[str, Any]] = []
        before = len(self.requests())
        yield asked
        asked += self.requests(before)


def reads(asked: list[dict[str, Any]]) -> list[tuple[str, str | None]]:
    """The objects that were read, by name, with the range of each."""
    return [(a["path"].rpartition("/")[2], a["range"]) for a in asked if "list-type" not in a["query"]]


def listings(asked: list[dict[str, Any]]) -> int:
    return sum("list-type" in a["query"] for a in asked)


@contextmanager
def serve_s3(folder: Path, log: Path) -> Iterator[S3]:
    """Serve a folder of buckets on loopback and a free port until the context ends."""
    log.touch()
    with log.with_suffix(".err").open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, str(SERVER), str(folder), str(log)], stdout=subprocess.PIPE, stderr=errors, text=True
        )
    try:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        assert port, log.with_suffix(".err").read_text()
        environment = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "somebody",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_MAX_ATTEMPTS": "1",
            "NO_PROXY": ",".join(["127.0.0.1", *filter(None, [os.environ.get("NO_PROXY")])]),
        }
        yield S3(environment, log)
    finally:
        process.terminate()
        process.wait(30.0)
        assert process.stdout is not None
        process.stdout.close()
