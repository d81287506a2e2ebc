"""TensorBoard's start with our plugin and without it."""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path

from benchmarks.board import start_board
from benchmarks.scan import make_tree
from benchmarks.table import as_milliseconds, as_ratio, print_table, take_turns

RUNS = 20
TIMES, QUICK_TIMES = 9, 1


def run(*, quick: bool = False) -> None:
    times = QUICK_TIMES if quick else TIMES
    with tempfile.TemporaryDirectory(prefix="ckptmeta-bench-") as folder:
        make_tree(Path(folder), RUNS)
        if not quick:
            _start(Path(folder), True)  # compiles what has not been imported before
        measured = take_turns(
            {"without": partial(_start, Path(folder), False), "with": partial(_start, Path(folder), True)}, times
        )
    without, ours = measured["without"], measured["with"]
    print_table(
        f"TensorBoard's start, until it has answered /data/plugins_listing; medians of {times} of each, in turn:",
        ["", "without the plugin", "with it", "difference", "ratio"],
        [
            [
                f"a logdir of {RUNS} runs",
                as_milliseconds(without),
                as_milliseconds(ours),
                as_milliseconds(ours - without),
                as_ratio(ours / without),
            ]
        ],
    )


def _start(logdir: Path, ours: bool) -> float:
    with start_board(logdir, ours=ours) as board:
        return board.seconds
