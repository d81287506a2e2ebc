"""Draw what a checkpoint holds, a tree without operations, for the Graphs dashboard. Runs in the caller's process."""

from __future__ import annotations

from tensorboard.compat.proto import node_def_pb2

from tb_ckptmeta.core.contents import Contents
from tb_ckptmeta.core.tree import make_tree
from tb_ckptmeta.engine.attribute_fields import set_attributes
from tb_ckptmeta.engine.display import Drawing, draw
from tb_ckptmeta.engine.node_names import NodeNames
from tb_ckptmeta.engine.node_table import Node, NodeTable, make_node
from tb_ckptmeta.engine.stored_attributes import StoredAttributes


def draw_contents(name: str, contents: Contents) -> Drawing:
    """Draw the tree: its groups are scopes, its variables nodes without edges."""
    tree = make_tree(contents, name)
    bookkeeping = node_def_pb2.NodeDef()
    bookkeeping.attr["bookkeeping"].b = True
    marks = {False: (), True: make_node(bookkeeping)[3]}
    names, attributes = NodeNames(), StoredAttributes(contents)
    nodes: list[Node] = []
    for variable in tree.root.walk():
        if variable.key is not None:
            rest = set_attributes(attributes.write(variable.key), marks[variable.bookkeeping])
            nodes.append((names.claim(variable.path), "Variable", (), rest))
    root = tree.root
    totals = {"variables": str(root.variables), "parameters": str(root.parameters), "bytes": str(root.bytes)}
    left_out = {"not_shown": f"{tree.left_out} more variables"} if tree.left_out else {}
    return draw(NodeTable(nodes), {**totals, **left_out})
