"""What an export calls its variables: nothing that leads a client to another variable of the checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest
from exporting import open_exporter

from tb_ckptmeta.core.contents import OBJECT_GRAPH_KEY

tf = pytest.importorskip("tensorflow")

from tensorflow.core.protobuf import meta_graph_pb2, trackable_object_graph_pb2  # noqa: E402

# `w` and `Variable` are each the name of several variables, of one shape: also where an attribute path is just that.
_MODEL = """
import tensorflow as tf


class Inner(tf.Module):
    def __init__(self):
        super().__init__()
        self.w = tf.Variable(tf.random.normal([4, 4]), name="w")


class Outer(tf.Module):
    def __init__(self):
        super().__init__()
        self.w = tf.Variable(tf.random.normal([4, 4]), name="w")
        self.layers = [Inner(), Inner()]
        self.scale, self.shift = tf.Variable(tf.ones([4])), tf.Variable(tf.zeros([4]))
        self.alone = tf.Variable(tf.zeros([4]), name="alone")

    def __call__(self, x):
        for w in (self.w, *(layer.w for layer in self.layers)):
            x = x @ w
        return x * self.scale + self.shift + self.alone
"""
_BUILDER = """

from tb_ckptmeta import builder

builder("outer", checkpoints="*", inputs=tf.TensorSpec([None, 4], tf.float32, "x"))(Outer)
"""


def test_export_calls_no_variable_by_a_name_that_several_have(tmp_path: Path) -> None:
    builders = tmp_path / "my_builders.py"
    builders.write_text(_MODEL + _BUILDER, encoding="utf-8")
    module: dict[str, type] = {}
    exec(_MODEL, module)
    prefix = tf.train.Checkpoint(net=module["Outer"]()).write(str(tmp_path / "ckpt"))
    with open_exporter(builders) as exporter:
        exporter.export(prefix, tmp_path / "outer.meta")
    graph = trackable_object_graph_pb2.TrackableObjectGraph.FromString(
        tf.train.load_checkpoint(prefix).get_tensor(OBJECT_GRAPH_KEY)
    )
    # As OpenVINO finds a variable's value: by its node's name, in which a later one of that name replaces an earlier.
    by_name = {a.full_name: a.checkpoint_key for node in graph.nodes for a in node.attributes}
    restored = find_restored((tmp_path / "outer.meta").read_bytes())
    assert len(restored) == 6
    assert {name: by_name[name] for name in restored.keys() & by_name.keys()} == {"alone": restored["alone"]}
    assert {"layers/0/w", "layers/1/w", "scale", "shift"} <= restored.keys()


def find_restored(meta: bytes) -> dict[str, str]:
    """Return variable's node -> the key that the `.meta` restores it from."""
    nodes = {n.name: n for n in meta_graph_pb2.MetaGraphDef.FromString(meta).graph_def.node}
    keys = tf.make_ndarray(nodes["save/RestoreV2/tensor_names"].attr["value"].tensor)
    found = {}
    for name in nodes["save/restore_all"].input:
        handle, value = nodes[name.lstrip("^")].input
        index = nodes[value].input[0].partition(":")[2] or "0"
        found[handle] = keys[int(index)].decode()
    return found
