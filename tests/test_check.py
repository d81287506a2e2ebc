"""The check of an export finds weights that are not the checkpoint's, and says what it has not compared."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exporting import Exporter, open_exporter
from reading import COMPARABLE

from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.job import INITIAL, INPUTS, REFERENCE, RESULT, STEPS, Check, Limits
from tb_ckptmeta.engine.export import Exported
from tb_ckptmeta.engine.warm import Workers
from tb_ckptmeta.engine.workspace import Workspace, open_workspace


@dataclass(frozen=True)
class Checked:
    """An export, and the folder of its check."""

    exported: Exported
    checking: Path
    prefix: str


@pytest.fixture(scope="module")
def workspace(demo_runs: Path, demo_builders: Path) -> Iterator[Workspace]:
    with open_workspace(str(demo_runs), builders=[str(demo_builders)]) as found:
        yield found


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    found = Workers()
    yield found
    found.close()


def export(workspace: Workspace, name: str, format: str, folder: Path) -> Checked:
    checkpoints = workspace.list_checkpoints(workspace.registry.read())
    (checkpoint,) = [c for c in checkpoints if f"{c.run}/{c.name}" == name]
    folder.mkdir()
    exported = workspace.export(workspace.choose(checkpoint), format, folder)
    (checking,) = folder.glob("check-*")
    return Checked(exported, checking, checkpoint.prefix)


@pytest.mark.parametrize(
    ("format", "right", "wrong"),
    [
        ("metagraph", "mlp/ckpt-30", "mlp/ckpt-10"),
        ("metagraph", "scoped/model.ckpt-30", "scoped/model.ckpt-10"),
        ("saved_model", "custom/ckpt-30", "custom/ckpt-10"),
        ("frozen", "scoped/model.ckpt-30", "scoped/model.ckpt-10"),
        ("checkpoint", "mlp/ckpt-30", "mlp/ckpt-10"),
        ("onnx", "mlp/ckpt-30", "mlp/ckpt-10"),
    ],
)
def test_check_of_weights_that_are_another_steps_fails(
    workspace: Workspace, workers: Workers, tmp_path: Path, format: str, right: str, wrong: str
) -> None:
    kept = export(workspace, right, format, tmp_path / "right")
    other = export(workspace, wrong, format, tmp_path / "wrong")

    def check(export: Checked) -> Any:
        for name in (RESULT, STEPS):
            (kept.checking / name).unlink(missing_ok=True)
        made = export.exported
        limits = Limits(120.0, 8 << 30)
        job = Check(str(made.folder), format, export.prefix, made.inputs, made.outputs, (), limits)
        return workers.run(job, kept.checking, "The check")

    assert check(kept)["max_abs_difference"] <= 1e-6
    with pytest.raises(CkptMetaError) as error:
        check(other)
    assert error.value.code is Code.CHECK_FAILED
    assert "differs from the model as TensorFlow restores it" in error.value.message


def test_check_whose_reference_gives_values_to_restored_variables_is_none(
    workspace: Workspace, workers: Workers, tmp_path: Path
) -> None:
    kept = export(workspace, "mlp/ckpt-30", "metagraph", tmp_path / "right")
    with np.load(kept.checking / REFERENCE) as file:
        arrays = dict(file)
    names = json.loads(str(arrays["names"]))
    assert not any(name.startswith(INITIAL) for name in names)
    # As if it had restored nothing, and handed its own weights over instead.
    arrays[f"t{len(names)}"] = arrays["t0"]
    arrays["names"] = np.array(json.dumps([*names, f"{INITIAL}mlp/dense/kernel"]))
    np.savez(kept.checking / REFERENCE, **arrays)
    (kept.checking / RESULT).unlink()
    made = kept.exported
    job = Check(str(made.folder), "metagraph", kept.prefix, made.inputs, made.outputs, (), Limits(120.0, 8 << 30))
    with pytest.raises(CkptMetaError) as error:
        workers.run(job, kept.checking, "The check")
    assert error.value.code is Code.CHECK_FAILED
    assert "has not restored mlp/dense/kernel" in error.value.message
    assert (kept.checking / INPUTS).exists()


_BUILDERS = """
import random

import tensorflow as tf
from tb_ckptmeta import builder

DRAWN = [random.randrange(1 << 30), 0]
X = tf.TensorSpec([None, 4], tf.float32, "x")


class Net(tf.Module):
    def __init__(self):
        self.w = tf.Variable(tf.ones([4, 3]), name="w")


class Called(Net):
    def __init__(self, function):
        super().__init__()
        self.function = function

    @tf.function
    def __call__(self, x):
        return self.function(self, x)


def refuse_negative(x):
    with tf.control_dependencies([tf.debugging.assert_non_negative(x)]):
        return tf.identity(x)


def register(name, function):
    builder(name, checkpoints=f"{name}/*", inputs=X)(lambda: Called(function))


register("noisy", lambda net, x: x @ net.w + 1e-7 * tf.random.normal([3]))
register("roots", lambda net, x: tf.sqrt(x) @ net.w)
register("nothing", lambda net, x: tf.boolean_mask(x @ net.w, x[:, 0] > 100.0))
register("positive", lambda net, x: refuse_negative(x) @ net.w)
# Wrong by construction: each build draws another constant. Among the mask's -1e9 that must not be lost.
register("masked", lambda net, x: tf.where(x[:, :3] > 0.0, x @ net.w + tf.random.stateless_normal([3], DRAWN), -1e9))
# The order of a set is another one in another process.
register("hashed", lambda net, x: x @ net.w + tf.constant([float(len(w)) for w in {"a", "bb", "ccc"}]))
"""

_WRITE = """
import os, sys
import tensorflow as tf
import odd
from tb_ckptmeta.core.builder import take_registrations
for registration in take_registrations():
    net = registration.function()
    net.w.assign(tf.random.normal([4, 3]))
    tf.train.Checkpoint(net).write(os.path.join(sys.argv[1], registration.name, "ckpt-1"))
"""


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Exporter, Path]]:
    folder = tmp_path_factory.mktemp("odd")
    (folder / "odd.py").write_text(_BUILDERS)
    (folder / "write.py").write_text(_WRITE)
    subprocess.run(
        [sys.executable, "write.py", str(folder / "runs")], cwd=folder, env={**os.environ, **COMPARABLE}, check=True
    )
    with open_exporter(folder / "odd.py") as exporter:
        yield exporter, folder / "runs"


@pytest.mark.parametrize(
    ("name", "says"),
    [("noisy", "draws anew with each call"), ("nothing", "is empty for the inputs that were drawn")],
)
def test_check_that_can_compare_nothing_says_so_and_has_not_passed(
    odd: tuple[Exporter, Path], tmp_path: Path, name: str, says: str
) -> None:
    exporter, runs = odd
    check = exporter.export(runs / name / "ckpt-1", tmp_path / "x.meta")["check"]
    assert (check["status"], check["max_abs_difference"]) == ("skipped", None)
    assert check["note"].startswith("Nothing could be compared.")
    assert says in check["note"]


@pytest.mark.parametrize("name", ["roots", "positive"])
def test_check_draws_inputs_that_the_model_gives_numbers_for(
    odd: tuple[Exporter, Path], tmp_path: Path, name: str
) -> None:
    exporter, runs = odd
    check = exporter.export(runs / name / "ckpt-1", tmp_path / "x.meta")["check"]
    assert (check["status"], check["note"]) == ("passed", "")
    assert check["max_abs_difference"] <= 1e-5


@pytest.mark.parametrize("name", ["masked", "hashed"])
def test_check_finds_constants_that_each_build_makes_anew(
    odd: tuple[Exporter, Path], tmp_path: Path, name: str
) -> None:
    exporter, runs = odd
    with pytest.raises(CkptMetaError) as error:
        exporter.export(runs / name / "ckpt-1", tmp_path / "x.meta")
    assert error.value.code is Code.CHECK_FAILED
    assert not (tmp_path / "x.meta").exists()
