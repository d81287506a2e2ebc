"""What the tests read of a drawn graph. Shared by the tests of what draws one."""

from __future__ import annotations

from tensorboard.compat.proto import graph_pb2

Drawn = dict[str, tuple[str, ...]]


def drawn(graph: graph_pb2.GraphDef) -> Drawn:
    """Nodes by name: (op, input, input, ...)."""
    nodes = {node.name: (node.op, *node.input) for node in graph.node}
    assert len(nodes) == len(graph.node)
    return nodes


def attributes(graph: graph_pb2.GraphDef, name: str) -> dict[str, str]:
    (node,) = [node for node in graph.node if node.name == name]
    return {key: value.s.decode("ascii") for key, value in node.attr.items()}


def assert_parsable(graph: graph_pb2.GraphDef) -> None:
    """Check what TensorBoard's line-based parser relies on."""
    names = {node.name for node in graph.node}
    assert len(names) == len(graph.node)
    for node in graph.node:
        assert node.op not in ("", "toString", "constructor", "__proto__")
        assert node.name not in ("toString", "constructor", "__proto__")
        assert node.name.isascii()
        assert not set(node.name) & set(' :^"\\\n{}()')
        assert node.name[0] not in "_-/"
        assert "//" not in node.name
        assert node.name not in node.input
        assert len(set(node.input)) == len(node.input)
        assert set(node.input) <= names
    assert str(graph).isascii()
    graph_pb2.GraphDef.FromString(graph.SerializeToString())
