"""What the fixtures of this folder hand out, and how it is asked."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from servers import TensorBoard
from tensorboard.compat.proto import graph_pb2, node_def_pb2

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


def list_runs(board: TensorBoard, **headers: str) -> dict[str, Any]:
    """The runs as the dashboard asks for them."""
    found: dict[str, Any] = board.graphs("info", headers).document
    return found


def list_scopes(graph: graph_pb2.GraphDef) -> set[str]:
    names = [node.name for node in graph.node]
    return {name[:i] for name in names for i, letter in enumerate(name) if letter == "/"}


def get_node(graph: graph_pb2.GraphDef, name: str) -> node_def_pb2.NodeDef:
    (node,) = [n for n in graph.node if n.name == name]
    return node


def make_key(*parts: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")
