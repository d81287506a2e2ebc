"""The verdict of a checkpoint a thousand times as large as another, with as many variables."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.machine import PeakMemory, count_bytes_read
from benchmarks.table import as_kilobytes, as_megabytes, as_milliseconds, as_ratio, print_table, take_turns
from tb_ckptmeta import record
from tb_ckptmeta.core.compare import compare
from tb_ckptmeta.core.rebuilt import Rebuilt
from tb_ckptmeta.core.verdict import MATCH
from tb_ckptmeta.engine.bundle import read_contents
from tb_ckptmeta.engine.choice import Choice
from tb_ckptmeta.engine.workspace import Workspace, open_workspace

HERE = Path(__file__).parent
KINDS = {
    "keras-stack": "Object-based (`tf.train.Checkpoint`)",
    "scoped-stack": "Name-based (`tf.compat.v1.train.Saver`)",
}
LAYERS = 51
WIDTHS, QUICK_WIDTHS = (224, 7168), (224, 2240)
TIMES, QUICK_TIMES = 15, 1


@dataclass(frozen=True)
class Subject:
    """One checkpoint, and the model that its builder makes."""

    choice: Choice
    rebuilt: Rebuilt
    size: int

    @property
    def prefix(self) -> str:
        return self.choice.checkpoint.prefix

    def read(self) -> float:
        """Return how long it takes to read what the checkpoint holds, and to compare."""
        began = time.perf_counter()
        found = compare(self.rebuilt, read_contents(self.prefix))
        ended = time.perf_counter()
        assert found.status == MATCH, found
        return ended - began

    def count_bytes(self) -> float:
        """Return how many bytes are read to know what the checkpoint holds."""
        before = count_bytes_read()
        itself = count_bytes_read() - before
        read_contents(self.prefix)
        return count_bytes_read() - before - 2 * itself

    def verify(self, workspace: Workspace) -> float:
        """Return how long the whole verdict takes: the checkpoint is read, the model is built and compared, anew."""
        os.utime(f"{self.prefix}.index")  # else it would be remembered
        began = time.perf_counter()
        verdict = workspace.verify(self.choice, fresh=True)
        ended = time.perf_counter()
        assert verdict.status == MATCH, verdict
        return ended - began


def run(*, quick: bool = False) -> None:
    widths, times = (QUICK_WIDTHS, QUICK_TIMES) if quick else (WIDTHS, TIMES)
    with tempfile.TemporaryDirectory(prefix="ckptmeta-bench-") as folder:
        write_stacks(Path(folder), [(kind, width) for kind in KINDS for width in widths])
        with open_workspace(folder, builders=[str(HERE / "stacks.py")]) as workspace:
            for kind, said in KINDS.items():
                subjects = [_find_subject(workspace, f"{kind}/{width}") for width in widths]
                _measure(workspace, said, subjects, times)


def write_stacks(folder: Path, stacks: Sequence[tuple[str, int]]) -> list[str]:
    """Write the checkpoints of stacks of a builder and a width, with records of them; return their prefixes."""
    places = [folder / builder / str(width) for builder, width in stacks]
    prefixes = [str(place / "ckpt-1") for place in places]
    wanted = [
        word
        for (builder, width), prefix in zip(stacks, prefixes, strict=True)
        for word in (builder, str(width), prefix)
    ]
    quiet = {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, str(HERE / "write_stacks.py"), str(LAYERS), *wanted]
    ended = subprocess.run(command, env={**os.environ, **quiet}, stderr=subprocess.PIPE, text=True, check=False)
    if ended.returncode != 0:
        raise RuntimeError(f"the checkpoints could not be written:\n{ended.stderr}")
    for place, (builder, width) in zip(places, stacks, strict=True):
        record(place, builder, arguments={"layers": LAYERS, "width": width})
    return prefixes


def _find_subject(workspace: Workspace, run: str) -> Subject:
    checkpoints = workspace.list_checkpoints(workspace.registry.read())
    (checkpoint,) = [c for c in checkpoints if c.run == run]
    choice = workspace.choose(checkpoint)
    return Subject(choice, workspace.rebuild(choice).rebuilt, checkpoint.bytes)


def _measure(workspace: Workspace, kind: str, subjects: list[Subject], times: int) -> None:
    def ask(measure: Callable[[Subject], float], times: int) -> list[float]:
        return list(take_turns({s.prefix: partial(measure, s) for s in subjects}, times).values())

    def peak(measure: Callable[[Subject], float]) -> Callable[[Subject], float]:
        def sampled(subject: Subject) -> float:
            with PeakMemory() as memory:
                measure(subject)
            return memory.bytes

        return sampled

    def verify(subject: Subject) -> float:
        return subject.verify(workspace)

    ask(verify, 1)  # starts what stays warm
    few = max(1, times // 3)
    measured = {
        "index and object graph read, and compared": (as_milliseconds, ask(Subject.read, times * 3)),
        "the whole verdict, the model rebuilt": (as_milliseconds, ask(verify, times)),
        "bytes read from the checkpoint's files": (as_kilobytes, ask(Subject.count_bytes, few)),
        "peak memory of all processes, reading and comparing": (as_megabytes, ask(peak(Subject.read), few)),
        "peak memory of all processes, the whole verdict": (as_megabytes, ask(peak(verify), few)),
    }
    variables = len(subjects[0].rebuilt.variables)
    print_table(
        f"{kind}, {variables} variables in {LAYERS} layers; medians of {times} verdicts of each, in turn:",
        ["", *(as_megabytes(s.size) for s in subjects), "ratio"],
        [
            [what, *(tell(value) for value in values), as_ratio(values[-1] / values[0])]
            for what, (tell, values) in measured.items()
        ],
    )
