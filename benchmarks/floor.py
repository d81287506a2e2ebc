"""The floor of a rebuild: what TensorFlow itself takes, in one process that has imported it and goes on.

Started as `python -m benchmarks.floor`; for each line on its input, [BUILDER, ARGUMENTS] as JSON, it says how many
seconds it took to build that model of models.py without weights, to trace it, to inline the trace into a plain graph
with variables and to serialise that. Nothing is compared, described or written, no process is started, and Python's
garbage is collected in between.
"""

import gc
import json
import sys
import time

import tensorflow as tf

from benchmarks import models
from tb_ckptmeta.worker.build import Reads, create_without_weights

v1 = tf.compat.v1


def make_graph(name, arguments):
    """Return the serialised graph of a model."""
    with create_without_weights(Reads([])):
        model = getattr(models, name.replace("-", "_"))(**arguments)
        inputs = model.inputs[0]
        spec = tf.TensorSpec(inputs.shape, inputs.dtype, inputs.name)
        traced = tf.function(lambda x: model(x, training=False)).get_concrete_function(spec).graph
    inner = {id(variable.handle): variable for variable in traced.variables}
    captured = {placeholder.op.name: inner.get(id(outer), outer) for outer, placeholder in traced.captures}
    graph_def = traced.as_graph_def()
    kept = [node for node in graph_def.node if node.name not in captured]
    del graph_def.node[:]
    graph_def.node.extend(kept)
    with tf.Graph().as_default() as graph:
        stand_ins = {}
        for place, (name, outer) in enumerate(captured.items()):
            if isinstance(outer, tf.Variable):
                zeros = tf.zeros(outer.shape, outer.dtype)
                stand_ins[f"{name}:0"] = v1.Variable(zeros, name=f"variable_{place}", use_resource=True).handle
            else:
                stand_ins[f"{name}:0"] = tf.constant(outer.numpy())
        tf.graph_util.import_graph_def(graph_def, input_map=stand_ins, name="")
    return graph.as_graph_def().SerializeToString()


def measure(name, arguments):
    """Return the seconds of one model, its garbage apart."""
    gc.collect()
    gc.disable()
    began = time.perf_counter()
    made = make_graph(name, arguments)
    seconds = time.perf_counter() - began
    gc.enable()
    assert made
    tf.keras.backend.clear_session()
    return seconds


if __name__ == "__main__":
    make_graph("mlp", {})  # what the first one in a process costs
    print("ready", flush=True)
    for line in sys.stdin:
        print(measure(*json.loads(line)), flush=True)
