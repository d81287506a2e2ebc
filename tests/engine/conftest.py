"""What the tests of the engine share."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from tensorboard.compat.proto import graph_pb2

from tb_ckptmeta.engine import checkpoint_file
from tb_ckptmeta.engine.conceptual_keras import graph_from_keras_config

_ZOO = Path(__file__).with_name("keras_zoo.py")


@pytest.fixture
def count_lines() -> Callable[[Callable[[], object]], int]:
    """Return how many lines of Python a call runs: a measure of its work that no busy machine changes."""

    def count(function: Callable[[], object]) -> int:
        lines = 0

        def trace(_: object, event: str, __: object) -> Any:
            nonlocal lines
            lines += event == "line"
            return trace

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            function()
        finally:
            sys.settrace(before)
        return lines

    return count


@pytest.fixture
def save_names(tmp_path: Path) -> Callable[..., str]:
    """Save a V1 graph's variables, given as name -> value, by a `Saver`."""
    tf1 = pytest.importorskip("tensorflow").compat.v1

    def save(values: dict[str, Any], folder: str = "names", **options: Any) -> str:
        (tmp_path / folder).mkdir()
        with tf1.Graph().as_default(), tf1.Session() as session:
            variables = {name: tf1.Variable(value) for name, value in values.items()}
            session.run([variable.initializer for variable in variables.values()])
            saver = tf1.train.Saver(variables, **options)
            return str(saver.save(session, str(tmp_path / folder / "ckpt"), write_meta_graph=False))

    return save


@pytest.fixture
def objects(tmp_path: Path) -> str:
    """The prefix of a small object-based checkpoint."""
    tf = pytest.importorskip("tensorflow")
    module = tf.Module()
    module.kernel = tf.Variable(tf.zeros([2, 3]))
    module.bias = tf.Variable([1, 2, 3])
    return str(tf.train.Checkpoint(model=module).write(str(tmp_path / "ckpt")))


@pytest.fixture
def bytes_read(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Path -> bytes that the reader has read of it."""
    counts: dict[str, int] = {}

    class CountingFile(io.BufferedReader):
        def read(self, size: int | None = -1, /) -> bytes:
            data = super().read(size)
            counts[self.name] = counts.get(self.name, 0) + len(data)
            return data

    def open_counting(path: str, mode: str) -> BinaryIO:
        return CountingFile(io.FileIO(path, mode))

    monkeypatch.setattr(checkpoint_file, "open", open_counting, raising=False)
    return counts


def run_zoo(flavour: str) -> dict[str, Any]:
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment["KERAS_BACKEND"] = "tensorflow"
    environment["TF_USE_LEGACY_KERAS"] = "1" if flavour == "legacy" else "0"
    done = subprocess.run(
        [sys.executable, str(_ZOO), flavour],
        env=environment,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    zoo: dict[str, Any] = json.loads(next(x for x in done.stdout.splitlines() if x.startswith("ZOO"))[3:])
    return zoo


@pytest.fixture(scope="session")
def zoos() -> dict[str, dict[str, Any]]:
    """What `keras_zoo.py` prints: flavour ("3" or "legacy") -> "models" and "graphs" -> name -> one of them."""
    return {flavour: run_zoo(flavour) for flavour in ("3", "legacy")}


@pytest.fixture(scope="module", params=["3", "legacy"])
def flavour(request: pytest.FixtureRequest) -> str:
    """Each Keras of the zoo in turn."""
    return str(request.param)


@pytest.fixture
def model_graph(zoos: dict[str, dict[str, Any]], flavour: str) -> Callable[[str], graph_pb2.GraphDef]:
    """Return the drawing of one of the zoo's models, by its name, in either flavour."""
    return lambda key: graph_from_keras_config(zoos[flavour]["models"][key])
