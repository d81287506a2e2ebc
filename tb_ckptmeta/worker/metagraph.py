"""Write a flat graph as a MetaGraphDef that restores from the original checkpoint. Runs in the worker."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import tensorflow as tf
from google.protobuf import text_format

from tb_ckptmeta.worker.flatten import Flat

v1 = tf.compat.v1

PROVENANCE = "tb_ckptmeta"
"""The collection that says where a MetaGraphDef comes from, as JSON."""


def make_metagraph(flat: Flat, binding: Mapping[int, str], provenance: Mapping[str, Any]) -> Any:
    """Return the MetaGraphDef.

    `binding` maps a variable's index to the checkpoint key that its `saver_def` restores it from; the others keep
    their initializers. Signature `serving_default`, tag `serve` (tensorflow/core/protobuf/meta_graph.proto).
    """
    with flat.graph.as_default():
        restored = {key: flat.variables[i] for i, key in binding.items() if i in flat.variables}
        saver = v1.train.Saver(dict(sorted(restored.items()))) if restored else None
        meta_graph = v1.train.export_meta_graph(
            graph=flat.graph,
            # Of a graph alone TensorFlow makes this node by node, in the square of their number.
            graph_def=flat.graph.as_graph_def(),
            saver_def=saver.as_saver_def() if saver is not None else None,
            strip_default_attrs=True,
            clear_devices=True,
        )
        signature = v1.saved_model.build_signature_def(
            {name: v1.saved_model.build_tensor_info(t) for name, t in flat.inputs.items()},
            {name: v1.saved_model.build_tensor_info(t) for name, t in flat.outputs.items()},
            "tensorflow/serving/predict",
        )
    if not meta_graph.graph_def.library.function:
        meta_graph.graph_def.ClearField("library")
    meta_graph.signature_def["serving_default"].CopyFrom(signature)
    del meta_graph.meta_info_def.tags[:]
    meta_graph.meta_info_def.tags.append("serve")
    text = json.dumps(provenance, sort_keys=True, separators=(",", ":"))
    meta_graph.collection_def[PROVENANCE].bytes_list.value.append(text.encode("utf-8"))
    return meta_graph


def as_text(meta_graph: Any) -> bytes:
    """Return a MetaGraphDef as protobuf text, the entries of its maps in order."""
    ordered = v1.MetaGraphDef()
    ordered.ParseFromString(meta_graph.SerializeToString(deterministic=True))
    meta_graph = ordered
    text: str = text_format.MessageToString(meta_graph, as_utf8=False)
    return text.encode("ascii")
