"""Who reads an exported .meta with the original checkpoint: one function a client, run by read.py without our code.

A client is called with the paths of the .meta and of the checkpoint and the inputs by signature name, and returns the
outputs by signature name.
"""

import pathlib
import tempfile

import numpy as np
import tensorflow as tf
from tensorflow.python.tools import freeze_graph

v1 = tf.compat.v1


def read_meta(meta):
    found = v1.MetaGraphDef()
    found.ParseFromString(pathlib.Path(meta).read_bytes())
    return found


def run_signature(session, signature, inputs):
    feeds = {info.name: find_input(name, signature, inputs) for name, info in signature.inputs.items()}
    return session.run({name: info.name for name, info in signature.outputs.items()}, feeds)


def find_input(name, signature, inputs):
    """Return what an input is fed: `*` is that of a model with one input, `*_values` a component of it."""
    if name in inputs:
        return inputs[name]
    if len(signature.inputs) == 1 and "*" in inputs:
        return inputs["*"]
    (found,) = [value for key, value in inputs.items() if key.startswith("*_") and name.endswith(key[1:])]
    return found


def read_by_import_meta_graph(meta, prefix, inputs):
    with tf.Graph().as_default(), v1.Session() as session:
        saver = v1.train.import_meta_graph(meta)
        if saver is not None:
            saver.restore(session, prefix)
        session.run(v1.tables_initializer())
        left = session.run(v1.report_uninitialized_variables())
        if left.size:
            session.run(v1.variables_initializer([v for v in v1.global_variables() if v.op.name.encode() in left]))
        return run_signature(session, read_meta(meta).signature_def["serving_default"], inputs)


def read_by_freeze_graph(meta, prefix, inputs):
    content = read_meta(meta)
    signature = content.signature_def["serving_default"]
    if not content.HasField("saver_def"):
        raise ValueError("there is no variable to freeze")
    nodes = [info.name.partition(":")[0] for info in signature.outputs.values()]
    # It keeps what its outputs need: an initializer of tables is one of them.
    initializers = [n.decode() for n in content.collection_def["table_initializer"].bytes_list.value]
    tables = list(content.collection_def["table_initializer"].node_list.value) + initializers
    with tempfile.TemporaryDirectory() as folder, tf.Graph().as_default():
        frozen = f"{folder}/frozen.pb"
        names = ",".join([*nodes, *tables])
        freeze_graph.freeze_graph_with_def_protos(
            None, None, prefix, names, None, None, frozen, True, "", input_meta_graph_def=content
        )
        graph_def = v1.GraphDef.FromString(pathlib.Path(frozen).read_bytes())
    with tf.Graph().as_default(), v1.Session() as session:
        tf.import_graph_def(graph_def, name="")
        if tables:
            session.run(tables)
        return run_signature(session, signature, inputs)


CLIENTS = {"import_meta_graph": read_by_import_meta_graph, "freeze_graph": read_by_freeze_graph}


def read_with_clients(row, meta, prefix):
    """Return client -> {"difference", "within"} or {"error"}.

    `row` holds "inputs" and "outputs" (files of the training script), "tolerance" and "random".
    """
    inputs, expected = dict(np.load(row["inputs"])), dict(np.load(row["outputs"]))
    outcomes = {}
    for client, read in CLIENTS.items():
        try:
            outcomes[client] = compare(read(meta, prefix, inputs), expected, row)
        except Exception as error:
            lines = str(error).strip().splitlines() or [""]
            outcomes[client] = {"error": f"{type(error).__name__}: {lines[0]}"}
    return outcomes


def compare(found, expected, row):
    """Return the largest difference of all outputs, and whether each is within the row's tolerance."""
    if set(found) != set(expected):
        raise ValueError(f"outputs {sorted(found)}, the training script has {sorted(expected)}")
    worst, within = 0.0, True
    for name, value in expected.items():
        actual = np.asarray(found[name])
        if actual.shape != value.shape:
            raise ValueError(f"output {name} is {actual.shape}, the training script has {value.shape}")
        if name in row["random"]:
            continue
        if value.dtype.kind not in "fc":
            same = np.array_equal(actual.astype(value.dtype), value)
            worst, within = (worst, within) if same else (float("inf"), False)
            continue
        difference = np.abs(actual.astype(np.complex128 if value.dtype.kind == "c" else np.float64) - value)
        difference = float(np.where(np.isnan(actual) & np.isnan(value), 0.0, difference).max(initial=0.0))
        bound = row["tolerance"] * max(1.0, float(np.nanmax(np.abs(value), initial=0.0)))
        worst, within = max(worst, difference), within and difference <= bound
    return {"difference": worst, "within": within}
