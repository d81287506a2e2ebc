"""Put the weights into the graph itself, as constants. Runs in the worker."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import tensorflow as tf

v1 = tf.compat.v1

TABLES = "init_all_tables"
"""The operation of a frozen graph that fills its tables, where it has some: `tf.compat.v1.tables_initializer`'s."""


def freeze(meta_graph: Any, prefix: str, initialize: bool, names: Iterable[str]) -> Any:
    """Return the GraphDef of a MetaGraphDef with its variables restored from `prefix` and made constants.

    `initialize`: run the initializers first, for variables that nothing restores. `names`: operations to keep, with
    all that they need.
    """
    with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
        saver = v1.train.import_meta_graph(meta_graph)
        if initialize:
            session.run(v1.global_variables_initializer())
        if saver is not None:
            saver.restore(session, prefix)
        kept = list(dict.fromkeys(names))
        tables = v1.get_collection(v1.GraphKeys.TABLE_INITIALIZERS)
        if tables:
            kept.append(tf.group(*tables, name=TABLES).name)
        return v1.graph_util.convert_variables_to_constants(session, graph.as_graph_def(add_shapes=False), kept)
