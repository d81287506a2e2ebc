"""A model of two billion parameters: the verdict and the exported MetaGraphDef, against one with few, and an import."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.machine import PeakMemory
from benchmarks.table import as_megabytes, as_milliseconds, as_ratio, print_table, take_turns
from benchmarks.verdict_size import HERE, LAYERS, write_stacks
from tb_ckptmeta.core.verdict import MATCH
from tb_ckptmeta.engine.choice import Choice
from tb_ckptmeta.engine.workspace import Workspace, open_workspace

WIDTHS, QUICK_WIDTHS = (224, 6272), (32, 64)
TIMES, QUICK_TIMES = 9, 1


def run(*, quick: bool = False) -> None:
    widths, times = (QUICK_WIDTHS, QUICK_TIMES) if quick else (WIDTHS, TIMES)
    with tempfile.TemporaryDirectory(prefix="ckptmeta-bench-") as folder:
        write_stacks(Path(folder), [("keras-stack", width) for width in widths])
        alone = _peak(_import_tensorflow)
        with open_workspace(folder, builders=[str(HERE / "stacks.py")]) as workspace:
            checkpoints = {c.run: c for c in workspace.list_checkpoints(workspace.registry.read())}
            choices = [workspace.choose(checkpoints[f"keras-stack/{width}"]) for width in widths]
            _verify(workspace, choices[0])  # starts what stays warm
            rows = []
            for what, measure in (("verdict", _verify), (".meta, not checked", _export)):
                ways = {str(w): partial(measure, workspace, c) for w, c in zip(widths, choices, strict=True)}
                few, many = take_turns(ways, times).values()
                memory = [_peak(way, times) for way in ways.values()]
                rows.append([what, as_milliseconds(few), as_milliseconds(many), as_ratio(many / few), ""])
                shown = [as_megabytes(size) for size in memory]
                ratios = [as_ratio(memory[1] / size) for size in (memory[0], alone)]
                rows.append([f"{what}: peak memory of all processes", *shown, *ratios])
    counts = [LAYERS * (width * width + width) for width in widths]
    print_table(
        f"{2 * LAYERS} variables in {LAYERS} layers; medians of {times}, in turn. A process that imports TensorFlow "
        f"and ends takes {as_megabytes(alone)}, its caller included as everywhere.",
        ["", *(f"{count / 1e6:,.1f} million parameters" for count in counts), "ratio", "to an import"],
        rows,
    )


def _verify(workspace: Workspace, choice: Choice) -> float:
    began = time.perf_counter()
    verdict = workspace.verify(choice, fresh=True)
    ended = time.perf_counter()
    assert verdict.status == MATCH, verdict
    return ended - began


def _export(workspace: Workspace, choice: Choice) -> float:
    with tempfile.TemporaryDirectory(prefix="ckptmeta-bench-") as folder:
        began = time.perf_counter()
        workspace.export(choice, "metagraph", Path(folder), check=False)
        return time.perf_counter() - began


def _import_tensorflow() -> None:
    quiet = {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-c", "import tensorflow as tf; tf.keras"]
    subprocess.run(command, env={**os.environ, **quiet}, stderr=subprocess.DEVNULL, check=True)


def _peak(measure: Callable[[], object], times: int = 1) -> float:
    """Return the most that any of so many runs takes: in some the next worker is made ready before this one ends."""
    most = 0
    for _ in range(times):
        with PeakMemory() as memory:
            measure()
        most = max(most, memory.bytes)
    return most
