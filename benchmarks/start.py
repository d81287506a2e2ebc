"""TensorBoard's start with our plugin and without it."""

from __future__ import annotations

import statistics
import tempfile
from functools import partial
from pathlib import Path

from benchmarks.board import start_board
from benchmarks.scan import make_tree
from benchmarks.table import as_milliseconds, as_ratio, ask_in_turn, print_table

RUNS = 20
TIMES, QUICK_TIMES = 21, 1


def run(*, quick: bool = False) -> None:
    times = QUICK_TIMES if quick else TIMES
    with tempfile.TemporaryDirectory(prefix="ckptmeta-bench-") as folder:
        make_tree(Path(folder), RUNS)
        if not quick:
            _start(Path(folder), True)  # compiles what has not been imported before
        measured = ask_in_turn(
            {"without": partial(_start, Path(folder), False), "with": partial(_start, Path(folder), True)}, times
        )
    without, ours = (statistics.median(measured[name]) for name in ("without", "with"))
    # A start takes seconds, and another one of the same differs by more than what is looked for.
    differences = sorted(b - a for a, b in zip(measured["without"], measured["with"], strict=True))
    low, high = differences[times // 4], differences[-1 - times // 4]
    print_table(
        f"TensorBoard's start, until it has answered /data/plugins_listing; medians of {times} of each, in turn:",
        ["", "without the plugin", "with it", "difference", "middle half of all differences", "ratio"],
        [
            [
                f"a logdir of {RUNS} runs",
                as_milliseconds(without),
                as_milliseconds(ours),
                as_milliseconds(statistics.median(differences)),
                f"{as_milliseconds(low)} to {as_milliseconds(high)}",
                as_ratio(ours / without),
            ]
        ],
    )


def _start(logdir: Path, ours: bool) -> float:
    with start_board(logdir, ours=ours) as board:
        return board.seconds
