"""A model of two billion parameters: its weights, 8 GB, are on no disk and in no memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("tensorflow")
pytest.importorskip("tensorboard")

from tensorflow.core.protobuf import tensor_bundle_pb2

from tb_ckptmeta import record
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.engine.workspace import Workspace, open_workspace

sys.path.insert(0, str(Path(__file__).parent / "engine"))
from stored import rewrite_index

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a worker's memory is limited by Linux' /proc")

LAYERS, WIDTH, NARROW = 20, 10_000, 4
ROOT = Path(__file__).parents[1]
_SAVE = """
import sys
import tensorflow as tf
from benchmarks.stacks import keras_stack
tf.train.Checkpoint(model=keras_stack(int(sys.argv[1]), int(sys.argv[2]))).write(sys.argv[3])
"""


@pytest.fixture(scope="module")
def logdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of 20 layers of 10,000 x 10,000 weights: behind the object graph its shard is a hole."""
    folder = tmp_path_factory.mktemp("large")
    prefix = str(folder / "run" / "ckpt-1")
    subprocess.run(
        [sys.executable, "-c", _SAVE, str(LAYERS), str(NARROW), prefix],
        cwd=ROOT,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"},
        check=True,
    )
    shard = Path(f"{prefix}.data-00000-of-00001")
    end = shard.stat().st_size

    def widen(entries: dict[bytes, bytes]) -> None:
        nonlocal end
        for key, value in entries.items():
            entry = tensor_bundle_pb2.BundleEntryProto.FromString(value)
            if key.endswith(b"/kernel/.ATTRIBUTES/VARIABLE_VALUE") or (
                key.endswith(b".ATTRIBUTES/VARIABLE_VALUE") and entry.shape.dim and entry.shape.dim[0].size == NARROW
            ):
                for dim in entry.shape.dim:
                    dim.size = WIDTH
                entry.offset, entry.size = end, 4 * WIDTH ** len(entry.shape.dim)
                end += entry.size
                entries[key] = entry.SerializeToString()

    rewrite_index(prefix, widen)
    os.truncate(shard, end)
    record(folder / "run", "keras-stack", arguments={"layers": LAYERS, "width": WIDTH})
    return folder


@pytest.fixture
def workspace(logdir: Path) -> Workspace:
    return open_workspace(str(logdir), builders=[str(ROOT / "benchmarks" / "stacks.py")], memory=1 << 30)


def test_two_billion_parameters_are_verified_and_exported_within_a_gibibyte(
    workspace: Workspace, tmp_path: Path
) -> None:
    with workspace:
        [checkpoint] = workspace.list_checkpoints(workspace.registry.read())
        assert checkpoint.bytes > 8_000_000_000
        choice = workspace.choose(checkpoint)
        verdict = workspace.verify(choice)
        assert (verdict.status, verdict.bound) == ("match", 2 * LAYERS)
        exported = workspace.export(choice, "metagraph", tmp_path, check=False)
        [file] = exported.folder.iterdir()
        assert 10_000 < file.stat().st_size < 1_000_000
        # The limit is one that the weights would break: a check gives them memory.
        with pytest.raises(CkptMetaError) as error:
            workspace.export(choice, "metagraph", tmp_path)
        assert error.value.code is Code.BUILDER_OUT_OF_MEMORY
