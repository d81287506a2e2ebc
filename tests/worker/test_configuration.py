"""A Keras configuration is deserialised only where all of it is plainly Keras' own."""

from __future__ import annotations

import base64
import marshal
from typing import Any

import pytest

from tb_ckptmeta.worker.configuration import find_refusal

CODE = base64.b64encode(marshal.dumps((lambda x: x).__code__)).decode()


def with_layer(layer: dict[str, Any]) -> dict[str, Any]:
    """A Sequential as Keras 3 writes it, with one layer more."""
    dense = {"module": "keras.layers", "class_name": "Dense", "config": {"units": 2, "name": "dense"}}
    return {"module": "keras", "class_name": "Sequential", "config": {"layers": [dense, layer]}}


def entry(module: str | None, name: Any, config: Any = None) -> dict[str, Any]:
    return {"module": module, "class_name": name, "config": {} if config is None else config, "registered_name": None}


REFUSED = {
    "class of another module": (entry("os", "system", {"command": "touch x"}), "'system' of the module 'os'"),
    "function of another module": (
        entry("keras.layers", "Activation", {"activation": entry("os", "function", "system")}),
        "'function' of the module 'os'",
    ),
    "function of Keras that is no part of a model": (
        entry("keras.layers", "Activation", {"activation": entry("keras.config", "function", "enable_unsafe")}),
        "of the module 'keras.config'",
    ),
    "function that a module of layers has imported": (
        entry("keras.src.layers.x", "function", "f"),
        "keras.src.layers.x",
    ),
    "utility of Keras": (entry("keras.utils", "get_file", {"origin": "http://x"}), "'get_file'"),
    "module that looks like Keras": (entry("keras_evil.layers", "Dense"), "'keras_evil.layers'"),
    "module below one that looks like Keras": (entry("keras.layersx", "Dense"), "'keras.layersx'"),
    "module that is no text": (entry(7, "Dense"), "without a name"),  # type: ignore[arg-type]
    "class that is no text": (entry("keras.layers", ["os", "system"]), "named by a list"),
    "Lambda": (entry("keras.layers", "Lambda", {"name": "λ", "function": {}}), "a Lambda ('λ')"),
    "Lambda under a package": (entry(None, "Custom>Lambda"), "a Lambda"),
    "Python code": (entry("builtins", "__lambda__", {"code": CODE}), "a __lambda__"),
    "Lambda of Keras 2": (
        {"class_name": "Other", "config": {"function": [CODE, None, None], "function_type": "lambda"}},
        "a Lambda",
    ),
    "SavedModel of another file": (entry("keras.layers", "TFSMLayer", {"filepath": "/x"}), "loads another file"),
    "class by a path": (entry("keras.layers", "experimental.Lambda", {"function": {}}), "'experimental.Lambda'"),
    "function by a path": (entry("builtins", "function", "layers.Lambda"), "by a path"),
    "pickle": (entry("keras.layers", "TorchModuleWrapper", {"name": "t"}), "unpickles"),
    "any operation": (entry(None, "TensorFlowOpLayer", {"node_def": "op: WriteFile"}), "any operation"),
    "operation that writes": (entry(None, "TFOpLambda", {"function": "io.write_file"}), "'io.write_file'"),
    "operation of Python": (entry(None, "TFOpLambda", {"function": "py_function"}), "'py_function'"),
    "vocabulary of a file": (
        entry("keras.layers", "StringLookup", {"name": "words", "vocabulary": "/etc/passwd"}),
        "'words' reads its vocabulary from a file, '/etc/passwd'",
    ),
    "class of a user": (entry("my.code", "Mine"), "'Mine' of the module 'my.code'"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_configuration_with_more_than_keras_own_is_refused(kind: str) -> None:
    layer, told = REFUSED[kind]
    reason = find_refusal(with_layer(layer))
    assert reason is not None
    assert told in reason


def test_configuration_hides_nothing_in_a_list_or_a_nested_model() -> None:
    hidden = with_layer({"a": [[{"b": entry("os", "system")}]]})
    assert find_refusal(with_layer(hidden)) is not None


@pytest.mark.parametrize(
    "layer",
    [
        entry(
            "keras.layers", "Dense", {"activation": "relu", "kernel_initializer": entry("keras.initializers", "Ones")}
        ),
        entry("keras.src.ops.numpy", "Concatenate"),
        entry("keras", "DTypePolicy", {"name": "mixed_float16"}),
        entry("keras.layers", "Activation", {"activation": entry("builtins", "function", "softmax")}),
        entry("tf_keras.src.layers.core.tf_op_layer", "TFOpLambda", {"function": "math.multiply"}),
        entry(None, "SlicingOpLambda", {"function": "__operators__.getitem"}),
        entry("keras.layers", "StringLookup", {"vocabulary": ["a", "b"]}),
        {"module": None, "class_name": "__keras_tensor__", "config": {"shape": [None, 2]}},
    ],
)
def test_configuration_of_keras_own_parts_passes(layer: dict[str, Any]) -> None:
    assert find_refusal(with_layer(layer)) is None


def test_configuration_loses_how_it_was_compiled() -> None:
    config = {**with_layer(entry("keras.layers", "Dense")), "compile_config": {"loss": entry("os", "system")}}
    assert find_refusal(config) is None
    assert "compile_config" not in config
