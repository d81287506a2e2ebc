"""The shape of a variable is what its initializer gives, be it traced or known."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

_SCRIPT = """
import json, os
os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="-1")
import tensorflow as tf
from tb_ckptmeta.worker import keras_private
from tb_ckptmeta.worker.build import Reads, create_without_weights

keras = tf.keras
known, asked = [], keras_private.find_initialized_shape
keras_private.find_initialized_shape = lambda initial: known.append(asked(initial)) or known[-1]

class Wider(keras.initializers.Zeros):  # what is derived makes what it likes
    def __call__(self, shape, dtype=None):
        return tf.zeros([*shape, 2], dtype)

said = {}
with create_without_weights(Reads([])):
    for name in (*keras_private._PLAIN_INITIALIZERS, "Orthogonal", "Identity"):
        variable = keras.Variable(getattr(keras.initializers, name)(), shape=(3, 4), dtype="float32")
        said[name] = [known.pop(), variable.value.shape.as_list(), known]
    seeds = keras.random.SeedGenerator(1)
    others = {
        "derived": lambda: keras.Variable(Wider(), shape=(3,), dtype="float32"),
        "constant": lambda: keras.Variable(keras.initializers.Constant([1.0, 2.0]), shape=(3, 2), dtype="float32"),
        "function": lambda: keras.Variable(lambda shape, dtype: tf.ones(shape, dtype), shape=(3,), dtype="float32"),
        "whole": lambda: keras.Variable(keras.initializers.Zeros(), shape=(2,), dtype="int32"),
        "drawn whole": lambda: keras.Variable(keras.initializers.RandomNormal(), shape=(2,), dtype="int32"),
    }
    for name, make in others.items():
        known.clear()
        try:
            made = make()
            said[name] = [known[-1], made.value.shape.as_list(), []]
        except Exception as error:
            said[name] = [known[-1], type(error).__name__, []]
initializer = keras.initializers.RandomNormal(seed=seeds)
variable = type("V", (), {"_shape": (2,), "_dtype": "float32"})()

def wrap(self, initializer):
    return lambda: initializer(self._shape, dtype=self._dtype)

wrapped = wrap(variable, initializer)
wrapped.__qualname__ = "Variable._initialize_with_initializer.<locals>.<lambda>"
said["generator"] = [asked(wrapped), None, []]
wrapped = wrap(variable, keras.initializers.RandomNormal(seed=1))
wrapped.__qualname__ = "Variable._initialize_with_initializer.<locals>.<lambda>"
said["seed"] = [asked(wrapped), None, []]
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def said() -> dict[str, list[object]]:
    pytest.importorskip("tensorflow")
    ended = subprocess.run(
        [sys.executable, "-c", _SCRIPT],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return dict(json.loads(ended.stdout))


def test_variable_of_a_plain_initializer_has_its_shape_without_a_trace(said: dict[str, list[object]]) -> None:
    plain = [name for name in said if name[0].isupper() and name not in ("Orthogonal", "Identity")]
    assert len(plain) == 12
    assert all(said[name][:2] == [[3, 4], [3, 4]] for name in plain)
    assert said["whole"][:2] == [[2], [2]]


@pytest.mark.parametrize(
    ("name", "shape"),
    [("Orthogonal", [3, 4]), ("Identity", [3, 4]), ("derived", [3, 2]), ("constant", [3, 2]), ("function", [3])],
)
def test_variable_of_any_other_initializer_has_the_shape_that_this_makes(
    said: dict[str, list[object]], name: str, shape: list[int]
) -> None:
    assert said[name][:2] == [None, shape]


def test_initializer_with_a_generator_of_seeds_or_another_type_is_left_to_tracing(
    said: dict[str, list[object]],
) -> None:
    assert said["generator"][0] is None
    assert said["seed"][0] == [2]
    assert said["drawn whole"][0] is None
