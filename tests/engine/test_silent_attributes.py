"""What a graph's attributes say in vain, and what they do not."""

from __future__ import annotations

from typing import Any

from tensorboard.compat.proto import graph_pb2

from tb_ckptmeta.engine.node_table import parse_rest, tabulate
from tb_ckptmeta.engine.silent_attributes import MOST_CONSTANT_BYTES, drop_silent, drop_uncalled


def drop(graph: Any) -> list[set[str]]:
    """Return the attributes that stay, of the graph's nodes; a function's body has to keep the same."""
    graph.library.function.add().node_def.extend(graph.node)
    table = tabulate(graph)
    before = table.serialize()
    said = drop_silent(table)
    assert table.serialize() == before
    left = [set(parse_rest(rest).attr) for *_, rest in said.nodes]
    assert [set(node.attr) for node in said.other.library.function[0].node_def] == left
    return left


def test_empty_attributes_are_dropped_and_others_stay() -> None:
    graph = graph_pb2.GraphDef()
    for name in ("a", "b"):
        node = graph.node.add(name=name, op="Op")
        node.attr["container"].s = b""
        node.attr["names"].list.SetInParent()
        node.attr["debug_name"].s = b"said already"
        node.attr["zero"].i = 0
        node.attr["off"].b = False
        node.attr["said"].s = b"something"
        node.attr["sizes"].list.i.append(0)
    assert drop(graph) == [{"zero", "off", "said", "sizes"}] * 2


def test_attribute_that_is_empty_in_one_node_stays_in_another_of_the_same_operation() -> None:
    graph = graph_pb2.GraphDef()
    for name, container in (("a", b""), ("b", b"full")):
        graph.node.add(name=name, op="Op").attr["container"].s = container
    assert drop(graph) == [set(), {"container"}]


def test_place_is_dropped_where_it_is_the_node_itself() -> None:
    graph = graph_pb2.GraphDef()
    for name in ("a", "b"):
        graph.node.add(name=name, op="Op").attr["_class"].list.s.append(b"loc:@b")
    assert drop(graph) == [{"_class"}, set()]


def test_large_constant_says_that_its_value_was_left_out() -> None:
    graph = graph_pb2.GraphDef()
    for name, size in (("small", MOST_CONSTANT_BYTES // 2), ("large", 2 * MOST_CONSTANT_BYTES)):
        graph.node.add(name=name, op="Const").attr["value"].tensor.tensor_content = b"x" * size
    assert drop(graph) == [{"value"}, {"_too_large_attrs"}]


def test_functions_stay_that_something_calls() -> None:
    graph = graph_pb2.GraphDef()
    for name in ("called", "called_by_it", "passed", "gradient"):
        graph.library.function.add().signature.name = name
    graph.library.function[0].node_def.add(name="x", op="called_by_it")
    graph.node.add(name="a", op="called")
    graph.node.add(name="b", op="While").attr["body"].func.name = "passed"
    graph.library.gradient.add(function_name="called", gradient_func="gradient")
    table = tabulate(graph)
    left = drop_uncalled(table).other.library
    assert [f.signature.name for f in left.function] == ["called", "called_by_it", "passed"]
    assert not left.gradient
    assert len(table.other.library.function) == 4
