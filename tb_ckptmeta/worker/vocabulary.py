"""Put the vocabulary of a file into the graph, so that an export needs no file. Runs in the worker."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import tensorflow as tf

from tb_ckptmeta.core.errors import CkptMetaError, Code

v1 = tf.compat.v1

FROM_FILE = ("InitializeTableFromTextFileV2", "InitializeTableFromTextFile")
MOST_BYTES = 256 << 20
"""A GraphDef holds less than 2 GB."""


def read_vocabulary(attributes: Any, file: bytes, key_dtype: Any, value_dtype: Any) -> tuple[Any, Any]:
    """Return the keys and values that TensorFlow itself makes of a vocabulary file, in the order of the keys.

    `attributes` are those of the initializer's node.

    Raises:
        CkptMetaError: UNSUPPORTED_MODEL for a file that is gone, or too large to stand in a graph.
    """
    name = os.fsdecode(file)
    try:
        with tf.io.gfile.GFile(name, "rb") as opened:
            size = opened.size()
            opened.read(1)  # what TensorFlow's own operations read below, worker.watch does not notice
    except tf.errors.OpError as error:
        raise CkptMetaError(
            Code.UNSUPPORTED_MODEL,
            f"The model reads a vocabulary from {name}, which cannot be read ({error.message}). Put the file where "
            "the builder says it is.",
        ) from error
    if size > MOST_BYTES:
        raise CkptMetaError(
            Code.UNSUPPORTED_MODEL,
            f"The model reads a vocabulary of {size >> 20} MB from {name}; a graph can hold at most "
            f"{MOST_BYTES >> 20} MB of one.",
        )
    with tf.Graph().as_default(), v1.Session() as session:
        table = tf.raw_ops.HashTableV2(key_dtype=key_dtype, value_dtype=value_dtype)
        session.run(
            tf.raw_ops.InitializeTableFromTextFileV2(
                table_handle=table,
                filename=name,
                key_index=attributes["key_index"].i,
                value_index=attributes["value_index"].i,
                vocab_size=attributes["vocab_size"].i if "vocab_size" in attributes else -1,
                delimiter=attributes["delimiter"].s.decode() if "delimiter" in attributes else "\t",
                offset=attributes["offset"].i if "offset" in attributes else 0,
            )
        )
        keys, values = session.run(
            tf.raw_ops.LookupTableExportV2(table_handle=table, Tkeys=key_dtype, Tvalues=value_dtype)
        )
    order = np.argsort(keys)
    return keys[order], values[order]


def describe_vocabulary(file: bytes, keys: Any) -> str:
    """Return the note that a vocabulary came along."""
    return (
        f"The vocabulary of {os.path.basename(os.fsdecode(file))} ({len(keys)} entries) stands in the graph: an export "
        "needs no file."
    )


def replace_in_graph_def(graph_def: Any, files: dict[str, bytes], key_dtype: Any, value_dtype: Any) -> list[str]:
    """Let initializers that read a file take constants instead; `files`: node -> the file name it holds.

    Returns notes.
    """
    notes = []
    for node in list(graph_def.node):
        if node.op not in FROM_FILE:
            continue
        source = node.input[1].partition(":")[0]
        file = files.get(source)
        if file is None:
            continue
        keys, values = read_vocabulary(node.attr, file, key_dtype, value_dtype)
        for part, array, dtype in (("keys", keys, key_dtype), ("values", values, value_dtype)):
            constant = graph_def.node.add()
            constant.name, constant.op = f"{node.name}/{part}", "Const"
            constant.attr["dtype"].type = tf.as_dtype(dtype).as_datatype_enum
            constant.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(array, dtype))
        node.op = "InitializeTableV2"
        controls = [i for i in node.input if i.startswith("^")]
        table = node.input[0]
        del node.input[:]
        node.input.extend([table, f"{node.name}/keys", f"{node.name}/values", *controls])
        node.attr.clear()
        node.attr["Tkey"].type = tf.as_dtype(key_dtype).as_datatype_enum
        node.attr["Tval"].type = tf.as_dtype(value_dtype).as_datatype_enum
        notes.append(describe_vocabulary(file, keys))
    return notes


def replace_in_graph(graph: Any) -> list[str]:
    """Give the tables of a `tf.Graph` that are initialized from a file an initializer that is not; returns notes."""
    initializers = graph.get_collection_ref(v1.GraphKeys.TABLE_INITIALIZERS)
    notes = []
    for place, initializer in enumerate(list(initializers)):
        if getattr(initializer, "type", None) not in FROM_FILE:
            continue
        table, name = list(initializer.inputs)
        file = tf.get_static_value(name)
        if file is None:
            continue
        file = file if isinstance(file, bytes) else bytes(np.asarray(file).item())
        key_dtype, value_dtype = table.op.get_attr("key_dtype"), table.op.get_attr("value_dtype")
        keys, values = read_vocabulary(initializer.node_def.attr, file, key_dtype, value_dtype)
        with graph.as_default(), tf.name_scope(f"{initializer.name}_of_constants/"):
            initializers[place] = tf.raw_ops.InitializeTableV2(
                table_handle=table, keys=tf.constant(keys, key_dtype), values=tf.constant(values, value_dtype)
            )
        notes.append(describe_vocabulary(file, keys))
    if notes:
        del graph.get_collection_ref(v1.GraphKeys.ASSET_FILEPATHS)[:]
    return notes
