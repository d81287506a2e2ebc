"""A `.meta` and a `saved_model.pb` are read as messages: what they say, and what is no such file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tensorboard.compat.proto import function_pb2, graph_pb2, meta_graph_pb2, types_pb2

from tb_ckptmeta.core.contents import Contents
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.engine import inline_functions, parsed_graph, restored
from tb_ckptmeta.engine.display import draw_op_graph
from tb_ckptmeta.engine.node_table import make_message
from tb_ckptmeta.engine.parsed_graph import Graph, parse_metagraph, parse_saved_model, read_source_file

Write = Callable[[Any], str]


def read_metagraph(path: str) -> Graph:
    return parse_metagraph(read_source_file(path), path)


def read_saved_model(path: str) -> Graph:
    return parse_saved_model(read_source_file(path), path)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_message(message: Any) -> str:
        path = tmp_path / "model.meta"
        path.write_bytes(message if isinstance(message, bytes) else message.SerializeToString())
        return str(path)

    return write_message


def wrap(meta: Any) -> bytes:
    """A SavedModel of one MetaGraphDef."""
    data = meta.SerializeToString()
    length, size = b"", len(data)
    while size > 127:
        length += bytes([size & 127 | 128])
        size >>= 7
    return b"\x08\x01\x12" + length + bytes([size]) + data


def make_graph(saver: bool = True) -> Any:
    """Two variables, of which the output reads the first; the Saver restores it from another name."""
    meta = meta_graph_pb2.MetaGraphDef()
    graph = meta.graph_def
    for name in ("w", "unused"):
        node = graph.node.add(name=name, op="VarHandleOp")
        node.attr["dtype"].type = types_pb2.DT_FLOAT
        node.attr["shape"].shape.dim.add(size=3)
    graph.node.add(name="read", op="ReadVariableOp", input=["w"])
    graph.node.add(name="y", op="Relu", input=["read"])
    for name, texts in (("names", [b"stored/w"]), ("slices", [b""])):
        tensor = graph.node.add(name=name, op="Const").attr["value"].tensor
        tensor.string_val.extend(texts)
    graph.node.add(name="prefix", op="Const")
    graph.node.add(name="restore", op="RestoreV2", input=["prefix", "names", "slices"])
    graph.node.add(name="same", op="Identity", input=["restore"])
    graph.node.add(name="assign", op="AssignVariableOp", input=["w", "same"])
    graph.node.add(name="all", op="NoOp", input=["^assign"])
    if saver:
        meta.saver_def.restore_op_name = "all"
    meta.signature_def["serving_default"].outputs["y"].name = "y:0"
    return meta


def make_calls(*bodies: tuple[str, list[str]]) -> Any:
    """A graph that calls the first of some functions, each of which calls what it lists."""
    meta = make_graph()
    for name, called in bodies:
        function = function_pb2.FunctionDef()
        function.signature.name = name
        function.signature.output_arg.add(name="y")
        for i, other in enumerate(called):
            node = function.node_def.add(name=f"call{i}", op="StatefulPartitionedCall")
            node.attr["f"].func.name = other
        function.node_def.add(name="leaf", op="Const")
        function.ret["y"] = "leaf:output:0"
        meta.graph_def.library.function.append(function)
    node = meta.graph_def.node.add(name="call", op="StatefulPartitionedCall")
    node.attr["f"].func.name = bodies[0][0]
    return meta


def test_metagraph_names_a_variable_by_what_its_restore_operation_reads(write: Write) -> None:
    read = read_metagraph(write(make_graph()))
    (variable,) = read.rebuilt.variables
    assert (variable.name, variable.parts, variable.shape, variable.read) == ("stored/w", ("w",), (3,), True)
    assert "its own restore operation says" in read.rebuilt.notes[0]


def test_metagraph_without_a_saver_goes_by_the_variables_names(write: Write) -> None:
    read = read_metagraph(write(make_graph(saver=False)))
    assert [v.name for v in read.rebuilt.variables] == ["w"]
    assert "compared by their names" in read.rebuilt.notes[0]


def test_names_that_a_restore_operation_reads_are_read_once_for_all_variables(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    meta = make_graph()
    nodes = {node.name: node for node in meta.graph_def.node}
    nodes["names"].attr["value"].tensor.string_val[:] = [f"stored/{i}".encode() for i in range(50)]
    for i in range(1, 50):
        for name, op, inputs in (
            (f"w{i}", "VarHandleOp", []),
            (f"same{i}", "Identity", [f"restore:{i}"]),
            (f"assign{i}", "AssignVariableOp", [f"w{i}", f"same{i}"]),
        ):
            meta.graph_def.node.add(name=name, op=op, input=inputs)
        nodes["all"].input.append(f"^assign{i}")
    parsed = []
    monkeypatch.setattr(restored, "make_message", lambda node: parsed.append(node[0]) or make_message(node))
    read = read_metagraph(write(meta))
    assert {v.name for v in read.rebuilt.variables} == {f"stored/{i}" for i in range(50)}
    assert sorted(parsed) == ["names", "slices"]


def test_numbers_of_thousands_of_digits_are_none(write: Write) -> None:
    meta = make_graph()
    nodes = {node.name: node for node in meta.graph_def.node}
    nodes["restore"].input[0] = "prefix:" + "9" * 5000
    nodes["slices"].attr["value"].tensor.string_val[0] = b"9" * 5000 + b" 1 0,1"
    read_metagraph(write(meta))


def test_graph_in_very_many_parts_is_refused(write: Write) -> None:
    with pytest.raises(CkptMetaError, match="more than 100 parts"):
        read_metagraph(write(b"\x12\x00" * 101))
    with pytest.raises(CkptMetaError, match="more than 100 MetaGraphDefs"):
        read_saved_model(write(b"\x12\x00" * 101))


def test_metagraph_drops_the_values_of_large_constants_alone(write: Write) -> None:
    meta = make_graph()
    meta.graph_def.node.add(name="large", op="Const").attr["value"].tensor.tensor_content = b"x" * 3_000_000
    graph = graph_pb2.GraphDef.FromString(read_metagraph(write(meta)).table.serialize())
    attributes = {n.name: set(n.attr) for n in graph.node}
    assert attributes["large"] == {"_too_large_attrs"}
    assert attributes["names"] == {"value"}


def test_saved_model_puts_functions_in_the_place_of_their_calls(write: Write) -> None:
    meta = make_calls(("outer", ["inner"]), ("inner", []))
    meta.signature_def["serving_default"].outputs["z"].name = "call:0"
    read = read_saved_model(write(wrap(meta)))
    graph = graph_pb2.GraphDef.FromString(read.table.serialize())
    assert {n.name for n in graph.node} == {"w", "read", "y", "call/leaf"}
    assert not graph.library.function


def test_saved_model_whose_functions_call_themselves_is_refused(write: Write) -> None:
    path = write(wrap(make_calls(("f", ["f"]))))
    with pytest.raises(CkptMetaError, match="call each other more than 64 deep") as caught:
        read_saved_model(path)
    assert caught.value.code is Code.SOURCE_UNREADABLE


def test_saved_model_whose_functions_double_at_each_call_is_refused(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inline_functions, "MOST_NODES", 2000)
    bodies = [(f"f{i}", [f"f{i + 1}"] * 2) for i in range(30)]
    path = write(wrap(make_calls(*bodies, ("f30", []))))
    with pytest.raises(CkptMetaError, match="more than 2000 operations"):
        read_saved_model(path)


@pytest.mark.parametrize("read", [read_metagraph, read_saved_model])
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"garbage",
        b"\x12" * 3_000_000,
        b"\x0b" * 3_000_000,
        b"\x12\xff\xff\xff\xff\x0f",
        b"\x0a\x02\x0a\x00",
        bytes(range(256)) * 40,
    ],
)
def test_file_that_is_no_graph_is_refused(write: Write, read: Any, content: bytes) -> None:
    with pytest.raises(CkptMetaError) as caught:
        read(write(content))
    assert caught.value.code is Code.SOURCE_UNREADABLE
    assert "model.meta" in caught.value.message


def test_file_with_a_name_that_no_model_has_is_refused(write: Write) -> None:
    graph = make_graph()
    graph.graph_def.node.add(name="/".join(["a"] * 1001), op="NoOp")
    with pytest.raises(CkptMetaError, match="name has more than 2000 characters") as caught:
        read_metagraph(write(graph))
    assert caught.value.code is Code.SOURCE_UNREADABLE


@pytest.mark.parametrize(
    ("name", "names", "shown"),
    [
        ("{}" + "/x" * 995, 40, False),
        ("{}" + "/x" * 995, 10, True),
        ("{}" + "/" * 20, 4000, False),  # short ones, which take more than their letters
        ("{}" + "/" * 20, 1000, True),
        ("{}\N{SMILING FACE WITH SUNGLASSES}" + "/x" * 900, 10, False),  # one letter makes all of four bytes
        ("a/b/c/d/e/f/{}", 100_000, True),  # the same scopes count once
    ],
)
def test_names_in_very_many_scopes_are_refused_where_those_would_fill_the_memory(
    write: Write, monkeypatch: pytest.MonkeyPatch, name: str, names: int, shown: bool
) -> None:
    monkeypatch.setattr(parsed_graph, "_MOST_SCOPE_BYTES", 20 << 20)
    graph = make_graph()
    for number in range(names):
        graph.graph_def.node.add(name=name.format(number), op="NoOp")
    if shown:
        assert read_metagraph(write(graph)).table.nodes
        return
    with pytest.raises(CkptMetaError, match="its scopes would take more than 20 MiB") as caught:
        read_metagraph(write(graph))
    assert caught.value.code is Code.SOURCE_UNREADABLE


def test_scopes_of_calls_that_are_put_in_place_count_too(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parsed_graph, "_MOST_SCOPE_BYTES", 500)
    with pytest.raises(CkptMetaError, match="its scopes would take more than"):
        read_saved_model(write(wrap(make_calls(("a", ["b"]), ("b", [])))))


def test_fields_that_protobuf_alone_reads_are_no_defect(write: Write) -> None:
    """Groups, which nobody writes any more, in what is parsed by protobuf."""
    group = b"\xa3\x06\xa4\x06"
    meta = make_calls(("a", []))
    meta.graph_def.library.function[0].node_def[0].MergeFromString(group)
    assert read_saved_model(write(wrap(meta))).table.nodes
    assert draw_op_graph(*read_metagraph(write(meta))[:2], Contents("name", {})).names
    meta.graph_def.node[0].MergeFromString(group)
    assert read_saved_model(write(wrap(meta))).table.nodes
    with pytest.raises(CkptMetaError, match="a field of no kind that is written"):
        read_metagraph(write(meta))


def test_variable_of_an_empty_device_has_its_shape(write: Write) -> None:
    meta = make_graph()
    (node,) = [n for n in meta.graph_def.node if n.name == "w"]
    meta.graph_def.node.remove(node)
    data = node.SerializeToString() + b"\x22\x00"
    graph = meta.graph_def.SerializeToString() + b"\x0a" + bytes([len(data)]) + data
    meta.ClearField("graph_def")
    size = len(graph)
    read = read_metagraph(write(meta.SerializeToString() + b"\x12" + bytes([size & 127 | 128, size >> 7]) + graph))
    assert [v.shape for v in read.rebuilt.variables] == [(3,)]
    assert draw_op_graph(read.rebuilt, read.table, Contents("name", {})).names


def test_file_that_is_too_large_is_refused(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(make_graph())
    monkeypatch.setattr(parsed_graph, "MOST_BYTES", 100)
    with pytest.raises(CkptMetaError, match="larger than") as caught:
        read_metagraph(path)
    assert caught.value.code is Code.SOURCE_UNREADABLE


@pytest.mark.parametrize(
    "field",
    [
        b"\x0a\x00",  # operations
        b"\x12\x00",  # the function library, over and over
        b"\x0a\x08\x2a\x06\x0a\x00\x12\x02\x0a\x00",  # attributes: lists
    ],
)
def test_small_file_that_would_be_large_in_memory_is_not_parsed(
    write: Write, monkeypatch: pytest.MonkeyPatch, field: bytes
) -> None:
    monkeypatch.setattr(parsed_graph, "_MOST_FIELDS", 100_000)
    body = field * (3_000_000 // len(field))
    size = len(body)
    length = bytes([size & 127 | 128, size >> 7 & 127 | 128, size >> 14 & 127 | 128, size >> 21])
    with pytest.raises(CkptMetaError, match="it has more than 100000 fields"):
        read_metagraph(write(b"\x12" + length + body))


def test_graph_with_more_operations_than_anybody_looks_at_is_refused(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parsed_graph, "MOST_NODES", 5)
    with pytest.raises(CkptMetaError, match="more than 5 operations"):
        read_metagraph(write(make_graph()))


def test_restore_operation_that_waits_for_itself_ends(write: Write) -> None:
    meta = make_graph()
    for node in meta.graph_def.node:
        if node.name == "same":
            node.input[:] = ["same"]
    assert [v.name for v in read_metagraph(write(meta)).rebuilt.variables] == ["w"]
