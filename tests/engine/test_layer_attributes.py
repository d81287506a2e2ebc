"""What a layer's node says of real layers of Keras 3 and tf_keras, and of odd ones."""

from __future__ import annotations

from collections.abc import Callable

from drawings import attributes
from keras_configs import dense, sequential
from tensorboard.compat.proto import graph_pb2

from tb_ckptmeta.engine.conceptual_keras import graph_from_keras_config


def test_keras_config_layer_gives_its_telling_settings(
    model_graph: Callable[[str], graph_pb2.GraphDef],
) -> None:
    graph = model_graph("sequential")
    assert attributes(graph, "mlp/hidden") == {
        "keras_class": "keras.layers.Dense",
        "dtype": "float32",
        "units": "16",
        "activation": "relu",
        "use_bias": "True",
    }
    assert attributes(graph, "mlp/drop")["rate"] == "0.5"
    assert attributes(graph, "mlp/x")["shape"] == "(None, 784)"
    conv = attributes(model_graph("wrapped model"), "video/td/cnn/conv")
    assert (conv["filters"], conv["kernel_size"]) == ("2", "(3, 3)")


def test_keras_config_shared_layer_gives_number_of_calls(
    model_graph: Callable[[str], graph_pb2.GraphDef],
) -> None:
    assert attributes(model_graph("shared"), "siamese/shared")["calls"] == "2"
    assert "calls" not in attributes(model_graph("shared"), "siamese/cat")


def test_keras_config_wrapper_gives_settings_of_what_it_wraps(
    model_graph: Callable[[str], graph_pb2.GraphDef],
) -> None:
    graph = model_graph("wrappers")
    bidirectional = attributes(graph, "rnn/bi")
    assert (bidirectional["layer"], bidirectional["layer.units"]) == ("LSTM", "4")
    assert attributes(graph, "rnn/td")["layer"] == "Dense"


def test_keras_config_mixed_precision_gives_the_policy(
    model_graph: Callable[[str], graph_pb2.GraphDef],
) -> None:
    graph = model_graph("mixed precision")
    assert attributes(graph, "mixed/d")["dtype"] == "mixed_float16"
    assert attributes(graph, "mixed/o")["dtype"] == "float32"


def test_keras_config_own_layer_gives_its_settings_and_is_no_model(
    model_graph: Callable[[str], graph_pb2.GraphDef],
) -> None:
    own = attributes(model_graph("own layer"), "own/scaled")
    assert (own["keras_class"], own["factor"], own["layers"]) == ("Scaled", "2.0", "(8, 16)")


def test_keras_config_long_and_odd_settings_stay_short_ascii_text() -> None:
    odd = {"vocabulary": ["w"] * 1000, "big": 10**5000, "code": "\u00e9" * 10_000, "\ud800": float("nan")}
    (node,) = graph_from_keras_config(sequential("m", dense("a", **odd))).node
    assert set(node.attr) == {"keras_class", "code", "_"}
    assert len(node.attr["code"].s) < 1000
