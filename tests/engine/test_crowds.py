"""Scopes with too many parts, divided."""

from __future__ import annotations

import tracemalloc
from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.compat.proto import graph_pb2

from tb_ckptmeta.engine import crowds
from tb_ckptmeta.engine.crowds import MOST_PARTS, Divided
from tb_ckptmeta.engine.node_table import tabulate


def make_graph(names: list[str]) -> graph_pb2.GraphDef:
    """A chain of nodes, each also controlled by the first, and placed with the one before it."""
    graph = graph_pb2.GraphDef()
    for i, name in enumerate(names):
        node = graph.node.add(name=name, op="Add")
        if i:
            node.input.extend([f"{names[i - 1]}:0", f"^{names[0]}"])
            node.attr["_class"].list.s.append(f"loc:@{names[i - 1]}".encode())
    return graph


def divide_crowds(graph: graph_pb2.GraphDef, most: int = MOST_PARTS) -> Divided:
    """Divide the scopes of a graph, in its table, and put that in its place."""
    table = tabulate(graph)
    divided = crowds.divide_crowds(table, most)
    graph.ParseFromString(table.serialize())
    return divided


def count_parts(names: list[str]) -> dict[str, int]:
    parts = defaultdict(set)
    for name in names:
        segments = name.split("/")
        for i in range(len(segments)):
            parts["/".join(segments[:i])].add(segments[i])
    return {scope: len(own) for scope, own in parts.items()}


NAMES = st.lists(
    st.lists(st.sampled_from(["a", "b", "c", "d", "part_1_of_2", "x/", "x"]), min_size=1, max_size=4).map("/".join),
    min_size=1,
    max_size=60,
    unique=True,
)


@given(NAMES)
def test_divided_graph_has_no_crowd_and_the_same_edges(names: list[str]) -> None:
    graph = make_graph(names)
    divided = divide_crowds(graph, most=3)
    crowded = divided.crowded
    new = [node.name for node in graph.node]
    assert len(set(new)) == len(names)
    assert max(count_parts(new).values()) <= 3
    assert (new == names) == (not crowded)
    assert set(crowded) == {scope for scope, count in count_parts(names).items() if count > 3}
    assert set(divided.outermost) == {name.partition("/")[0] for name in new}
    for i, node in enumerate(graph.node):
        if i:
            assert list(node.input) == [f"{new[i - 1]}:0", f"^{new[0]}"]
            assert list(node.attr["_class"].list.s) == [f"loc:@{new[i - 1]}".encode()]


def test_divided_scope_keeps_neighbours_and_what_lies_below_together() -> None:
    names = [f"net/layer_{i}/{op}" for i in range(1200) for op in ("MatMul", "Add")] + ["net/layer_7"]
    graph = make_graph(names)
    assert divide_crowds(graph).crowded == ["net"]
    new = [node.name for node in graph.node]
    assert new[:2] == ["net/part_1_of_3/layer_0/MatMul", "net/part_1_of_3/layer_0/Add"]
    assert new[2 * 1199] == "net/part_3_of_3/layer_1199/MatMul"
    assert new[-1] == "net/part_1_of_3/layer_7"


def test_graph_of_no_crowd_stays_as_it_is() -> None:
    graph = make_graph([f"op_{i}" for i in range(1000)])
    before = graph.SerializeToString(deterministic=True)
    assert divide_crowds(graph).crowded == []
    assert graph.SerializeToString(deterministic=True) == before


def test_very_many_parts_are_divided_twice() -> None:
    graph = make_graph([f"op_{i}" for i in range(30)])
    divide_crowds(graph, most=4)
    names = [node.name for node in graph.node]
    assert max(count_parts(names).values()) <= 4
    assert len({name.rpartition("/")[0] for name in names}) == 8


def test_scope_of_thousands_of_scopes_and_a_place_that_is_no_text_are_divided() -> None:
    graph = make_graph([*(f"op_{i}" for i in range(5)), "/".join(["s"] * 3000)])
    graph.node[1].attr["_class"].list.s[0] = b"loc:@\xff"
    divide_crowds(graph, most=4)
    assert graph.node[1].attr["_class"].list.s[0].endswith(b"\xff")
    assert graph.node[5].name.count("/") == 3000


@pytest.mark.parametrize("count", [3, 1500])
def test_function_body_is_divided_by_itself(count: int) -> None:
    graph = make_graph(["call"])
    function = graph.library.function.add()
    function.signature.name = "body"
    function.signature.input_arg.add(name="x")
    function.ret["y"] = f"op_{count - 1}:z:0"
    function.control_ret["done"] = "op_0"
    for i in range(count):
        function.node_def.add(name=f"op_{i}", op="Add", input=["x", f"op_{i - 1}:z:0" if i else "x"])
    crowded = divide_crowds(graph).crowded
    assert crowded == (["body"] if count > 1000 else [])
    (function,) = graph.library.function
    last, before = function.node_def[-1], function.node_def[-2]
    assert list(last.input) == ["x", f"{before.name}:z:0"]
    assert function.ret["y"] == f"{last.name}:z:0"
    assert function.control_ret["done"] == function.node_def[0].name
    assert last.name == ("op_2" if count == 3 else "part_3_of_3/op_1499")


def test_what_refers_to_no_node_stays_as_it_is() -> None:
    graph = make_graph([f"op_{i}" for i in range(5)])
    graph.node[1].input.extend(["other", "^other/op_1", "op_1/x:0"])
    graph.node[1].attr["_class"].list.s[:] = [b"loc:@op_1/x"]
    divide_crowds(graph, most=4)
    assert list(graph.node[1].input[2:]) == ["other", "^other/op_1", "op_1/x:0"]
    assert list(graph.node[1].attr["_class"].list.s) == [b"loc:@op_1/x"]


def test_argument_of_a_function_that_is_called_as_a_scope_stays_as_it_is() -> None:
    graph = make_graph(["call"])
    function = graph.library.function.add()
    function.signature.name = "body"
    function.signature.input_arg.add(name="x")
    for name in ("x/a", "b", "c", "d"):
        function.node_def.add(name=name, op="Add", input=["x", "x/a:z:0"])
    divide_crowds(graph, most=3)
    first, *others = graph.library.function[0].node_def
    assert first.name == "part_1_of_2/x/a"
    assert {tuple(node.input) for node in (first, *others)} == {("x", "part_1_of_2/x/a:z:0")}


def test_inputs_of_thousands_of_slashes_take_no_more_memory_than_others() -> None:
    graph = make_graph([f"op_{i}" for i in range(5)])
    graph.node[1].input.append("/" * 10_000)
    graph.node[1].attr["_class"].list.s.append(b"loc:@" + b"/" * 10_000)
    table = tabulate(graph)
    tracemalloc.start()
    try:
        crowds.divide_crowds(table, 4)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20


def test_places_among_others_are_renamed() -> None:
    graph = make_graph([f"op_{i}" for i in range(5)])
    graph.node[1].attr["_class"].list.s[:] = [b"loc:@op_4", b"op_4", b"loc:@op_0"]
    divide_crowds(graph, most=4)
    new = [node.name.encode() for node in graph.node]
    assert list(graph.node[1].attr["_class"].list.s) == [b"loc:@" + new[4], b"op_4", b"loc:@" + new[0]]
