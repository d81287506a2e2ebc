"""What the fixtures of this folder hand out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from servers import TensorBoard

CopyCheckpoint = Callable[[Path, Path], None]

BAD_RUNS = ("hangs", "raises", "exits", "exits-hard", "crashes", "eats-memory")
"""Runs of the odd board, each paired with the sample of its name."""
BAD_SECONDS = 30.0
"""Long enough for TensorFlow's import on a busy machine, short enough to wait for one that hangs."""
BAD_GIB = 1.5


@dataclass(frozen=True)
class Marked:
    """A TensorBoard whose builders `marks` (for the run `mlp`) and `waits` leave a mark whenever they run."""

    board: TensorBoard
    builders: Path

    @property
    def marks(self) -> list[tuple[str, int]]:
        """The builders that have run, with the processes they ran in."""
        file = self.builders.with_name("marks.txt")
        rows = file.read_text().splitlines() if file.exists() else []
        return [(name, int(pid)) for name, pid in (row.split(" ") for row in rows)]
