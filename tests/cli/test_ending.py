"""Commands that are told to end, wherever they are: nobody works on, and no temporary file stays."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from waiting import wait_until

from tb_ckptmeta.cli.ending import ToldToEnd, heeding_signals

PATIENCE = 120.0

WAITS = """
import itertools
import tempfile
import time
from pathlib import Path
from tb_ckptmeta import builder

def wait():
    folder = Path(tempfile.mkdtemp())
    for number in itertools.count():  # what a folder gets while it is taken away keeps it there
        folder.joinpath(str(number)).touch()
        if number == 1000:
            Path(__file__).with_name("waits").touch()
        time.sleep(0.0005)

if IMPORTING:
    wait()

@builder("waits")
def waits():
    wait()
"""

Begin = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def begin(demo_runs: Path, tmp_path: Path) -> Iterator[Begin]:
    """Start a command on a checkpoint of the demo, and return when user code runs that will not end."""
    started: list[subprocess.Popen[str]] = []

    def begin_command(command: str, *, importing: bool) -> subprocess.Popen[str]:
        code = tmp_path / "waits.py"
        code.write_text(WAITS.replace("IMPORTING", str(importing)), encoding="utf-8")
        arguments = [str(demo_runs / "mlp" / "ckpt-10"), "--builders", str(code), "--builder", "waits"]
        arguments += ["--output", str(tmp_path / "x.meta")] if command == "export" else []

        def heed() -> None:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_DFL)

        argv = [sys.executable, "-m", "tb_ckptmeta", command, *arguments]
        started.append(subprocess.Popen(argv, stderr=subprocess.PIPE, text=True, preexec_fn=heed))
        process = started[-1]
        wait_until(lambda: (tmp_path / "waits").exists() or process.poll() is not None, "the builder waits", PATIENCE)
        assert process.poll() is None
        return process

    yield begin_command
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_command_that_is_told_to_end_while_it_reads_builders_leaves_nothing(
    begin: Begin,
    leaves_nothing: Any,
    quick_tensorflow: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
) -> None:
    monkeypatch.setenv("PYTHONPATH", quick_tensorflow["PYTHONPATH"])
    require_end(begin("verify", importing=True), number, leaves_nothing)


def test_export_that_is_told_to_end_leaves_nothing(begin: Begin, leaves_nothing: Any, tmp_path: Path) -> None:
    require_end(begin("export", importing=False), signal.SIGTERM, leaves_nothing)
    assert not (tmp_path / "x.meta").exists()


def test_command_after_one_that_was_killed_takes_away_what_that_has_left(
    begin: Begin, leaves_nothing: Any, demo_runs: Path, demo_builders: Path
) -> None:
    process = begin("verify", importing=False)
    process.kill()
    process.wait()
    assert leaves_nothing.wait_until_alone() == {}
    (left,) = leaves_nothing.temporary.iterdir()
    assert list(left.rglob("1000"))
    again = [sys.executable, "-m", "tb_ckptmeta", "verify", demo_runs / "mlp" / "ckpt-10", "--builders", demo_builders]
    assert subprocess.run(again, check=False, stdout=subprocess.PIPE, text=True).returncode == 0
    assert list(leaves_nothing.temporary.iterdir()) == []


def require_end(process: subprocess.Popen[str], number: signal.Signals, leaves_nothing: Any) -> None:
    process.send_signal(number)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 128 + number, said
    what = "Interrupted" if number == signal.SIGINT else f"Ended by {number.name}"
    assert said == f"tb-ckptmeta: {what}.\n"
    assert leaves_nothing.wait_until_alone() == {}
    assert list(leaves_nothing.temporary.iterdir()) == []


@contextmanager
def handled(number: int, handler: Any) -> Iterator[None]:
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, before)


def test_signals_are_heeded_within_and_only_where_they_would_end_the_process() -> None:
    heard: list[int] = []
    with handled(signal.SIGTERM, signal.SIG_DFL), handled(signal.SIGHUP, lambda number, frame: heard.append(number)):
        with heeding_signals():
            signal.raise_signal(signal.SIGHUP)
        with pytest.raises(ToldToEnd) as ended, heeding_signals():
            signal.raise_signal(signal.SIGTERM)
        assert (ended.value.signal, heard) == (signal.SIGTERM, [signal.SIGHUP])
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    with handled(signal.SIGHUP, signal.SIG_IGN), heeding_signals():  # nohup
        signal.raise_signal(signal.SIGHUP)
