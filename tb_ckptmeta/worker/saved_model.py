"""Write a MetaGraphDef as the SavedModel's own file. Runs in the worker."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tb_ckptmeta.worker.flatten import Flat, list_parts
from tb_ckptmeta.worker.tensorflow_private import SavedModel

v1 = tf.compat.v1

VARIABLES = "variables/variables"
"""The prefix of a SavedModel's checkpoint, below its folder."""

_INIT = "__saved_model_init_op"
"""The signature, and its only output, that name what a loader runs once it has restored.

Source: tensorflow/cc/saved_model/constants.h.
"""


def add_initializer(flat: Flat, restored: set[int]) -> str | None:
    """Add the operation that a loader runs after the restore, for tables and variables that nothing restores."""
    with flat.graph.as_default():
        tables = v1.get_collection(v1.GraphKeys.TABLE_INITIALIZERS)
        left = [v for i, v in sorted(flat.variables.items()) if i not in restored]
        variables = [part.initializer for v in left for part in list_parts(v)]
        if not tables and not variables:
            return None
        return str(tf.group(*variables, *tables, name="ckptmeta_init").name)


def make_saved_model(meta_graph: Any, initializer: str | None) -> Any:
    """Return the content of `saved_model.pb` (tensorflow/core/protobuf/saved_model.proto)."""
    saved_model = SavedModel(saved_model_schema_version=1)
    saved = saved_model.meta_graphs.add()
    saved.CopyFrom(meta_graph)
    if initializer is not None:
        saved.signature_def[_INIT].outputs[_INIT].name = initializer
    return saved_model
