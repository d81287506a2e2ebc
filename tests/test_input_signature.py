"""A model whose `tf.function` says how it is called needs no `inputs=`, and is exported with that signature."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tensorboard.compat.proto import graph_pb2, meta_graph_pb2

from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.engine.workspace import Workspace, open_workspace

_SAVE = """
import sys
import tensorflow as tf
import knows_inputs

called = knows_inputs.Called()
called(tf.ones([1, 4]))
tf.train.Checkpoint(called).write(sys.argv[1] + "/keras/ckpt-1")
tf.train.Checkpoint(knows_inputs.Scaled()).write(sys.argv[1] + "/module/ckpt-1")
"""


@pytest.fixture(scope="module")
def workspace(sample: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    folder = tmp_path_factory.mktemp("knows_inputs")
    builders = Path(shutil.copy(sample("knows_inputs"), folder))
    (folder / "runs").mkdir()
    subprocess.run([sys.executable, "-c", _SAVE, folder / "runs"], cwd=folder, check=True)
    with open_workspace(str(folder / "runs"), builders=[str(builders)]) as found:
        yield found


@pytest.mark.parametrize(
    ("builder", "inputs"),
    [
        ("module", {"pixels": [-1, 4], "scale": []}),
        ("given-wins", {"x": [3, 4], "scale": []}),
        ("method", {"b": [-1, 4], "a_values": [-1], "a_row_splits": [-1]}),
        ("function", {"rows": [2, 4]}),
        ("defaulted", {"rows": [-1, 4]}),
        ("defaulted-method", {"rows": [-1, 4]}),
        ("keras", {"x": [-1, 4]}),
        ("tokens", {"tokens": [3, 4]}),
        ("called-itself", {"x": [-1, 4]}),
        ("called-beside", {"x": [-1, 4]}),
        ("sequential", {"f": [-1, 4]}),
    ],
)
def test_export_has_the_input_signature_of_what_is_called(
    workspace: Workspace, tmp_path: Path, builder: str, inputs: dict[str, list[int]]
) -> None:
    run = "keras" if builder in ("keras", "tokens", "called-itself", "called-beside", "sequential") else "module"
    (checkpoint,) = (c for c in workspace.list_checkpoints(workspace.registry.read()) if c.run == run)
    exported = workspace.export(workspace.choose(checkpoint, builder), "metagraph", tmp_path, check=True)
    assert (exported.verdict.status, exported.check.status) == ("match", "passed")
    (file,) = exported.folder.iterdir()
    signature = meta_graph_pb2.MetaGraphDef.FromString(file.read_bytes()).signature_def["serving_default"]
    shapes = {name: [d.size for d in tensor.tensor_shape.dim] for name, tensor in signature.inputs.items()}
    assert shapes == inputs


@pytest.mark.parametrize("builder", ["called-itself", "called-beside"])
def test_keras_model_that_is_given_as_the_call_is_called_for_inference(workspace: Workspace, builder: str) -> None:
    (checkpoint,) = (c for c in workspace.list_checkpoints(workspace.registry.read()) if c.run == "keras")
    graph = workspace.rebuild(workspace.choose(checkpoint, builder)).graph
    assert {node.op for node in graph_pb2.GraphDef.FromString(graph).node} & {"MatMul", "Mul"} == {"MatMul"}


def test_function_without_its_model_is_refused(workspace: Workspace) -> None:
    checkpoint = workspace.list_checkpoints(workspace.registry.read())[0]
    with pytest.raises(CkptMetaError, match=r"returned a tf.function. Return its model beside it") as raised:
        workspace.rebuild(workspace.choose(checkpoint, "function-alone"))
    assert raised.value.code is Code.BUILDER_RETURNED


@pytest.mark.parametrize(
    ("builder", "kind"), [("none-given", "Scaled with a call"), ("training-first", "TrainingFirst")]
)
def test_rebuild_of_what_does_not_say_how_it_is_called_asks_for_inputs(
    workspace: Workspace, builder: str, kind: str
) -> None:
    checkpoint = workspace.list_checkpoints(workspace.registry.read())[0]
    with pytest.raises(CkptMetaError, match=f"'{builder}' returned a {kind} that does not know its inputs") as raised:
        workspace.rebuild(workspace.choose(checkpoint, builder))
    assert raised.value.code is Code.INPUTS_NEEDED
