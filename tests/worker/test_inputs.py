"""What a check feeds: drawn the same every time, within what the graph shows that a model takes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

# One process for all, for the sake of TensorFlow's import; each function is one fact of its own.
_FACTS = """
import json, sys
import numpy as np
import tensorflow as tf
from tb_ckptmeta.core.errors import CkptMetaError
from tb_ckptmeta.worker.hints import Hints, find_keys, find_limits
from tb_ckptmeta.worker.inputs import NARROW, draw_inputs
from tb_ckptmeta.worker.randomness import find_random
from tb_ckptmeta.worker.structure import name_inputs, name_outputs
from tb_ckptmeta.worker.vocabulary import replace_in_graph

v1 = tf.compat.v1


def draw(spec, hints=Hints(), **more):
    leaves, _ = name_inputs((spec,), ("x",))
    return draw_inputs(leaves, hints, **more)


def limit_of(function, dtype=tf.int32):
    graph = tf.function(function).get_concrete_function(tf.TensorSpec([None], dtype, "x")).graph
    return find_limits([("x", graph.inputs[0])], lambda handle: None).get("x")


def random_of(function):
    graph = tf.function(function).get_concrete_function(tf.TensorSpec([2], tf.float32, "x")).graph
    outputs = {name: tensor.name for name, tensor in name_outputs(graph.structured_outputs)}
    return find_random(graph.as_graph_def(), outputs)


class Facts:
    def twice_the_same(self):
        spec = tf.TensorSpec([None, 3], tf.float32)
        return bool(np.array_equal(draw(spec)["x"], draw(spec)["x"]))

    def indices(self):
        drawn = draw(tf.TensorSpec([200], tf.int64), Hints(limits={"x": 7}))["x"]
        return [int(drawn.min()), int(drawn.max())]

    def unknown_indices(self):
        drawn = draw(tf.TensorSpec([200], tf.int64))["x"]
        return [int(drawn.min()), int(drawn.max())]

    def narrow_indices(self):
        return int(draw(tf.TensorSpec([200], tf.int64), Hints(limits={"x": 7}), breadth=NARROW)["x"].max())

    def image(self):
        return int(draw(tf.TensorSpec([None, 20, 20, 3], tf.uint8))["x"].max())

    def words(self):
        return b"fox" in set(draw(tf.TensorSpec([200], tf.string), Hints(words=[b"fox"]))["x"].tolist())

    def narrow_words(self):
        drawn = draw(tf.TensorSpec([200], tf.string), Hints(words=[b"fox"]), breadth=NARROW)["x"]
        return sorted(w.decode() for w in set(drawn.tolist()))

    def ragged(self):
        drawn = draw(tf.RaggedTensorSpec([None, None, None, 2], tf.float32, ragged_rank=2))
        values = tf.RaggedTensor.from_nested_row_splits(
            drawn["x_values"], [drawn["x_row_splits_0"], drawn["x_row_splits_1"]], validate=True
        )
        return [sorted(drawn), values.shape.as_list()[-1]]

    def sparse(self):
        drawn = draw(tf.SparseTensorSpec([None, 6], tf.float32))
        tensor = tf.SparseTensor(drawn["x_indices"], drawn["x_values"], drawn["x_dense_shape"])
        return [list(drawn), tf.sparse.to_dense(tensor).shape.as_list()]

    def limit_of_a_gather(self):
        return limit_of(lambda x: tf.gather(tf.zeros([9, 2]), tf.cast(x, tf.int64)[:, None]))

    def limit_of_the_smallest(self):
        return limit_of(lambda x: (tf.gather(tf.zeros([9, 2]), x), tf.one_hot(x, 5)))

    def limit_of_no_index(self):
        return limit_of(lambda x: tf.cast(x, tf.float32) * 2.0)

    def keys_of_tables(self):
        words = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(["b", "a"], [1, 2]), 0)
        codes = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(tf.constant([7], tf.int64), [1]), 0)
        tables = [(t.resource_handle, t.key_dtype, t.value_dtype) for t in (words, codes)]
        found, numbers = find_keys(tables, lambda tensor: tensor.numpy())
        return [[w.decode() for w in found], numbers]

    def random_alone(self):
        return random_of(lambda x: {"drawn": x + tf.random.normal([2]), "plain": x * 2.0})

    def random_in_a_branch(self):
        return random_of(lambda x: tf.cond(x[0] > 0, lambda: tf.random.uniform([2]), lambda: x))

    def random_beside_what_is_returned(self):
        def beside(x):
            tf.print(tf.random.normal([2]))
            return x * 2.0

        return random_of(lambda x: tf.function(beside)(x))

    def random_in_a_function(self):
        return random_of(lambda x: tf.function(lambda y: y + tf.random.normal([2]))(x))

    def stateless_is_not_random(self):
        return random_of(lambda x: x + tf.random.stateless_normal([2], [1, 2]))

    def refused_spec(self):
        try:
            name_inputs((tf.TensorArraySpec([2]),), ("x",))
        except CkptMetaError as error:
            return error.code.value

    def vocabulary(self):
        file = sys.argv[1]
        open(file, "w").write("x\\ty\\nthe\\tquick\\n")
        with tf.Graph().as_default() as graph:
            initializer = tf.lookup.TextFileInitializer(file, tf.string, 1, tf.string, 0)
            table = tf.lookup.StaticHashTable(initializer, "none")
            found = table.lookup(tf.constant(["quick", "y", "the"]))
            notes = replace_in_graph(graph)
            open(file, "w").write("gone")
            with v1.Session() as session:
                session.run(v1.tables_initializer())
                return [[w.decode() for w in session.run(found).tolist()], notes]


print(json.dumps({n: f() for n, f in ((n, getattr(Facts(), n)) for n in vars(Facts) if not n.startswith("_"))}))
"""

_EXPECTED = {
    "twice_the_same": True,
    "indices": [0, 6],
    "unknown_indices": [0, 1],
    "narrow_indices": 1,
    "image": 255,
    "words": True,
    "narrow_words": ["fox"],
    "ragged": [["x_row_splits_0", "x_row_splits_1", "x_values"], 2],
    "sparse": [["x_indices", "x_values", "x_dense_shape"], [2, 6]],
    "limit_of_a_gather": 9,
    "limit_of_the_smallest": 5,
    "limit_of_no_index": None,
    "keys_of_tables": [["a", "b"], [7]],
    "random_alone": ["drawn"],
    "random_in_a_branch": ["output_0"],
    "random_in_a_function": ["output_0"],
    "random_beside_what_is_returned": [],
    "stateless_is_not_random": [],
    "refused_spec": "unsupported_model",
}


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    file: Path = tmp_path_factory.mktemp("vocabulary") / "words.txt"
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-c", _FACTS, str(file)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


@pytest.mark.parametrize("fact", _EXPECTED)
def test_inputs_are_drawn_within_what_is_known(facts: dict[str, Any], fact: str) -> None:
    assert facts[fact] == _EXPECTED[fact]


def test_table_of_a_vocabulary_file_needs_the_file_no_more(facts: dict[str, Any]) -> None:
    words, (note,) = facts["vocabulary"]
    assert words == ["the", "x", "none"]
    assert "words.txt (2 entries)" in note
