"""An export is made of the very graph that its verdict is of: one build and one trace, whatever it is exported as."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf.message import Message
from tensorboard.compat.proto import graph_pb2

from tb_ckptmeta.core.formats import FORMATS
from tb_ckptmeta.engine.workspace import Workspace, open_workspace

_BUILDERS = """
from pathlib import Path

import tensorflow as tf

from tb_ckptmeta import builder


def mark(what):
    with open(Path(__file__).with_name("marks.txt"), "a") as file:
        file.write(what + "\\n")


class Layer(tf.Module):
    def __init__(self):
        self.kernel = tf.Variable(tf.ones([3, 2]), name="kernel")

    def __call__(self, x):
        mark("traced")
        return tf.nn.relu(x @ self.kernel)


@builder("marks", checkpoints="*", inputs=tf.TensorSpec([None, 3], tf.float32))
def make():
    mark("built")
    return Layer()
"""
_SAVE = "import sys, tensorflow as tf, my_builders; tf.train.Checkpoint(model=my_builders.Layer()).write(sys.argv[1])"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("once")
    (folder / "runs").mkdir()
    (folder / "my_builders.py").write_text(_BUILDERS)
    subprocess.run([sys.executable, "-c", _SAVE, folder / "runs" / "ckpt-1"], cwd=folder, check=True)
    return folder


@pytest.fixture(scope="module")
def workspace(folder: Path) -> Iterator[Workspace]:
    with open_workspace(str(folder / "runs"), builders=[str(folder / "my_builders.py")]) as found:
        yield found


def count_marks(folder: Path) -> Counter[str]:
    """Return how often the builder has run, and its model has been traced, since this was asked last."""
    file = folder / "marks.txt"
    marks = Counter(file.read_text().split())
    file.unlink()
    return marks


@pytest.mark.parametrize("format", FORMATS)
def test_export_builds_and_traces_once(workspace: Workspace, folder: Path, tmp_path: Path, format: str) -> None:
    (checkpoint,) = workspace.list_checkpoints(workspace.registry.read())
    exported = workspace.export(workspace.choose(checkpoint), format, tmp_path, check=False)
    assert exported.verdict.status == "match"
    assert count_marks(folder) == {"built": 1, "traced": 1}


def test_graph_for_display_is_traced_once_and_saves_and_restores_nothing(workspace: Workspace, folder: Path) -> None:
    (checkpoint,) = workspace.list_checkpoints(workspace.registry.read())
    graph: Message = graph_pb2.GraphDef.FromString(workspace.rebuild(workspace.choose(checkpoint), fresh=True).graph)
    assert count_marks(folder) == {"built": 1, "traced": 1}
    operations = {node.op for node in graph.node}
    assert {"VarHandleOp", "MatMul", "Relu"} <= operations
    assert not {op for op in operations if "Restore" in op or "Save" in op or "Assign" in op}
