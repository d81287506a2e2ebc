"""Many threads ask one S3 server at once, from the very first request: each gets what a single one gets."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from s3 import S3

from tb_ckptmeta.core.checkpoint import Checkpoint
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.engine import fetch as fetching
from tb_ckptmeta.engine import remote
from tb_ckptmeta.engine.bundle import read_contents
from tb_ckptmeta.engine.fetch import fetched
from tb_ckptmeta.engine.inspect import Inspector
from tb_ckptmeta.engine.listing import Logdir
from tb_ckptmeta.engine.rescan import Rescanner
from tb_ckptmeta.engine.scan import find_by_prefix

pytestmark = pytest.mark.remote

NAMES = [f"{run}-{step}" for run in ("mlp/ckpt", "custom/ckpt", "scoped/model.ckpt") for step in (10, 20, 30)]
THREADS = 16


def at_once(*jobs: Callable[[], Any]) -> list[Any]:
    """Call all at the same moment, each in a thread; return what they return."""
    barrier = threading.Barrier(len(jobs))

    def start(job: Callable[[], Any]) -> Any:
        barrier.wait(30.0)
        return job()

    with ThreadPoolExecutor(len(jobs)) as pool:
        return [future.result(120.0) for future in [pool.submit(start, job) for job in jobs]]


@pytest.fixture
def opened(s3: S3, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """As in a new process, no file system has been opened yet; the buckets for which one is."""
    buckets: list[str] = []
    really_open = remote._open

    def open_slowly(scheme: str, authority: str) -> Any:
        buckets.append(authority)
        time.sleep(0.1)
        return really_open(scheme, authority)

    monkeypatch.setattr(remote, "_endpoints", {})
    monkeypatch.setattr(remote, "_open", open_slowly)
    return buckets


def test_scans_readings_and_copies_at_once_give_what_one_gives(
    opened: list[str], demo_runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "_CHUNK", 100_000)  # each copy in several parts, at a time
    scanner, inspector = Rescanner([Logdir("", "s3://demo/runs")]), Inspector()

    def get(name: str) -> Checkpoint:
        found = find_by_prefix(f"s3://demo/runs/{name}")
        assert found is not None
        return found

    def scan() -> list[str]:
        return sorted(f"{c.run}/{c.name}" for c in scanner.scan(0.0).checkpoints)

    def read(name: str) -> object:
        return inspector.read(get(name)) == read_contents(str(demo_runs / name))

    def copy(name: str) -> object:
        with fetched(get(name), tmp_path) as local:
            assert len(local.files) == 2
            return all(
                Path(p).read_bytes() == (demo_runs / name).with_name(Path(p).name).read_bytes() for p in local.files
            )

    copies = [lambda name=name: copy(name) for name in (*NAMES[:3], *NAMES[:3])]  # some of the same one, too
    readings = [lambda name=name: read(name) for name in (*NAMES[3:], NAMES[3])]
    found = at_once(*copies, *readings, *[scan] * (THREADS - len(copies) - len(readings)))
    assert found[: len(copies) + len(readings)] == [True] * (len(copies) + len(readings))
    assert all(listed == sorted(NAMES) for listed in found[len(copies) + len(readings) :])
    assert list(tmp_path.iterdir()) == []
    assert opened == ["demo"]


def test_copy_of_a_checkpoint_that_is_written_meanwhile_is_refused_or_whole(
    upload: Callable[[Path], str], s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "_CHUNK", 50_000)
    (tmp_path / "one").mkdir()
    for ending in (".index", ".data-00000-of-00001"):
        (tmp_path / "one" / f"ckpt{ending}").write_bytes(write_body(0))
    url = upload(tmp_path / "one")
    ended = threading.Event()

    def write() -> None:
        for number in range(1, 25):
            for ending in (".index", ".data-00000-of-00001"):
                s3.client.put_object(Bucket=url.removeprefix("s3://"), Key=f"ckpt{ending}", Body=write_body(number))
        ended.set()

    def copy() -> list[str]:
        said = []
        while not ended.is_set():
            found = find_by_prefix(f"{url}/ckpt")
            assert found is not None
            try:
                with fetched(found, tmp_path) as local:
                    bodies = [Path(path).read_bytes() for path in local.files]
                said.append("whole" if all(b == write_body(int(b[:8])) for b in bodies) else "of several")
            except CkptMetaError as refused:
                said.append(f"{refused.code.value}: {refused.message}")
        return said

    _, *copies = at_once(write, copy, copy)
    said = {text for texts in copies for text in texts}
    changed = f"{Code.CHECKPOINT_MISSING.value}: Checkpoint ckpt has changed while it was fetched. Ask again."
    assert changed in said
    assert said <= {"whole", changed}


def write_body(number: int) -> bytes:
    """The bytes of a file as it was written for the n-th time: each part of it tells, and all are of one size."""
    return b"%08d" % number * 50_000
