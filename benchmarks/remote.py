"""A remote logdir: what listing 1,000 checkpoints takes, and the verdict of a large one, over an S3 server (moto).

The server runs on this machine, each of its answers held back for as long as one takes from a bucket of the same
region: what counts remotely is how many requests wait for each other.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.table import as_kilobytes, as_megabytes, as_milliseconds, as_ratio, print_table, take_turns
from benchmarks.verdict_size import write_stacks
from tb_ckptmeta.core.verdict import MATCH
from tb_ckptmeta.engine.choice import Choice
from tb_ckptmeta.engine.inspect import Inspector
from tb_ckptmeta.engine.listing import Logdir
from tb_ckptmeta.engine.scan import Scanner
from tb_ckptmeta.engine.workspace import Workspace, open_workspace

HERE = Path(__file__).parent
LATENCY = 0.03
RUNS, QUICK_RUNS = 100, 10
STEPS = 10
WIDTHS, QUICK_WIDTHS = (224, 2240), (224, 448)
TIMES, QUICK_TIMES = 9, 1


@dataclass(frozen=True)
class Server:
    log: Path

    def read_log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def count_requests(self) -> int:
        return len(self.read_log())


def run(*, quick: bool = False) -> None:
    widths, times, runs = (QUICK_WIDTHS, QUICK_TIMES, QUICK_RUNS) if quick else (WIDTHS, TIMES, RUNS)
    with tempfile.TemporaryDirectory(prefix="ckptmeta-bench-") as name:
        buckets = Path(name, "buckets")
        _write_many(buckets / "many", runs)
        prefixes = write_stacks(buckets / "stacks", [("keras-stack", width) for width in widths])
        with serve(buckets, Path(name, "requests.jsonl"), LATENCY) as server:
            _measure_listing(server, runs, times)
            _measure_verdicts(server, [Path(p) for p in prefixes], times)


@contextmanager
def serve(folder: Path, log: Path, seconds: float) -> Iterator[Server]:
    """Serve a folder of buckets, and have this process' environment lead to it."""
    log.touch()
    command = [sys.executable, str(HERE / "s3_server.py"), str(folder), str(log), str(seconds)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        if not port:
            raise RuntimeError('the S3 server has not started: pip install "moto[server]" s3fs')
        os.environ.update(
            AWS_ENDPOINT_URL=f"http://127.0.0.1:{port}",
            AWS_ACCESS_KEY_ID="somebody",
            AWS_SECRET_ACCESS_KEY="secret",
            AWS_DEFAULT_REGION="us-east-1",
        )
        yield Server(log)
    finally:
        process.terminate()
        process.wait()


def _write_many(folder: Path, runs: int) -> None:
    for run_number in range(runs):
        place = folder / f"run-{run_number:03d}"
        place.mkdir(parents=True)
        for step in range(STEPS):
            for ending in ("index", "data-00000-of-00001"):
                (place / f"ckpt-{step}.{ending}").write_bytes(b"x")


def _measure_listing(server: Server, runs: int, times: int) -> None:
    import s3fs

    system = s3fs.S3FileSystem(use_listings_cache=False)

    def scan() -> int:
        return len(Scanner([Logdir("", "s3://many")]).scan().checkpoints)

    def walk() -> int:
        return sum(len(files) for _, _, files in system.walk("many", detail=True)) // 2

    subjects = {"walk": walk, "scan": scan}
    requests = {}
    for name, subject in subjects.items():
        before = server.count_requests()
        found = subject()
        assert found == runs * STEPS, (name, found)
        requests[name] = server.count_requests() - before
    took = take_turns({name: _timed(subject) for name, subject in subjects.items()}, max(1, times // 3))
    print_table(
        f"Listing {runs * STEPS:,} checkpoints in {runs} runs over S3, {LATENCY * 1000:g} ms an answer:",
        ["", "s3fs' own walk", "scan", "ratio"],
        [
            ["requests, one listing a folder", *map(str, requests.values()), _ratio(requests)],
            ["time", *map(as_milliseconds, took.values()), _ratio(took)],
        ],
    )


def _measure_verdicts(server: Server, prefixes: list[Path], times: int) -> None:
    with open_workspace("s3://stacks", builders=[str(HERE / "stacks.py")]) as workspace:
        listed = {c.prefix: c for c in workspace.list_checkpoints(workspace.registry.read())}
        choices = {p: workspace.choose(listed[f"s3://stacks/{'/'.join(p.parts[-3:])}"]) for p in prefixes}
        for path, choice in choices.items():
            _verify(workspace, path, choice)  # starts what stays warm
        fetched, requests = {}, {}
        for path, choice in choices.items():
            asked = server.count_requests()
            Inspector().read(choice.checkpoint)
            answers = server.read_log()[asked:]
            requests[path] = len(answers)
            fetched[path] = sum(a["bytes"] for a in answers if "list-type" not in a["query"])
        read = take_turns(
            {str(p): _timed(lambda c=c: Inspector().read(c.checkpoint)) for p, c in choices.items()}, times
        )
        whole = take_turns(
            {str(p): _timed(lambda p=p, c=c: _verify(workspace, p, c)) for p, c in choices.items()}, times
        )
    print_table(
        f"The verdict of a checkpoint over S3, {LATENCY * 1000:g} ms an answer; medians of {times}, in turn:",
        ["", *(as_megabytes(c.checkpoint.bytes) for c in choices.values()), "ratio"],
        [
            ["bytes fetched of its files", *map(as_kilobytes, fetched.values()), _ratio(fetched)],
            ["requests, listings among them", *map(str, requests.values()), _ratio(requests)],
            ["index and object graph read", *map(as_milliseconds, read.values()), _ratio(read)],
            ["the whole verdict, the model rebuilt", *map(as_milliseconds, whole.values()), _ratio(whole)],
        ],
    )


def _verify(workspace: Workspace, path: Path, choice: Choice) -> None:
    os.utime(f"{path}.index")  # else it would be remembered
    verdict = workspace.verify(choice, fresh=True)
    assert verdict.status == MATCH, json.dumps(verdict.as_json())


def _timed(subject: Callable[[], Any]) -> Callable[[], float]:
    def measure() -> float:
        began = time.perf_counter()
        subject()
        return time.perf_counter() - began

    return measure


def _ratio(values: dict[Any, Any]) -> str:
    numbers = list(values.values())
    return as_ratio(numbers[-1] / numbers[0])
