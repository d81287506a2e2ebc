"""Many who ask for a scan at a time: nobody waits for longer than the answer takes, and no scan is made twice."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from waiting import wait_until

from tb_ckptmeta.engine import scan as scanning
from tb_ckptmeta.engine.listing import Listing, Logdir, ScanReport
from tb_ckptmeta.engine.rescan import Rescanner

SECONDS = 30.0


class Endpoint:
    """A file system that answers when it is let to; the scan itself is real."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked = 0
        self.answers = threading.Semaphore(0)
        self.waits = threading.Semaphore(0)
        self.fails = False
        scan = scanning.LocalScan.scan

        def slow(local: scanning.LocalScan, report: ScanReport) -> list[Listing]:
            self.asked += 1
            self.waits.release()
            assert self.answers.acquire(timeout=SECONDS)
            if self.fails:
                raise OSError("gone")
            return list(scan(local, report))

        monkeypatch.setattr(scanning.LocalScan, "scan", slow)

    def wait(self) -> None:
        assert self.waits.acquire(timeout=SECONDS)

    def answer(self) -> None:
        self.answers.release()


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Endpoint:
    return Endpoint(monkeypatch)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as threads:
        yield threads


@pytest.fixture
def logdir(tmp_path: Path) -> Path:
    for name in ("ckpt-1.index", "ckpt-1.data-00000-of-00001"):
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def names(report: ScanReport) -> list[str]:
    return [c.name for c in report.checkpoints]


def test_who_takes_an_older_answer_does_not_wait_for_a_scan_that_runs(
    endpoint: Endpoint, pool: ThreadPoolExecutor, logdir: Path
) -> None:
    scanner = Rescanner([Logdir("", str(logdir))])
    endpoint.answer()
    first = scanner.scan(0.0)
    endpoint.wait()
    running = pool.submit(scanner.scan, 0.0)
    endpoint.wait()
    assert pool.submit(scanner.scan, 3600.0).result(SECONDS) is first
    assert not running.done()
    endpoint.answer()
    assert running.result(SECONDS) is not first
    assert names(first) == ["ckpt-1"]


def test_all_who_ask_while_a_scan_runs_share_the_next(
    endpoint: Endpoint, pool: ThreadPoolExecutor, logdir: Path
) -> None:
    scanner = Rescanner([Logdir("", str(logdir))])
    running = pool.submit(scanner.scan, 0.0)
    endpoint.wait()
    later: list[Future[ScanReport]] = [pool.submit(scanner.scan, 0.0) for _ in range(5)]
    wait_until_waiting(scanner, 5)
    for name in ("ckpt-2.index", "ckpt-2.data-00000-of-00001"):
        (logdir / name).write_bytes(b"x")  # which the first scan need not have seen, and the next must
    endpoint.answer()
    running.result(SECONDS)
    endpoint.wait()
    endpoint.answer()
    reports = [future.result(SECONDS) for future in later]
    assert names(reports[0]) == ["ckpt-1", "ckpt-2"]
    assert all(report is reports[0] for report in reports)
    assert endpoint.asked == 2


def test_scan_that_fails_is_the_next_ones_to_make(endpoint: Endpoint, pool: ThreadPoolExecutor, logdir: Path) -> None:
    scanner = Rescanner([Logdir("", str(logdir))])
    endpoint.fails = True
    running = pool.submit(scanner.scan, 0.0)
    endpoint.wait()
    later = pool.submit(scanner.scan, 0.0)
    wait_until_waiting(scanner, 1)
    endpoint.answer()
    with pytest.raises(OSError, match="gone"):
        running.result(SECONDS)
    endpoint.wait()
    endpoint.fails = False
    endpoint.answer()
    assert names(later.result(SECONDS)) == ["ckpt-1"]


def wait_until_waiting(scanner: Rescanner, count: int) -> None:
    """Wait until so many threads wait for the scan that runs."""
    waiting = scanner._changed._waiters  # type: ignore[attr-defined]
    wait_until(lambda: len(waiting) >= count, f"{count} wait")
