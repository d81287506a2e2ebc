"""What is shown of a model is what TensorFlow makes of its trace, node for node."""

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
from tb_ckptmeta.core.builder import Model, Registration, builder, take_registrations
from tb_ckptmeta.worker.build import Reads, build_eagerly, create_without_weights
from tb_ckptmeta.worker.flatten import describe_forward, find_forward, flatten
from tb_ckptmeta.worker.inline import inline
from tb_ckptmeta.worker.objects import walk_objects
from tb_ckptmeta.worker.rebuild import _draw
from tb_ckptmeta.worker.trace import trace

layers = tf.keras.layers
spec = tf.TensorSpec([None, 4], tf.float32, "x")

@builder("shared")  # one layer twice, an input that is returned, an output named as a layer
def shared():
    x = tf.keras.Input((4,), name="x")
    dense = layers.Dense(4, name="y")
    return tf.keras.Model({"x": x}, {"y": dense(dense(x)), "x": x})

@builder("branches", inputs=spec)  # functions within functions, constants of the builder, a variable from elsewhere
def branches():
    table, outside = tf.constant([[1.0, 2.0, 3.0, 4.0]]), tf.Variable(tf.ones([4]), name="outside")
    words = tf.constant(["a", "b"])

    class Net(tf.Module):
        def __init__(self):
            super().__init__()
            self.w = tf.Variable(tf.zeros([4, 4]), name="w")

        def __call__(self, x):
            x = tf.cond(tf.reduce_sum(x) > 0, lambda: x @ self.w, lambda: x * outside)
            x = tf.while_loop(lambda i, y: i < 3, lambda i, y: (i + 1, y + table), (0, x))[1]
            first, second = tf.split(x, 2, axis=1)
            return {"a": second, "b": tf.gather(words, [0]), "c": first}

    return Net()

@builder("gathered", inputs=tf.TensorSpec([None], tf.int32, "x"))  # an output whose name is a constant's scope
def gathered():
    class Net(tf.Module):
        def __init__(self):
            super().__init__()
            self.rows = tf.constant([[1.0, 2.0], [3.0, 4.0]])

        def __call__(self, x):
            return {"rows": tf.gather(self.rows, x), "all": self.rows}

    return Net()

@builder("recurrent")
def recurrent():
    x = tf.keras.Input((None,), dtype="int32", name="tokens")
    y = layers.Bidirectional(layers.LSTM(3))(layers.Embedding(9, 4, mask_zero=True)(x))
    return tf.keras.Model(x, layers.BatchNormalization()(layers.Dense(2)(y)))

@builder("table", inputs=tf.TensorSpec([None], tf.string, "words"))
def table():
    return layers.StringLookup(vocabulary=["a", "b"])

def normal(node):  # an input's first output may be written either way, and is
    node.attr.pop("_output_shapes", None)
    for place, name in enumerate(node.input):
        node.input[place] = name.removesuffix(":0")
    return node.SerializeToString(deterministic=True)

said = {}
for registration in take_registrations():
    with create_without_weights(Reads([])):
        built = build_eagerly(registration, {})
        traced = trace("It", built)
    objects = walk_objects(built.root)
    forward = find_forward(traced, objects)
    ours, notes = inline(forward), describe_forward(forward)
    if ours is None:
        said[registration.name] = None
        continue
    flat = flatten(forward, objects)
    theirs = _draw(flat)
    for graph_def in (ours, theirs):  # what waits for what else may stand in any order
        ordered = sorted(graph_def.node, key=lambda n: n.name)
        del graph_def.node[:]
        graph_def.node.extend(ordered)
    shapes = [
        (n.name, [tf.TensorShape(s) for s in n.attr["_output_shapes"].list.shape],
         [tf.TensorShape(s) for s in m.attr["_output_shapes"].list.shape])
        for n, m in zip(ours.node, theirs.node)
    ]
    vague = [n for n, a, b in shapes if len(a) != len(b) or not all(t.is_subtype_of(u) for t, u in zip(a, b))]
    with tf.Graph().as_default():
        tf.graph_util.import_graph_def(ours, name="")
    said[registration.name] = {
        "names": [[n.name for n in g.node] for g in (ours, theirs)],
        "others": [n.name for n, m in zip(ours.node, theirs.node) if normal(n) != normal(m)],
        "vague": vague,
        "functions": [sorted(f.signature.name for f in g.library.function) for g in (ours, theirs)],
        "notes": [notes, flat.notes],
    }
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def said() -> dict[str, dict[str, list[list[str]]]]:
    pytest.importorskip("tensorflow")
    root = str(Path(__file__).parents[2])
    ended = subprocess.run(
        [sys.executable, "-c", _SCRIPT],
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return dict(json.loads(ended.stdout))


@pytest.mark.parametrize("model", ["shared", "branches", "gathered", "recurrent"])
def test_inlined_graph_is_the_flat_graph_cut_to_its_outputs(
    said: dict[str, dict[str, list[list[str]]]], model: str
) -> None:
    found = said[model]
    ours, theirs = found["names"]
    assert len(ours) >= 5
    assert ours == theirs
    assert found["others"] == []
    assert found["vague"] == []
    assert found["functions"][0] == found["functions"][1]
    assert found["notes"][0] == found["notes"][1]


def test_inlined_graph_with_functions_keeps_them(said: dict[str, dict[str, list[list[str]]]]) -> None:
    assert len(said["branches"]["functions"][0]) >= 4


def test_model_with_a_table_is_left_to_tensorflow(said: dict[str, dict[str, list[list[str]]]]) -> None:
    assert said["table"] is None
