"""Many checkpoints: `tb-ckptmeta batch`, against one command for each checkpoint."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from itertools import count
from pathlib import Path

from benchmarks.machine import PeakMemory
from benchmarks.table import as_megabytes, as_ratio, print_table, take_turns
from benchmarks.verdict_size import HERE, write_stacks

EACH, EXPORTED, LOOPED, TIMES = 20, 2, 2, 3
"""How many checkpoints a run has, how many are exported, how many are verified by a command each, and how often."""

Measure = Callable[[], float]


def run(*, quick: bool = False) -> None:
    with tempfile.TemporaryDirectory(prefix="ckptmeta-bench-") as name:
        folder = Path(name)
        if quick:
            builders, runs, each = HERE / "stacks.py", [_write_stack(folder)], 2
        else:
            builders, runs, each = folder / "my_builders.py", _write_demo(folder), EACH
        logdir = runs[0].parent
        for run in runs:
            _multiply(run, each)
        command = _Command(logdir, builders, folder)
        _measure_verify(command, runs, each, 1 if quick else LOOPED, 1 if quick else TIMES, quick)
        if not quick:
            _measure_export(command, runs)


class _Command:
    """The command line, on one logdir."""

    def __init__(self, logdir: Path, builders: Path, folder: Path) -> None:
        self._logdir, self._builders, self._folder = logdir, builders, folder
        self._numbers = count()

    def batch(self, kind: str, *more: object) -> float:
        """Return how long a batch takes, into an output of its own and nothing kept from before."""
        target = self._folder / f"out-{next(self._numbers)}"
        return self._run("batch", kind, self._logdir, "--output", target, *more)

    def batch_again(self, kind: str) -> float:
        """Return how long a batch takes whose output and cache are those of the last."""
        cache = {"TB_CKPTMETA_CACHE": str(self._folder / "cache")}
        return self._run("batch", kind, self._logdir, "--output", self._folder / "again", environment=cache)

    def one_by_one(self, kind: str, prefixes: list[Path]) -> float:
        """Return how long a shell takes that calls the command for each checkpoint."""
        seconds = 0.0
        for prefix in prefixes:
            output = ("--output", self._folder / f"out-{next(self._numbers)}.meta") if kind == "export" else ()
            seconds += self._run(kind, prefix, *output)
        return seconds

    def _run(self, *arguments: object, environment: Mapping[str, str] | None = None) -> float:
        command = [sys.executable, "-m", "tb_ckptmeta", *map(str, arguments), "--builders", str(self._builders)]
        began = time.perf_counter()
        given = {**os.environ, **(environment or {})}
        ended = subprocess.run(command, env=given, capture_output=True, text=True, check=False)
        if ended.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}:\n{ended.stdout}{ended.stderr}")
        return time.perf_counter() - began


def _measure_verify(command: _Command, runs: list[Path], each: int, looped: int, times: int, quick: bool) -> None:
    total = each * len(runs)
    prefixes = [prefix for run in runs for prefix in _find_prefixes(run)[:looped]]
    ways: dict[str, Measure] = {
        "one command for each": partial(command.one_by_one, "verify", prefixes),
        "batch, 1 worker": partial(command.batch, "verify", "--workers", 1),
        "batch, 2 workers": partial(command.batch, "verify", "--workers", 2),
    }
    if quick:
        del ways["batch, 2 workers"]
    else:
        command.batch_again("verify")
        ways["batch, nothing left to do"] = partial(command.batch_again, "verify")
    scale = {"one command for each": total / len(prefixes)}
    title = (
        f"Verdicts of {total} checkpoints of {len(runs)} builders; medians of {times}, in turn; one command for each "
        f"was measured with {len(prefixes)} and multiplied:"
    )
    _tell(title, ways, scale, times)


def _measure_export(command: _Command, runs: list[Path]) -> None:
    prefixes = [prefix for run in runs for prefix in _find_prefixes(run)[:EXPORTED]]
    matches = [word for prefix in prefixes for word in ("--match", f"{prefix.parent.name}/{prefix.name}")]
    ways: dict[str, Measure] = {
        "one command for each": partial(command.one_by_one, "export", prefixes),
        "batch, 1 worker": partial(command.batch, "export", *matches, "--workers", 1),
        "batch, 2 workers": partial(command.batch, "export", *matches, "--workers", 2),
    }
    _tell(
        f"Checked exports of {len(prefixes)} checkpoints of {len(runs)} builders, medians of 2, in turn:", ways, {}, 2
    )


def _tell(title: str, ways: Mapping[str, Measure], scale: Mapping[str, float], times: int) -> None:
    peaks: dict[str, int] = {}

    def sample(way: str, measure: Measure) -> None:
        with PeakMemory() as memory:
            measure()
        peaks[way] = memory.bytes

    # Sampling takes time, so it has a run of its own.
    if times > 1:
        for way, measure in ways.items():
            sample(way, measure)
    seconds = take_turns(ways, times)
    seconds = {way: s * scale.get(way, 1) for way, s in seconds.items()}
    first = next(iter(seconds.values()))
    rows = [
        [way, f"{s:,.1f} s", as_ratio(s / first), as_megabytes(peaks[way]) if way in peaks else "–"]
        for way, s in seconds.items()
    ]
    print_table(title, ["", "time", "ratio", "peak memory"], rows)


def _write_stack(folder: Path) -> Path:
    (prefix,) = write_stacks(folder / "runs", [("keras-stack", 32)])
    return Path(prefix).parent


def _write_demo(folder: Path) -> list[Path]:
    """Write the checkpoints of the demo's three models; its builders lie beside them."""
    command = [sys.executable, "-m", "tb_ckptmeta", "demo", str(folder), "--write-only"]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    subprocess.run(command, env=environment, capture_output=True, check=True)
    return sorted(path for path in (folder / "runs").iterdir() if path.is_dir())


def _multiply(run: Path, number: int) -> None:
    """Make `number` checkpoints of those that a run has: copies of one under other steps."""
    found = _find_prefixes(run)
    first, step = found[0], 100_000
    for _ in range(number - len(found)):
        step += 1
        stem = first.name.rpartition("-")[0]
        for file in run.glob(f"{first.name}.*"):
            shutil.copy(file, run / f"{stem}-{step}{file.name.removeprefix(first.name)}")


def _find_prefixes(run: Path) -> list[Path]:
    return sorted(path.with_suffix("") for path in run.glob("*.index"))
