"""The conceptual graph of Keras models: real ones of Keras 3 and tf_keras, and hostile configurations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from drawings import Drawn, assert_parsable, drawn
from hypothesis import example, given, settings
from hypothesis import strategies as st
from keras_configs import dense, functional, sequential, tensor
from tensorboard.compat.proto import graph_pb2

from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.engine.conceptual_keras import graph_from_keras_config

EXPECTED: dict[str, Drawn] = {
    "sequential": {
        "mlp/x": ("InputLayer",),
        "mlp/hidden": ("Dense", "mlp/x"),
        "mlp/drop": ("Dropout", "mlp/hidden"),
        "mlp/out": ("Dense", "mlp/drop"),
    },
    "sequential without input": {
        "seq/inner/d1": ("Dense",),
        "seq/d2": ("Dense", "seq/inner/d1"),
    },
    "shared": {
        "siamese/a": ("InputLayer",),
        "siamese/b": ("InputLayer",),
        "siamese/shared": ("Dense", "siamese/a", "siamese/b"),
        "siamese/cat": ("Concatenate", "siamese/shared"),
        "siamese/o1": ("Dense", "siamese/cat"),
        "siamese/o2": ("Dense", "siamese/cat"),
    },
    "nested": {
        "outer/a": ("InputLayer",),
        "outer/b": ("InputLayer",),
        "outer/inner/p": ("InputLayer", "outer/a"),
        "outer/inner/q": ("InputLayer", "outer/b"),
        "outer/inner/add": ("Add", "outer/inner/p", "outer/inner/q"),
        "outer/inner/sub": ("Subtract", "outer/inner/p", "outer/inner/q"),
        "outer/from_sub": ("Dense", "outer/inner/sub"),
        "outer/from_add": ("Dense", "outer/inner/add"),
    },
    "nested twice": {
        "outer/a": ("InputLayer",),
        "outer/b": ("InputLayer",),
        "outer/inner/p": ("InputLayer", "outer/a", "outer/inner/sub"),
        "outer/inner/q": ("InputLayer", "outer/b", "outer/inner/add"),
        "outer/inner/add": ("Add", "outer/inner/p", "outer/inner/q"),
        "outer/inner/sub": ("Subtract", "outer/inner/p", "outer/inner/q"),
    },
    "dicts": {
        "mapping/x": ("InputLayer",),
        "mapping/y": ("InputLayer",),
        "mapping/m": ("Multiply", "mapping/x", "mapping/y"),
        "mapping/s": ("Add", "mapping/x", "mapping/y"),
    },
    "nested dicts": {
        "outer/a": ("InputLayer",),
        "outer/b": ("InputLayer",),
        "outer/mapping/x": ("InputLayer", "outer/b"),
        "outer/mapping/y": ("InputLayer", "outer/a"),
        "outer/mapping/m": ("Multiply", "outer/mapping/x", "outer/mapping/y"),
        "outer/mapping/s": ("Add", "outer/mapping/x", "outer/mapping/y"),
        "outer/head": ("Dense", "outer/mapping/m"),
    },
    "functional in sequential": {
        "seq/x": ("InputLayer",),
        "seq/func/fi": ("InputLayer", "seq/x"),
        "seq/func/fd": ("Dense", "seq/func/fi"),
        "seq/last": ("Dense", "seq/func/fd"),
    },
    "sequential in functional": {
        "outer/i": ("InputLayer",),
        "outer/chain/si": ("InputLayer", "outer/i"),
        "outer/chain/s1": ("Dense", "outer/chain/si"),
        "outer/chain/s2": ("Dense", "outer/chain/s1"),
        "outer/top": ("Dense", "outer/chain/s2"),
    },
    "input as output": {
        "outer/o": ("InputLayer",),
        "outer/passing/i": ("InputLayer", "outer/o"),
        "outer/passing/d": ("Dense", "outer/passing/i"),
        "outer/add": ("Add", "outer/passing/i", "outer/passing/d"),
    },
    "attention": {
        "att/q": ("InputLayer",),
        "att/k": ("InputLayer",),
        "att/mha": ("MultiHeadAttention", "att/q", "att/k"),
    },
    "wrappers": {
        "rnn/q": ("InputLayer",),
        "rnn/bi": ("Bidirectional", "rnn/q"),
        "rnn/td": ("TimeDistributed", "rnn/bi"),
    },
    "wrapped model": {
        "video/v": ("InputLayer",),
        "video/td/cnn/frame": ("InputLayer", "video/v"),
        "video/td/cnn/conv": ("Conv2D", "video/td/cnn/frame"),
        "video/td/cnn/flat": ("Flatten", "video/td/cnn/conv"),
        "video/out": ("Dense", "video/td/cnn/flat"),
    },
    "states": {
        "s2s/q": ("InputLayer",),
        "s2s/enc": ("LSTM", "s2s/q"),
        "s2s/dec": ("LSTM", "s2s/enc"),
    },
    "own layer": {
        "own/i": ("InputLayer",),
        "own/scaled": ("Scaled", "own/i"),
    },
    "mixed precision": {
        "mixed/x": ("InputLayer",),
        "mixed/d": ("Dense", "mixed/x"),
        "mixed/o": ("Dense", "mixed/d"),
    },
}

EXPECTED_OF_ONE: dict[tuple[str, str], Drawn] = {
    ("3", "operations"): {
        "ops/i": ("InputLayer",),
        "ops/multiply": ("Multiply", "ops/i"),
        "ops/relu": ("Relu", "ops/i"),
        "ops/add": ("Add", "ops/multiply"),
        "ops/concatenate": ("Concatenate", "ops/relu", "ops/add"),
        "ops/get_item": ("GetItem", "ops/concatenate"),
    },
    ("legacy", "operations"): {
        "ops/i": ("InputLayer",),
        "ops/tf.math.multiply": ("TFOpLambda", "ops/i"),
        "ops/tf.nn.relu": ("TFOpLambda", "ops/i"),
        "ops/tf.__operators__.add": ("TFOpLambda", "ops/tf.math.multiply"),
        "ops/tf.concat": ("TFOpLambda", "ops/tf.nn.relu", "ops/tf.__operators__.add"),
        "ops/tf.__operators__.getitem": ("SlicingOpLambda", "ops/tf.concat"),
    },
    ("3", "mask"): {  # Keras 3 computes the mask by an operation of the model
        "masked/tokens": ("InputLayer",),
        "masked/embed": ("Embedding", "masked/tokens"),
        "masked/not_equal": ("NotEqual", "masked/tokens"),
        "masked/lstm": ("LSTM", "masked/embed", "masked/not_equal"),
    },
    ("legacy", "mask"): {
        "masked/tokens": ("InputLayer",),
        "masked/embed": ("Embedding", "masked/tokens"),
        "masked/lstm": ("LSTM", "masked/embed"),
    },
}


@pytest.mark.parametrize("key", EXPECTED)
def test_keras_config_of_real_model_gives_its_layers_and_edges(
    key: str, model_graph: Callable[[str], graph_pb2.GraphDef]
) -> None:
    assert drawn(model_graph(key)) == EXPECTED[key]


@pytest.mark.parametrize(("only", "key"), EXPECTED_OF_ONE)
def test_keras_config_of_one_flavour_gives_its_own_operations(
    only: str, key: str, zoos: dict[str, dict[str, Any]]
) -> None:
    assert drawn(graph_from_keras_config(zoos[only]["models"][key])) == EXPECTED_OF_ONE[only, key]


def test_keras_config_of_mobilenet_gives_every_layer_and_residual(
    model_graph: Callable[[str], graph_pb2.GraphDef],
) -> None:
    nodes = drawn(model_graph("mobilenet"))
    root = "mobilenetv2_1.00_224"
    assert len(nodes) == 156
    assert nodes[f"{root}/block_2_add"] == (
        "Add",
        f"{root}/block_1_project_BN",
        f"{root}/block_2_project_BN",
    )
    assert nodes[f"{root}/predictions"] == ("Dense", f"{root}/global_average_pooling2d")
    assert sum(len(node) - 1 for node in nodes.values()) == len(nodes) - 1 + 10  # a chain, and ten residuals
    assert all(source in nodes for node in nodes.values() for source in node[1:])


def test_keras_config_of_subclassed_model_raises_unsupported(
    model_graph: Callable[[str], graph_pb2.GraphDef],
) -> None:
    with pytest.raises(CkptMetaError, match=r"holds no layers.*'Net'") as caught:
        model_graph("subclassed")
    assert caught.value.code is Code.UNSUPPORTED_MODEL


# --- configurations made by hand


def test_keras_config_sequential_as_bare_list_is_drawn() -> None:
    config = {"class_name": "Sequential", "config": [dense("a"), dense("b")]}
    assert drawn(graph_from_keras_config(config)) == {
        "Sequential/a": ("Dense",),
        "Sequential/b": ("Dense", "Sequential/a"),
    }


def test_keras_config_constant_argument_gives_no_edge() -> None:
    layers = [dense("a"), dense("b")]
    layers[1]["inbound_nodes"] = [[["a", 0, 0, {}], ["_CONSTANT_VALUE", -1, [[1.0]], {}]]]
    assert drawn(graph_from_keras_config(functional("m", layers)))["m/b"] == ("Dense", "m/a")


def test_keras_config_mask_of_nested_inputs_follows_its_input() -> None:
    inner = functional("inner", [dense("p"), dense("q")], [["p", 0, 0], ["q", 0, 0]])
    inner["inbound_nodes"] = [{"args": [[tensor("a"), tensor("b")]], "kwargs": {"mask": [None, tensor("m")]}}]
    nodes = drawn(graph_from_keras_config(functional("o", [dense("a"), dense("b"), dense("m"), inner])))
    assert nodes["o/inner/p"] == ("Dense", "o/a")
    assert nodes["o/inner/q"] == ("Dense", "o/b", "o/m")


def test_keras_config_dict_argument_to_listed_inputs_goes_by_name() -> None:
    inner = functional("inner", [dense("p"), dense("q"), dense("r")], [["q", 0, 0], ["p", 0, 0]])
    inner["inbound_nodes"] = [{"args": [{"p": tensor("a"), "q": tensor("b")}], "kwargs": {}}]
    nodes = drawn(graph_from_keras_config(functional("o", [dense("a"), dense("b"), inner])))
    assert (nodes["o/inner/p"], nodes["o/inner/q"]) == (("Dense", "o/a"), ("Dense", "o/b"))


def test_keras_config_argument_that_fits_no_inputs_goes_to_the_first() -> None:
    inner = functional("inner", [dense("p"), dense("q")], [["p", 0, 0], ["q", 0, 0]])
    inner["inbound_nodes"] = [{"args": [tensor("a")], "kwargs": {"state": [tensor("b"), None, tensor("c")]}}]
    nodes = drawn(graph_from_keras_config(functional("o", [dense("a"), dense("b"), dense("c"), inner])))
    assert nodes["o/inner/p"] == ("Dense", "o/a", "o/b", "o/c")
    assert nodes["o/inner/q"] == ("Dense",)


def test_keras_config_own_layer_with_sizes_as_layers_is_a_node() -> None:
    own = {"class_name": "Mlp", "config": {"name": "mlp", "layers": [8, 16]}}
    assert drawn(graph_from_keras_config(sequential("m", own))) == {"m/mlp": ("Mlp",)}


def test_keras_config_subclass_of_sequential_is_drawn() -> None:
    config = {**sequential("m", dense("a"), dense("b")), "class_name": "MySequential"}
    assert drawn(graph_from_keras_config(config)) == {"m/a": ("Dense",), "m/b": ("Dense", "m/a")}


def nested_models(depth: int) -> dict[str, Any]:
    model = sequential("leaf", dense("d"))
    for _ in range(depth):
        model = sequential("m", model)
    return model


def nested_argument(depth: int) -> list[Any]:
    argument: list[Any] = [tensor("a")]
    for _ in range(depth):
        argument = [argument]
    return argument


def test_keras_config_models_nested_twenty_deep_are_drawn() -> None:
    (node,) = graph_from_keras_config(nested_models(20)).node
    assert node.name.count("/") == 21


itself: dict[str, Any] = sequential("m")
itself["config"]["layers"] += [itself, itself]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ([], "not a JSON object"),
        ({}, "no class name"),
        ({"class_name": "Sequential", "config": 3}, "not a JSON object"),
        ({"class_name": "Sequential", "config": {"layers": []}}, "holds no layers"),
        (sequential("m", 3), "not a JSON object"),
        (sequential("m", {"config": {}}), "no class name"),
        (sequential("m", {"class_name": "Dense", "config": {"name": 3}}), "not text"),
        (nested_models(10_000), "nested more than"),
        (itself, "nested more than"),
        (sequential("m", *[dense("a")] * 100_001), "more than 100000 layers"),
        (functional("m", [dense("a"), dense("b", nested_argument(10_000))]), "nested too deeply"),
        (functional("m", [dense("a"), dense("a")]), "two layers"),
        (functional("m", [dense("a"), dense("b", [tensor("nowhere")])]), "'nowhere', which"),
        (functional("m", [dense("a", [tensor("b")]), dense("b", [tensor("a")])]), "in a loop"),
        (functional("m", [dense("a", [tensor("a")])]), "in a loop"),
        (functional("m", [dense("a")], outputs=[5]), "no outputs"),
        (functional("m", [dense("a")], outputs=[["b", 0, 0]]), "'b', which"),
        (functional("m", [dense("a")], inputs=[["b", 0, 0]]), "'b', which"),
        (
            functional("m", [dense("a"), {**dense("b"), "inbound_nodes": {"args": 1}}]),
            "not a list",
        ),
        (
            functional("m", [{**dense("b"), "inbound_nodes": [{"args": [{"class_name": "__keras_tensor__"}],
                                                              "kwargs": {}}]}]),
            "not the output of a layer",
        ),
        (
            functional(
                "m",
                [
                    functional("i", [dense("a"), dense("b")], outputs=[["a", 0, 0], ["b", 0, 0]]),
                    dense("c", [tensor("i", 2)]),
                ],
            ),
            "an output that the model 'i'",
        ),
    ],
)  # fmt: skip
def test_keras_config_hostile_or_broken_raises_unsupported(config: Any, message: str) -> None:
    with pytest.raises(CkptMetaError, match=message) as caught:
        graph_from_keras_config(config)
    assert caught.value.code is Code.UNSUPPORTED_MODEL


def test_keras_config_layers_called_in_turn_twice_are_no_loop() -> None:
    layers = [dense("x"), dense("a", [tensor("x")], [tensor("b")]), dense("b", [tensor("a")])]
    assert drawn(graph_from_keras_config(functional("m", layers))) == {
        "m/x": ("Dense",),
        "m/a": ("Dense", "m/x", "m/b"),
        "m/b": ("Dense", "m/a"),
    }


# --- any configuration whatever


NAMES = st.sampled_from(["a", "b", "a/b", "", "m", "constructor", "\ud800", "Dense", "x:0"])
CLASSES = st.sampled_from(["Dense", "toString", "Sequential", "Functional", "InputLayer", "__keras_tensor__", "é", ""])
SCALARS = st.none() | st.booleans() | st.integers(-2, 3) | st.floats() | NAMES | CLASSES
KEYS = st.sampled_from(
    ["class_name", "config", "name", "layers", "layer", "inbound_nodes", "args", "kwargs", "input_layers",
     "output_layers", "keras_history", "dtype", "module", "units", "mask"]
)  # fmt: skip
HISTORIES = st.tuples(NAMES, st.integers(-1, 2), st.integers(-1, 2)).map(list)
JSON = st.recursive(
    SCALARS | HISTORIES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=25,
)
TENSORS = st.builds(
    lambda history: {"class_name": "__keras_tensor__", "config": {"keras_history": history}}, HISTORIES | JSON
)
CALLS = st.builds(
    lambda args, kwargs: {"args": args, "kwargs": kwargs},
    st.lists(TENSORS | st.lists(TENSORS, max_size=2) | JSON, max_size=3),
    st.dictionaries(KEYS, TENSORS | JSON, max_size=2),
) | st.lists(HISTORIES.flatmap(lambda h: JSON.map(lambda k: [*h, {"y": k}])), max_size=3)


def layer_configs(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    config = st.fixed_dictionaries(
        {"name": NAMES, "layers": st.lists(inner, max_size=4)},
        optional={"input_layers": JSON, "output_layers": st.lists(HISTORIES, max_size=2) | JSON},
    )
    return st.fixed_dictionaries(
        {"class_name": CLASSES, "config": config | JSON},
        optional={"name": NAMES, "inbound_nodes": st.lists(CALLS | JSON, max_size=3) | JSON},
    )


MODELS = st.recursive(layer_configs(JSON), layer_configs, max_leaves=12)


@settings(max_examples=400, deadline=None)
@given(MODELS | JSON)
@example({"class_name": "Sequential", "config": {"layers": [{"class_name": "a", "config": {"name": "/"}}]}})
def test_keras_config_of_any_json_gives_a_parsable_graph_or_unsupported(config: Any) -> None:
    try:
        graph = graph_from_keras_config(config)
    except CkptMetaError as error:
        assert error.code is Code.UNSUPPORTED_MODEL  # noqa: PT017 - either outcome is lawful
    else:
        assert_parsable(graph)
