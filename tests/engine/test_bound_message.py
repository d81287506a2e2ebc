"""A message's fields are counted on the wire as they are in memory, and not beyond the bound."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorboard.compat.proto import graph_pb2, meta_graph_pb2

from tb_ckptmeta.engine.bound_message import count_fields, parse_bounded
from tb_ckptmeta.engine.sstable import MalformedError


def make_graph(nodes: list[tuple[str, list[str], dict[str, list[int]]]]) -> Any:
    graph = graph_pb2.GraphDef()
    for name, inputs, attributes in nodes:
        node = graph.node.add(name=name, input=inputs)
        for key, sizes in attributes.items():
            node.attr[key].shape.SetInParent()
            for size in sizes:
                node.attr[key].shape.dim.add(size=size)
    return graph


def count_in_memory(graph: Any) -> int:
    """One for each value that is written; an entry of a map is a message of a key and a value."""
    count = 0
    for node in graph.node:
        count += 1 + bool(node.name) + len(node.input)
        for value in node.attr.values():
            count += 4 + sum(1 + bool(d.size) for d in value.shape.dim)
    return count


TEXT = st.text("ab/", max_size=300)
ATTRIBUTES = st.dictionaries(TEXT, st.lists(st.integers(-1, 1 << 40), max_size=4), max_size=3)


@settings(deadline=None)
@given(st.lists(st.tuples(TEXT, st.lists(TEXT, max_size=3), ATTRIBUTES), max_size=6))
def test_fields_on_the_wire_are_those_in_memory(nodes: Any) -> None:
    graph = make_graph(nodes)
    data = graph.SerializeToString()
    assert count_fields(data, graph.DESCRIPTOR, 10**9) == count_in_memory(graph)


def test_counting_stops_beyond_the_bound() -> None:
    data = make_graph([("x", [], {})] * 1000).SerializeToString()
    assert 100 < count_fields(data, graph_pb2.GraphDef.DESCRIPTOR, 100) < 110


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_bytes_of_any_kind_are_counted_or_refused(data: bytes) -> None:
    try:
        counted = count_fields(data, meta_graph_pb2.MetaGraphDef.DESCRIPTOR, 1000)
    except MalformedError:
        return
    assert counted <= len(data)


def test_message_within_the_bound_is_parsed_whatever_its_size() -> None:
    graph = graph_pb2.GraphDef()
    graph.node.add(name="large").attr["value"].tensor.tensor_content = b"x" * 3_000_000
    assert parse_bounded(graph_pb2.GraphDef, graph.SerializeToString(), 100) == graph
    with pytest.raises(MalformedError, match="more than 3 fields"):
        parse_bounded(graph_pb2.GraphDef, graph.SerializeToString(), 3)
