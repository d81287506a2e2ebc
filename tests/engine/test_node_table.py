"""A graph's table says what its messages say, however the graph is written; its text is protobuf's own."""

from __future__ import annotations

import random
import tracemalloc
from typing import Any

import pytest
from google.protobuf import text_format
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorboard.compat.proto import graph_pb2, node_def_pb2

from tb_ckptmeta.core.contents import Contents
from tb_ckptmeta.core.rebuilt import ModelVariable, Rebuilt
from tb_ckptmeta.engine.bound_message import count_fields
from tb_ckptmeta.engine.display import draw_op_graph
from tb_ckptmeta.engine.graph_text import write_text
from tb_ckptmeta.engine.node_table import (
    make_message,
    make_node,
    read_graph,
    read_nodes,
    tabulate,
    write_again,
)
from tb_ckptmeta.engine.silent_attributes import drop_values
from tb_ckptmeta.engine.sstable import MalformedError
from tb_ckptmeta.engine.wire import encode_varint

TEXT = st.one_of(st.text("ab/_", max_size=6), st.text(max_size=6), st.text("n", min_size=120, max_size=300))
VALUE = st.one_of(st.binary(max_size=5), st.integers(-(1 << 63), (1 << 63) - 1), st.floats(width=32), st.booleans())
LAYOUT = st.tuples(TEXT, TEXT, st.lists(TEXT, max_size=3), TEXT, st.dictionaries(TEXT.filter(bool), VALUE, max_size=3))


def build_node(name: str, op: str, inputs: list[str], device: str, attributes: dict[str, Any]) -> Any:
    node = node_def_pb2.NodeDef(name=name, op=op, input=inputs, device=device)
    for key, value in attributes.items():
        field = {bytes: "s", int: "i", float: "f", bool: "b"}[type(value)]
        setattr(node.attr[key], field, value)
    return node


GRAPH = st.lists(LAYOUT, max_size=5).map(lambda nodes: graph_pb2.GraphDef(node=[build_node(*n) for n in nodes]))


def text_of(graph: Any) -> bytes:
    return text_format.MessageToString(graph).encode("ascii", "backslashreplace")


def write_field(number: int, data: bytes) -> bytes:
    """A field that has a length, of less than 128 bytes."""
    return bytes([number << 3 | 2, len(data)]) + data


@settings(deadline=None)
@given(GRAPH)
def test_table_says_what_the_messages_say(graph: Any) -> None:
    graph.versions.producer = 7
    graph.library.function.add().signature.name = "f"
    table = tabulate(graph)
    assert [make_message(node) for node in table.nodes] == list(graph.node)
    assert graph_pb2.GraphDef(node=map(make_message, table.nodes), **fields_of(table.other)) == graph
    assert graph_pb2.GraphDef.FromString(table.serialize()) == graph
    assert list(map(make_node, map(make_message, table.nodes))) == table.nodes


def fields_of(message: Any) -> dict[str, Any]:
    return {field.name: value for field, value in message.ListFields()}


@settings(deadline=None)
@given(GRAPH)
def test_text_says_what_the_messages_say(graph: Any) -> None:
    graph.versions.producer = 7
    text = b"".join(write_text(tabulate(graph)))
    assert text.isascii()
    if str(graph).isascii():  # else it is for the dashboard alone
        assert text_format.Parse(text, graph_pb2.GraphDef()) == graph


@settings(deadline=None)
@given(GRAPH)
def test_text_is_that_of_protobuf_attributes_in_order(graph: Any) -> None:
    for node in graph.node:
        for value in node.attr.values():
            value.ClearField("f")  # protobuf's two writers differ
    assert b"".join(write_text(tabulate(graph))) == text_of(graph)


def test_text_of_more_nodes_than_are_written_at_once_is_that_of_protobuf() -> None:
    graph = graph_pb2.GraphDef()
    for i in range(2500):
        node = graph.node.add(
            name=f"scope/op_{i}" if i != 1700 else "scope/öp", op="Add", input=[f"op_{i - 1}"] * (i % 3)
        )
        node.attr["T"].type = 1
        node.attr["value"].tensor.tensor_content = bytes([i % 7, 10, 34, 200])
    parts = list(write_text(tabulate(graph)))
    assert len(parts) > 3
    assert b"".join(parts) == text_of(graph)


@settings(deadline=None)
@given(GRAPH)
def test_fields_are_counted_as_they_are_on_the_wire(graph: Any) -> None:
    data = graph.SerializeToString()
    fields = count_fields(data, graph.DESCRIPTOR, 1 << 30)
    assert len(read_nodes(data, fields).nodes) == len(graph.node)
    if fields:
        with pytest.raises(MalformedError, match=f"more than {fields - 1} fields"):
            read_nodes(data, fields - 1)


@settings(deadline=None)
@given(GRAPH, st.randoms())
def test_fields_in_any_order_are_read_as_protobuf_reads_them(graph: Any, order: random.Random) -> None:
    """Of a field that is written twice the last counts, and what a later one says of a message is added to it."""
    written = []
    for node in graph.node:
        fields = [write_field(1, node.name.encode()[:100]), write_field(2, b"Add"), write_field(1, b"again")]
        fields += [write_field(3, text.encode()[:100]) for text in node.input if text.isascii()]
        fields += [b"\x38\x05", write_field(5, write_field(1, b"T") + write_field(2, b"\x30\x01"))]
        order.shuffle(fields)
        written.append(write_field(1, b"".join(fields)[:127]))
    written.append(write_field(4, b"\x08\x07"))
    order.shuffle(written)
    data = b"".join(written)
    try:
        expected = graph_pb2.GraphDef.FromString(data)
    except Exception:
        with pytest.raises(MalformedError):
            read_nodes(data)
        return
    expected.DiscardUnknownFields()
    table = read_nodes(data)
    assert [make_message(node) for node in table.nodes] == list(expected.node)
    assert table.other.versions == expected.versions


@settings(deadline=None)
@given(st.binary(max_size=60), GRAPH, st.integers(0, 400))
def test_bytes_of_any_kind_are_read_or_refused_as_protobuf_does(garbage: bytes, graph: Any, at: int) -> None:
    data = graph.SerializeToString()
    for changed in (garbage, data[:at], data[:at] + garbage + data[at:], data[:at] + data[at + 1 :]):
        try:
            table = read_nodes(changed, 10_000, 10_000)
        except MalformedError:
            continue
        expected = graph_pb2.GraphDef.FromString(changed)
        expected.DiscardUnknownFields()
        assert [make_message(node) for node in table.nodes] == list(expected.node)


def test_node_of_a_tag_that_is_written_long_is_a_node() -> None:
    node = write_field(1, b"a") + write_field(2, b"Add")
    data = write_field(1, node) + b"\x8a\x00" + bytes([len(node)]) + node
    table = read_nodes(data)
    assert [make_message(n) for n in table.nodes] == list(graph_pb2.GraphDef.FromString(data).node)
    assert len(table.nodes) == 2
    with pytest.raises(MalformedError, match="more than 1 operations"):
        read_nodes(data, most_nodes=1)


def test_fields_that_nobody_knows_are_left_out() -> None:
    """As in protobuf's own text. An entry of a map with such a field in it is one itself, and no attribute."""
    head = write_field(1, b"a") + write_field(2, b"Add")
    known = write_field(5, write_field(1, b"T") + write_field(2, b"\x30\x01"))
    entry = write_field(5, write_field(1, b"T") + write_field(2, b"") + b"\x48\x01")
    for unknown in (b"\x09loc:@abc", b"\xf8\x06\x05", b"\x0d1234", entry, write_field(5, b"\x48\x01"), b"\x22\x00"):
        for data in (head + known + unknown, head + unknown + known, unknown + head + known):
            (node,) = read_nodes(write_field(1, data)).nodes
            expected = node_def_pb2.NodeDef.FromString(data)
            assert len(expected.attr) == 1
            expected.DiscardUnknownFields()
            assert node == make_node(expected)
    assert read_nodes(write_field(1, head + entry)).nodes == [("a", "Add", (), ())]


@pytest.mark.parametrize(
    "data",
    [
        b"\x8a\x80\x80\x80\x80\x00\x08\x0a\x01a\x12\x03Add",  # a node's tag in six bytes
        b"\x0a\x88\x80\x80\x80\x80\x00\x0a\x01a\x12\x03Add",  # its length
        b"\x0a\x0d\x0a\x81\x80\x80\x80\x80\x00a\x12\x03Add",  # that of its name
        b"\x0a\x0d\x0a\x01a\x12\x83\x80\x80\x80\x80\x00Add",
        b"\x0a\x11\x0a\x01a\x12\x03Add\x1a\x81\x80\x80\x80\x80\x00b",
        b"\x0a\x08\x0a\x01a\x12\x03Add\x02\x00",  # a field of number 0
        b"\x0a\x08\x0a\x01a\x12\x03Add\xf8\xff\xff\xff\x1f\x00",  # of a number beyond the last
    ],
)
def test_numbers_that_protobuf_does_not_read_are_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        graph_pb2.GraphDef.FromString(data)
    with pytest.raises(MalformedError):
        read_nodes(data)


def test_tags_and_lengths_of_five_bytes_are_read() -> None:
    data = b"\x8a\x80\x80\x80\x00\x8c\x80\x80\x80\x00\x0a\x81\x80\x80\x80\x00a\x12\x03Add"
    assert [make_message(node) for node in read_nodes(data).nodes] == list(graph_pb2.GraphDef.FromString(data).node)


def test_fields_beside_the_nodes_are_counted_as_they_are_read_and_take_no_memory_each() -> None:
    node = write_field(1, write_field(1, b"a") + write_field(2, b"Add"))
    other = b"\x12\x00" * 200_000
    tracemalloc.start()
    try:
        _, apart = read_graph(node + other, 300_000, 10)
        with pytest.raises(MalformedError, match="more than 100000 fields"):
            read_graph(node + other, 100_000, 10)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(apart) == 1
    assert peak < 10 * len(other)


def test_messages_too_deep_in_one_another_for_a_graph_are_refused() -> None:
    """Each function in an attribute is three messages deeper; protobuf reads a hundred."""
    usual = []
    for depth in range(25, 40):
        graph = graph_pb2.GraphDef()
        value = graph.node.add(name="a", op="Op").attr["f"]
        for _ in range(depth):
            value = value.func.attr["f"]
        value.shape.dim.add(size=1)
        data = graph.SerializeToString()
        try:
            graph_pb2.GraphDef.FromString(data)
        except DecodeError:
            for refused in (data, write_unusually(graph)):
                with pytest.raises(MalformedError):
                    read_nodes(refused, 10_000)
            assert usual
            return
        usual.append(depth)
        assert read_nodes(data, 10_000) == read_nodes(write_unusually(graph), 10_000)
    raise AssertionError("no depth was refused")


def write_unusually(graph: Any) -> bytes:
    """The graph with the name of its one node after all else."""
    (node,) = graph.node
    head = node_def_pb2.NodeDef(name=node.name).SerializeToString()
    rest = type(node)()
    rest.CopyFrom(node)
    rest.ClearField("name")
    data = rest.SerializeToString() + head
    return b"\x0a" + encode_varint(len(data)) + data


def test_drawing_leaves_the_table_as_it_was() -> None:
    graph = graph_pb2.GraphDef(node=[node_def_pb2.NodeDef(name=f"v{i}", op="VarHandleOp") for i in range(1001)])
    for node in graph.node:
        node.attr["container"].s = b""
    graph.library.function.add().signature.name = "uncalled"
    table = tabulate(graph)
    before = table.serialize()
    variable = ModelVariable("v3", (2,), "float32", True, True, ())
    drawing = draw_op_graph(Rebuilt((variable,), None, {}, ""), table, Contents("name", {}))
    assert drawing.facts["divided_for_display"] == ["(the outermost)"]
    assert table.serialize() == before


def test_too_many_operations_are_refused_and_inputs_of_one_before_they_are_read() -> None:
    graph = graph_pb2.GraphDef(node=[node_def_pb2.NodeDef(name="a", op="Add")] * 6)
    assert len(read_nodes(graph.SerializeToString(), most_nodes=6).nodes) == 6
    with pytest.raises(MalformedError, match="more than 5 operations"):
        read_nodes(graph.SerializeToString(), most_nodes=5)
    many = graph_pb2.GraphDef(node=[node_def_pb2.NodeDef(name="a", op="Add", input=[""] * 1000)])
    with pytest.raises(MalformedError, match="more than 100 fields"):
        read_nodes(many.SerializeToString(), most_fields=100)


def test_the_same_graph_is_the_same_bytes_however_its_attributes_are_written() -> None:
    attributes = [write_field(5, write_field(1, key) + write_field(2, b"\x30\x01")) for key in (b"T", b"U", b"V")]
    head = write_field(1, b"a") + write_field(2, b"Add")
    graphs = [write_field(1, head + b"".join(order)) for order in (attributes, attributes[::-1])]
    assert graphs[0] != graphs[1]
    assert read_nodes(graphs[0]).serialize() == read_nodes(graphs[1]).serialize() == graphs[0]


@settings(deadline=None)
@given(GRAPH, st.lists(st.integers(0, 8), max_size=8))
def test_graph_is_written_again_with_what_has_changed_of_its_long_nodes(graph: Any, order: list[int]) -> None:
    parts = []
    for node in graph.node:
        data = node.SerializeToString()
        parts.append(b"\x0a" + encode_varint(len(data)) + data)
    for size in (900, 1100, 5000):
        constant = node_def_pb2.NodeDef(name=f"c{size}", op="Const")
        constant.attr["value"].tensor.tensor_content = b"\xff" * size
        data = constant.SerializeToString()
        parts.append(b"\x0a" + encode_varint(len(data)) + data)
    parts.append(graph_pb2.GraphDef(versions={"producer": 7}).SerializeToString())
    library = graph_pb2.GraphDef()
    library.library.function.add().signature.name = "f"
    parts.append(library.SerializeToString())
    for place in order:
        parts.append(parts.pop(place % len(parts)))
    data = b"".join(parts)
    table, apart = read_graph(data, 10_000, 10_000)
    assert graph_pb2.GraphDef.FromString(write_again(table, data, apart)) == graph_pb2.GraphDef.FromString(data)
    drop_values(table)
    written = write_again(table, data, apart)
    assert b"\xff" * 1100 not in written
    assert graph_pb2.GraphDef.FromString(written) == graph_pb2.GraphDef.FromString(table.serialize())


@pytest.mark.parametrize("count", [999, 1000, 1001, 3000])
def test_node_of_very_many_attributes_is_read_as_protobuf_reads_it(count: int) -> None:
    graph = graph_pb2.GraphDef()
    node = graph.node.add(name="a", op="Op")
    for i in range(count):
        node.attr[f"attribute_{i}"].i = i
    table = read_nodes(graph.SerializeToString(), 1_000_000)
    assert [make_message(n) for n in table.nodes] == list(graph.node)
    assert len(table.nodes[0][3]) == count
