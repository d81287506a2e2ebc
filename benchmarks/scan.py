"""The listing of many checkpoints against `find`, which prints names, sizes and times of the same tree."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.board import start_board
from benchmarks.machine import make_environment
from benchmarks.table import as_milliseconds, as_ratio, print_table, take_turns
from tb_ckptmeta.core.checkpoint_json import encode_checkpoints
from tb_ckptmeta.core.job import BuilderDescription, Limits, Spec
from tb_ckptmeta.engine.listing import Logdir
from tb_ckptmeta.engine.registry import Builders, RegisteredBuilder
from tb_ckptmeta.engine.scan import Scanner
from tb_ckptmeta.engine.workspace import Workspace

RUNS, QUICK_RUNS = 1000, 20
CHECKPOINTS = 10
TIMES, QUICK_TIMES = 15, 1
PATTERNS = {"mlp": "mlp/**", "cnn": "**/model.ckpt-*", "transformer": "run-*/ckpt-*", "old": "[a-q]*/best/*"}
_SETTLES = 3.0
"""Seconds after which a folder is remembered (engine/folders.py)."""
_LOADS = 20.0
"""Seconds in which TensorBoard reads a thousand event files."""


def make_tree(folder: Path, runs: int) -> None:
    """Write what a training of each run leaves: checkpoints, the state file, an event file; each of a few bytes."""
    for number in range(runs):
        run = folder / f"run-{number:04}"
        run.mkdir()
        for step in range(100, 100 + 100 * CHECKPOINTS, 100):
            (run / f"ckpt-{step}.index").write_bytes(b"index")
            (run / f"ckpt-{step}.data-00000-of-00001").write_bytes(b"weights")
        (run / "checkpoint").write_text(f'model_checkpoint_path: "ckpt-{100 * CHECKPOINTS}"\n')
        (run / "events.out.tfevents.1700000000.host.1.0.v2").write_bytes(b"")


def run(*, quick: bool = False) -> None:
    runs, times = (QUICK_RUNS, QUICK_TIMES) if quick else (RUNS, TIMES)
    with tempfile.TemporaryDirectory(prefix="ckptmeta-bench-") as name:
        tree, empty = Path(name, "tree"), Path(name, "empty")
        tree.mkdir()
        empty.mkdir()
        make_tree(tree, runs)
        time.sleep(0 if quick else _SETTLES)
        _measure(tree, runs, times)
        _measure_commands(tree, empty, times, board=not quick)


def _measure(tree: Path, runs: int, times: int) -> None:
    count = runs * CHECKPOINTS
    logdirs = [Logdir("", str(tree))]
    scanner = Scanner(logdirs)
    scanner.scan()
    builders = make_builders()
    workspace = _make_workspace(logdirs)
    workspace.list_checkpoints(builders)
    listed = workspace.list_checkpoints(builders)
    assert {c.pairing.builder for c in listed} == {"transformer"}
    assert len(listed) == count
    measured = take_turns(
        {
            "find": lambda: _find(tree, count),
            "a first scan": _timed(lambda: _scan_first(logdirs)),
            "a rescan, nothing changed": _timed(scanner.scan),
            "a first scan, paired with four builders": _timed(lambda: _list_first(logdirs, builders)),
            "a rescan, paired": _timed(lambda: workspace.list_checkpoints(builders)),
            "their JSON": _timed(lambda: encode_checkpoints(listed)),
        },
        times,
    )
    _print(f"{count:,} checkpoints in {runs:,} runs; medians of {times} of each, in turn:", measured)


def _measure_commands(tree: Path, empty: Path, times: int, *, board: bool) -> None:
    """Measure whole commands without their start, and the route where `board` says so: each against `find`."""
    measured = take_turns(
        {
            "find": lambda: _find(tree, 0),
            "tb-ckptmeta scan of an empty folder": lambda: _scan(empty),
            "tb-ckptmeta scan --json": lambda: _scan(tree),
        },
        times,
    )
    start = measured.pop("tb-ckptmeta scan of an empty folder")
    measured["tb-ckptmeta scan --json, its start aside"] = measured.pop("tb-ckptmeta scan --json") - start
    _print(f"The same by the command, whose start is {as_milliseconds(start)}; medians of {times}, in turn:", measured)
    if board:
        # Which reads the event files once, and not while anything is measured.
        with start_board(tree, "--reload_interval", "0") as running:
            time.sleep(_LOADS)
            ask = _timed(lambda: running.ask("/data/plugin/ckptmeta/checkpoints"))
            ask()
            measured = take_turns({"find": lambda: _find(tree, 0), "GET /checkpoints, asked again": ask}, times)
        _print(f"The same by the route; medians of {times}, in turn:", measured)


def _print(title: str, measured: dict[str, float]) -> None:
    found = measured["find"]
    print_table(
        title,
        ["", "time", "ratio"],
        [[what, as_milliseconds(seconds), as_ratio(seconds / found)] for what, seconds in measured.items()],
    )


def _scan_first(logdirs: list[Logdir]) -> object:
    """Scan with a new scanner, and return that, too: it is kept, for the next scan."""
    scanner = Scanner(logdirs)
    return scanner, scanner.scan()


def _list_first(logdirs: list[Logdir], builders: Builders) -> object:
    workspace = _make_workspace(logdirs)
    return workspace, workspace.list_checkpoints(builders)


def _timed(work: Callable[[], object]) -> Callable[[], float]:
    def measure() -> float:
        began = time.perf_counter()
        made = work()
        seconds = time.perf_counter() - began
        del made  # which takes time as well
        return seconds

    return measure


def _find(tree: Path, count: int) -> float:
    began = time.perf_counter()
    printed = subprocess.run(["find", tree, "-printf", "%s %T@ %p\\n"], stdout=subprocess.PIPE, check=True).stdout
    seconds = time.perf_counter() - began
    assert printed.count(b".index\n") >= count
    return seconds


def _scan(logdir: Path) -> float:
    command = [sys.executable, "-m", "tb_ckptmeta", "scan", str(logdir), "--json"]
    began = time.perf_counter()
    subprocess.run(command, env=make_environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    return time.perf_counter() - began


def _make_workspace(logdirs: list[Logdir]) -> Workspace:
    return Workspace(logdirs, [], Limits(60.0, 1 << 30))


def make_builders() -> Builders:
    """Return what a registry would have read of the builders' module, which takes a worker."""
    spec = Spec("builders.py", "builders.py", None, ".")
    return Builders(
        {
            name: RegisteredBuilder(spec, BuilderDescription(name, (pattern,), None, None, name, (), ""))
            for name, pattern in PATTERNS.items()
        }
    )
