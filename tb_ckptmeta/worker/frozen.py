"""Put the weights into the graph itself, as constants. Runs in the worker."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import tensorflow as tf

from tb_ckptmeta.core.errors import CkptMetaError, Code

v1 = tf.compat.v1

TABLES = "init_all_tables"
"""The operation of a frozen graph that fills its tables, where it has some: `tf.compat.v1.tables_initializer`'s."""

_ASSIGNS = re.compile(
    r"Assign(Add|Sub)?(VariableOp)?|Resource(Scatter|Apply|SparseApply)\w+|ResourceStridedSliceAssign"
    r"|Scatter(Nd)?(Add|Sub|Mul|Div|Min|Max|Update)"
)
_MOST_NAMED = 5


def freeze(meta_graph: Any, prefix: str, initialize: bool, names: Iterable[str]) -> Any:
    """Return the GraphDef of a MetaGraphDef with its variables restored from `prefix` and made constants.

    `initialize`: run the initializers first, for variables that nothing restores. `names`: operations to keep, with
    all that they need.

    Raises:
        CkptMetaError: FORMAT_LIMIT for a model that changes its variables when it is called.
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
        graph_def = graph.as_graph_def(add_shapes=False)
        _require_constant(graph_def, kept)
        return v1.graph_util.convert_variables_to_constants(session, graph_def, kept)


def _require_constant(graph_def: Any, kept: list[str]) -> None:
    needed = v1.graph_util.extract_sub_graph(graph_def, kept)
    functions = {function.signature.name: function for function in needed.library.function}

    def assigns(name: str, seen: set[str]) -> bool:
        if name in seen or name not in functions:
            return False
        seen.add(name)
        nodes = functions[name].node_def
        return any(_ASSIGNS.fullmatch(n.op) or any(assigns(f, seen) for f in _list_functions(n)) for n in nodes)

    # Those that are assigned to in a loop or a branch are told by that.
    found = [n.input[0].partition(":")[0] for n in needed.node if _ASSIGNS.fullmatch(n.op)]
    found += [f"in {n.name}" for n in needed.node if any(assigns(f, set()) for f in _list_functions(n))]
    assigned = list(dict.fromkeys(found))
    if assigned:
        more = f" and {len(assigned) - _MOST_NAMED} more" if len(assigned) > _MOST_NAMED else ""
        raise CkptMetaError(
            Code.FORMAT_LIMIT,
            f"The model changes variables when it is called ({', '.join(assigned[:_MOST_NAMED])}{more}), and this "
            "format has constants alone. Formats that hold variables: metagraph, saved_model, checkpoint.",
        )


def _list_functions(node: Any) -> list[str]:
    """Return the functions that a node calls."""
    values = node.attr.values()
    return [f.name for value in values for f in (value.func, *value.list.func) if f.name] + [node.op]
