"""From a request to the graph, and to the MetaGraphDef, against TensorFlow's own floor and against a script."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.machine import PeakMemory
from benchmarks.table import as_megabytes, as_milliseconds, as_ratio, print_table, take_turns
from tb_ckptmeta.engine.choice import Choice
from tb_ckptmeta.engine.workspace import Workspace, open_workspace

HERE = Path(__file__).parent
MODELS: Mapping[str, tuple[str, Mapping[str, int]]] = {
    "MLP": ("mlp", {}),
    "ResNet50": ("resnet50", {}),
    "EfficientNetB0": ("efficientnet-b0", {}),
    "EfficientNetB7": ("efficientnet-b7", {}),
    "transformer, 12 layers": ("transformer", {}),
    "transformer, 24 layers": ("transformer", {"depth": 24, "width": 1024, "heads": 16}),
}
TIMES, QUICK_TIMES = 7, 1
_QUIET = {
    "CUDA_VISIBLE_DEVICES": "-1",
    "KERAS_BACKEND": "tensorflow",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "TF_USE_LEGACY_KERAS": "0",
}


@dataclass(frozen=True)
class Subject:
    """One model: how it is asked for, and what its script is told."""

    title: str
    builder: str
    arguments: Mapping[str, int]
    choice: Choice

    def rebuild(self, workspace: Workspace) -> float:
        """Return how long it takes from the request to the graph."""
        began = time.perf_counter()
        made = workspace.rebuild(self.choice, fresh=True)
        ended = time.perf_counter()
        assert made.graph
        return ended - began

    def export(self, workspace: Workspace) -> float:
        """Return how long it takes from the request to the MetaGraphDef, which nothing checks."""
        with tempfile.TemporaryDirectory(prefix="ckptmeta-bench-") as folder:
            began = time.perf_counter()
            workspace.export(self.choice, "metagraph", Path(folder), check=False)
            return time.perf_counter() - began

    def run_script(self) -> float:
        """Return how long the script takes, from its process's start to its end."""
        with tempfile.TemporaryDirectory(prefix="ckptmeta-bench-") as folder:
            began = time.perf_counter()
            _run("script.py", self.builder, json.dumps(self.arguments), self.choice.checkpoint.prefix, folder)
            return time.perf_counter() - began


class Floor:
    """The process of floor.py."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.floor"],
            cwd=HERE.parent,
            env={**os.environ, **_QUIET},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._read()

    def __enter__(self) -> Floor:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def measure(self, subject: Subject) -> float:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([subject.builder, subject.arguments]) + "\n")
        self._process.stdin.flush()
        return float(self._read())

    def _read(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("benchmarks/floor.py has ended: run `python -m benchmarks.floor` and see why")
        return line


def run(*, quick: bool = False) -> None:
    wanted, times = (dict(list(MODELS.items())[:1]), QUICK_TIMES) if quick else (MODELS, TIMES)
    with tempfile.TemporaryDirectory(prefix="ckptmeta-bench-") as folder:
        _run("write_models.py", folder, *(w for name, given in wanted.values() for w in (name, json.dumps(given))))
        began = time.perf_counter()
        with open_workspace(folder, builders=[str(HERE / "models.py")], memory=16 << 30) as workspace:
            checkpoints = {c.run: c for c in workspace.list_checkpoints(workspace.registry.read())}
            subjects = [
                Subject(title, name, given, workspace.choose(checkpoints[f"{name}-{place}"], name, given))
                for place, (title, (name, given)) in enumerate(wanted.items())
            ]
            workspace.rebuild(subjects[0].choice)
            first = time.perf_counter() - began
            _measure_floor(workspace, subjects, first, times)
            if not quick:  # each script imports TensorFlow
                _measure_scripts(workspace, subjects, times)


def _measure_floor(workspace: Workspace, subjects: list[Subject], first: float, times: int) -> None:
    rows = []
    with Floor() as floor:
        for subject in subjects:
            ways = {"rebuild": partial(subject.rebuild, workspace), "floor": partial(floor.measure, subject)}
            rebuilt, least = take_turns(ways, times).values()
            rows.append([subject.title, as_milliseconds(rebuilt), as_milliseconds(least), as_ratio(rebuilt / least)])
    print_table(
        f"From a request to the graph; medians of {times}, in turn. The first of all, with nothing started yet and the "
        f"builders unread, took {as_milliseconds(first)}.",
        ["model", "rebuild", "floor", "ratio"],
        rows,
    )


def _measure_scripts(workspace: Workspace, subjects: list[Subject], times: int) -> None:
    few = max(1, times // 3)
    rows = []
    for subject in subjects:
        ways = {"export": partial(subject.export, workspace), "script": subject.run_script}
        cells = [subject.title]
        for tell, (ours, script) in (
            (as_milliseconds, take_turns(ways, few).values()),
            (as_megabytes, [_peak(way) for way in ways.values()]),
        ):
            cells += [tell(ours), tell(script), as_ratio(ours / script)]
        rows.append(cells)
    print_table(
        f"From a request to the .meta, not checked, against the script, a process from its start to its end; medians "
        f"of {few}, in turn, and the peak memory of all processes.",
        ["model", ".meta", "script", "ratio", "memory, .meta", "memory, script", "ratio"],
        rows,
    )


def _peak(measure: Callable[[], Any]) -> float:
    with PeakMemory() as memory:
        measure()
    return memory.bytes


def _run(name: str, *arguments: str) -> None:
    command = [sys.executable, str(HERE / name), *arguments]
    ended = subprocess.run(command, env={**os.environ, **_QUIET}, capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        raise RuntimeError(f"{name} has failed:\n{ended.stderr}")
