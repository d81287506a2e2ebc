"""The conceptual graph of op graphs: real ones of Keras 3, tf_keras and TF1, small ones, and hostile ones."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest
from drawings import assert_parsable, attributes, drawn
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorboard.compat.proto import graph_pb2

from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.engine.conceptual_scopes import graph_from_scopes


@pytest.fixture
def op_graph(zoos: dict[str, dict[str, Any]]) -> Callable[[str, str], graph_pb2.GraphDef]:
    def load(flavour: str, key: str) -> graph_pb2.GraphDef:
        return graph_pb2.GraphDef.FromString(base64.b64decode(zoos[flavour]["graphs"][key]))

    return load


def ops(*lines: str) -> graph_pb2.GraphDef:
    """Build a graph from lines of `name = Op input input ...`."""
    graph = graph_pb2.GraphDef()
    for line in lines:
        name, _, right = line.partition(" = ")
        op, *inputs = right.split()
        graph.node.add(name=name, op=op, input=inputs)
    return graph


RESIDUAL = ops(
    "x = Placeholder",
    "net/a/w = VarHandleOp",
    "net/a/MatMul/ReadVariableOp = ReadVariableOp net/a/w",
    "net/a/MatMul = MatMul x net/a/MatMul/ReadVariableOp",
    "net/a/Relu = Relu net/a/MatMul:0 ^net/b/MatMul",
    "net/scale = Mul net/a/Relu net/two",
    "net/two = Const",
    "net/b/w = VarHandleOp",
    "net/b/MatMul = MatMul net/scale net/b/w",
    "net/add = AddV2 net/scale net/b/MatMul",
    "out/MatMul = MatMul net/add",
    "Identity = Identity out/MatMul",
)


def test_scopes_of_residual_net_keep_the_join_and_contract_the_rest() -> None:
    assert drawn(graph_from_scopes(RESIDUAL, {"net/a": "Dense"})) == {
        "x": ("Placeholder",),
        "net/a": ("Dense", "x"),
        "net/b": ("Scope", "net/a"),
        "net/add": ("AddV2", "net/a", "net/b"),
        "out": ("Scope", "net/add"),
    }


def test_scopes_node_tells_what_it_computes() -> None:
    graph = graph_from_scopes(RESIDUAL, {})
    assert attributes(graph, "net/a") == {"ops": "3", "op_types": "MatMul, Relu"}


def test_scopes_class_without_classes_beneath_takes_in_all_below() -> None:
    graph = ops("net/a/x/Mul = Mul", "net/a/y/z/Add = Add net/a/x/Mul", "net/b/q/Mul = Mul net/a/y/z/Add")
    assert drawn(graph_from_scopes(graph, {"net": "Net", "net/a": "Attention", "net/b/q": "Dense"})) == {
        "net/a": ("Attention",),
        "net/b/q": ("Dense", "net/a"),
    }


def test_scopes_layer_that_only_holds_a_variable_is_a_node() -> None:
    graph = ops(
        "net/e/table = VarHandleOp",
        "net/e/read = ReadVariableOp net/e/table",
        "net/d/m = MatMul net/e/read",
    )
    assert drawn(graph_from_scopes(graph, {"net/e": "Embedding"})) == {
        "net/e": ("Embedding",),
        "net/d": ("Scope", "net/e"),
    }
    assert drawn(graph_from_scopes(graph, {})) == {"net/d": ("Scope",)}


def test_scopes_loop_of_ops_is_drawn_once() -> None:
    graph = ops(
        "a/Enter = Mul",
        "Merge = Merge a/Enter Next",
        "Next = NextIteration Merge",
        "b/Body = Mul Merge",
        "c/Exit = Mul b/Body Merge",
    )
    assert drawn(graph_from_scopes(graph, {})) == {
        "a": ("Scope",),
        "b": ("Scope", "a"),
        "c": ("Scope", "b", "a"),
    }


def test_scopes_saver_outside_all_scopes_leaves_other_ops_alone() -> None:
    graph = ops("SaveV2 = SaveV2", "a/m = Mul", "b/m = Mul", "add = AddV2 a/m b/m", "c/m = Mul add")
    assert drawn(graph_from_scopes(graph, {}))["add"] == ("AddV2", "a", "b")


def test_scopes_placeholder_named_as_a_scope_gets_a_name_of_its_own() -> None:
    graph = ops("x = Placeholder", "x/Mul = Mul x", "y/Mul = Mul x/Mul x")
    assert drawn(graph_from_scopes(graph, {})) == {
        "x": ("Placeholder",),
        "x_1": ("Scope", "x"),
        "y": ("Scope", "x_1", "x"),
    }


@pytest.mark.parametrize("graph", [ops(), ops("x = Placeholder", "MatMul = MatMul x"), ops("a/w = Const")])
def test_scopes_of_graph_without_scopes_raises_unsupported(graph: graph_pb2.GraphDef) -> None:
    with pytest.raises(CkptMetaError, match="no name scopes") as caught:
        graph_from_scopes(graph, {})
    assert caught.value.code is Code.UNSUPPORTED_MODEL


def test_scopes_of_ten_thousand_levels_are_cut() -> None:
    graph = graph_from_scopes(ops("a/" * 10_000 + "Mul = Mul"), {})
    assert [node.name.count("/") for node in graph.node] == [63]


def test_scopes_of_real_keras_3_model_give_its_layers(
    op_graph: Callable[[str, str], graph_pb2.GraphDef],
) -> None:
    classes = {"net_1": "Net", "net_1/conv_1": "Conv2D", "net_1/bn_1": "BatchNormalization"}
    assert drawn(graph_from_scopes(op_graph("3", "subclassed"), classes)) == {
        "image": ("Placeholder",),
        "net_1/conv_1": ("Conv2D", "image"),
        "net_1/bn_1": ("BatchNormalization", "net_1/conv_1"),
        "net_1/branch_1": ("Scope", "net_1/bn_1"),
        "net_1/add": ("AddV2", "net_1/bn_1", "net_1/branch_1"),
        "net_1/head_1": ("Scope", "net_1/add"),
    }


def test_scopes_placeholder_keeps_its_dtype_and_shape(
    op_graph: Callable[[str, str], graph_pb2.GraphDef],
) -> None:
    nodes = {node.name: node for node in graph_from_scopes(op_graph("3", "subclassed"), {}).node}
    assert [d.size for d in nodes["image"].attr["shape"].shape.dim] == [-1, 8, 8, 3]
    assert nodes["image"].attr["dtype"].type == 1  # float32
    assert not nodes["net_1/add"].attr


def test_scopes_of_real_tf_keras_model_give_its_layers(
    op_graph: Callable[[str, str], graph_pb2.GraphDef],
) -> None:
    assert drawn(graph_from_scopes(op_graph("legacy", "subclassed"), {})) == {
        "image": ("Placeholder",),
        "net/conv": ("Scope", "image"),
        "net/bn": ("Scope", "net/conv"),
        "net/branch": ("Scope", "net/bn"),
        "net/add": ("AddV2", "net/bn", "net/branch"),
        "net/head": ("Scope", "net/add"),
    }


def test_scopes_of_real_tf1_graph_leave_out_initializers_and_saver(
    op_graph: Callable[[str, str], graph_pb2.GraphDef],
) -> None:
    assert drawn(graph_from_scopes(op_graph("legacy", "scoped"), {})) == {
        "input_pl": ("Placeholder",),
        "net/features/dense1": ("Scope", "input_pl"),
        "net/dense2": ("Scope", "net/features/dense1"),
    }


def deep_net(ops: int) -> graph_pb2.GraphDef:
    graph = graph_pb2.GraphDef()
    for i in range(ops):
        layer = i // 10
        node = graph.node.add(name=f"net/block_{layer // 20}/layer_{layer}/op_{i % 10}", op="MatMul")
        node.input.extend(graph.node[j].name for j in (i - 1, i - 5) if j >= 0)
    return graph


def test_scopes_of_many_ops_draw_equal() -> None:
    graph = deep_net(20_000)
    drawings = [graph_from_scopes(graph, {}) for _ in range(2)]
    assert len(drawings[0].node) == 2_000
    assert len({drawing.SerializeToString(deterministic=True) for drawing in drawings}) == 1


def test_scopes_of_twice_the_ops_take_twice_the_work(count_lines: Callable[[Callable[[], object]], int]) -> None:
    small, large = deep_net(2_000), deep_net(4_000)
    assert count_lines(lambda: graph_from_scopes(large, {})) < 2.3 * count_lines(lambda: graph_from_scopes(small, {}))


OP_NAMES = st.sampled_from(
    [
        "x",
        "a",
        "a/b",
        "a/c",
        "a/b/c",
        "b/Initializer/d",
        "save/s",
        "a//b",
        "/",
        "",
        "_x",
        "toString",
        "c/é",
        "c/d e",
    ]
)
OP_KINDS = st.sampled_from(["Mul", "Const", "Placeholder", "Identity", "SaveV2", "Merge", "toString", "", "é"])
INPUTS = st.lists(st.builds(lambda n, s: n + s, OP_NAMES, st.sampled_from(["", ":1", ":o:0"])), max_size=3)


@settings(max_examples=400, deadline=None)
@given(
    st.lists(st.tuples(OP_NAMES, OP_KINDS, INPUTS), max_size=15),
    st.dictionaries(OP_NAMES, st.sampled_from(["Dense", "", "é"]), max_size=3),
)
def test_scopes_of_any_graph_give_a_parsable_graph_or_unsupported(
    nodes: list[tuple[str, str, list[str]]], classes: dict[str, str]
) -> None:
    graph = graph_pb2.GraphDef()
    for name, op, inputs in nodes:
        graph.node.add(name=name, op=op, input=inputs)
    try:
        scopes = graph_from_scopes(graph, classes)
    except CkptMetaError as error:
        assert error.code is Code.UNSUPPORTED_MODEL  # noqa: PT017 - either outcome is lawful
    else:
        assert_parsable(scopes)
