"""Draw what a checkpoint holds, a tree without operations, for the Graphs dashboard. Runs in the caller's process."""

from __future__ import annotations

from tensorboard.compat.proto import graph_pb2

from tb_ckptmeta.core.contents import Contents
from tb_ckptmeta.core.tree import make_tree
from tb_ckptmeta.engine.display import Drawing, describe_variable, draw
from tb_ckptmeta.engine.node_names import NodeNames


def draw_contents(name: str, contents: Contents) -> Drawing:
    """Draw the tree: its groups are scopes, its variables nodes without edges."""
    tree = make_tree(contents, name)
    graph_def = graph_pb2.GraphDef()
    names = NodeNames()
    for variable in tree.root.walk():
        if variable.key is not None:
            node = graph_def.node.add(name=names.claim(variable.path), op="Variable")
            describe_variable(node, variable.key, contents)
            if variable.bookkeeping:
                node.attr["bookkeeping"].b = True
    root = tree.root
    totals = {"variables": str(root.variables), "parameters": str(root.parameters), "bytes": str(root.bytes)}
    left_out = {"not_shown": f"{tree.left_out} more variables"} if tree.left_out else {}
    return draw(graph_def, {**totals, **left_out})
