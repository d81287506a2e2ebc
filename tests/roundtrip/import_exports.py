"""Import exported MetaGraphDefs as somebody without the models' source would, and say how far their outputs are.

Usage: python import_exports.py REQUEST. REQUEST is a JSON file: {"inputs", "exports": [{"meta", "prefix",
"expected", "initialize"}…], "hidden": [module…]}. Prints {"foreign": [module…], "importable": [module…], "exports":
[{"restored", "frozen": max abs difference by output, "uninitialized": [variable…]}…]}.
"""

import importlib.util
import json
import pathlib
import sys
import tempfile

import numpy as np
import tensorflow as tf
from google.protobuf import text_format
from tensorflow.python.tools import freeze_graph

v1 = tf.compat.v1


def read(path):
    meta = v1.MetaGraphDef()
    if path.endswith(".pbtxt"):
        return text_format.Parse(pathlib.Path(path).read_text("ascii"), meta)
    meta.ParseFromString(pathlib.Path(path).read_bytes())
    return meta


def run(session, signature, image):
    (fed,) = [i.name for i in signature.inputs.values()]
    return session.run({name: o.name for name, o in signature.outputs.items()}, {fed: image})


def differences(found, expected):
    assert set(found) == set(expected), (sorted(found), sorted(expected))
    return {name: float(np.abs(found[name] - expected[name]).max()) for name in found}


def restore(export, image):
    with tf.Graph().as_default(), v1.Session() as session:
        saver = v1.train.import_meta_graph(export["meta"])
        if export["initialize"]:
            session.run(v1.global_variables_initializer())
        saver.restore(session, export["prefix"])
        left = [name.decode() for name in session.run(v1.report_uninitialized_variables())]
        return run(session, read(export["meta"]).signature_def["serving_default"], image), left


def freeze(export, image, folder):
    meta = read(export["meta"])
    signature = meta.signature_def["serving_default"]
    frozen = f"{folder}/frozen.pb"
    names = ",".join(o.name.partition(":")[0] for o in signature.outputs.values())
    with tf.Graph().as_default():
        freeze_graph.freeze_graph_with_def_protos(
            None, None, export["prefix"], names, None, None, frozen, True, "", input_meta_graph_def=meta
        )
    graph_def = v1.GraphDef.FromString(pathlib.Path(frozen).read_bytes())
    with tf.Graph().as_default(), v1.Session() as session:
        tf.import_graph_def(graph_def, name="")
        return run(session, signature, image)


request = json.loads(pathlib.Path(sys.argv[1]).read_text())
image = np.load(request["inputs"])
reports = []
for export in request["exports"]:
    expected = dict(np.load(export["expected"]))
    restored, left = restore(export, image)
    report = {"restored": differences(restored, expected), "uninitialized": left}
    if not export["initialize"]:
        with tempfile.TemporaryDirectory() as folder:
            report["frozen"] = differences(freeze(export, image, folder), expected)
    reports.append(report)
hidden = request["hidden"]
print(
    json.dumps(
        {
            "foreign": sorted(m for m in sys.modules if m.partition(".")[0] in ("tb_ckptmeta", *hidden)),
            "importable": [m for m in hidden if importlib.util.find_spec(m) is not None],
            "exports": reports,
        }
    )
)
