"""The attributes of a layer's node, written from its Keras configuration. Runs in the caller's process."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tensorboard.compat.proto import graph_pb2

from tb_ckptmeta.engine.keras_config import LayerConfig, is_layer
from tb_ckptmeta.engine.node_names import make_ascii, make_segment

_MAX_ATTRIBUTES = 40
_MAX_ITEMS = 16

# Settings that say nothing about the model, or stand on the node in another form.
_NOISE = frozenset({"name", "trainable", "dtype", "seed", "implementation"})
_NOISE_SUFFIXES = ("_initializer", "_regularizer", "_constraint")


def describe_layer(node: graph_pb2.NodeDef, layer: LayerConfig) -> None:
    """Give the node its attributes (`s`, ASCII): `keras_class`, `dtype`, and the layer's settings.

    `keras_name` is the layer's name where the node's differs, `calls` their number where there are several.

    Raises: `CkptMetaError` (`UNSUPPORTED_MODEL`) where the configuration is not one that Keras writes.
    """
    module = layer.entry.get("module")
    registered = layer.entry.get("registered_name")
    if isinstance(module, str) and module:
        keras_class = f"{module}.{layer.class_name}"
    else:
        keras_class = registered if isinstance(registered, str) and registered else layer.class_name
    attributes = {"keras_class": make_ascii(keras_class)}
    if dtype := _dtype_text(layer.config.get("dtype")):
        attributes["dtype"] = dtype
    if node.name.rpartition("/")[2] != layer.name.rpartition("/")[2]:
        attributes["keras_name"] = make_ascii(layer.name)
    if layer.config.get("trainable") is False:
        attributes["trainable"] = "False"
    if len(layer.calls) > 1:
        attributes["calls"] = str(len(layer.calls))
    for key, text in _settings(layer):
        if len(attributes) >= _MAX_ATTRIBUTES:
            break
        attributes.setdefault(key, text)
    for key, text in attributes.items():
        node.attr[key].s = text.encode("ascii")


def _settings(layer: LayerConfig) -> Iterator[tuple[str, str]]:
    for key, text in _plain_settings(layer.config):
        is_shape = layer.class_name == "InputLayer" and key in ("batch_shape", "batch_input_shape")
        yield ("shape" if is_shape else key), text
    for key in ("layer", "cell"):  # what Bidirectional, TimeDistributed and RNN wrap
        if is_layer(layer.config.get(key)):
            for name, text in _plain_settings(LayerConfig.read(layer.config[key]).config):
                yield f"{key}.{name}", text


def _plain_settings(config: Mapping[Any, Any]) -> Iterator[tuple[str, str]]:
    for key, value in config.items():
        if not isinstance(key, str) or key in _NOISE or key.endswith(_NOISE_SUFFIXES):
            continue
        if (text := _setting_text(value)) is not None:
            yield make_segment(key), text


def _setting_text(value: object) -> str | None:
    """Write a setting as the model's source would; None for what is unset, or too much to read."""
    if isinstance(value, str):
        return make_ascii(value)
    if isinstance(value, dict):
        inner = value.get("config")
        kind = inner if isinstance(inner, str) else value.get("class_name")
        return make_ascii(kind) if isinstance(kind, str) else None
    literal = _as_literal(value, 2)
    return None if literal is None or literal is _TOO_MUCH else make_ascii(repr(literal))


_TOO_MUCH = object()


def _as_literal(value: object, depth: int) -> object:
    if isinstance(value, int) and abs(value) >= 2**64:  # Python refuses to write one of 4300 digits
        return _TOO_MUCH
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if not isinstance(value, (list, tuple)) or len(value) > _MAX_ITEMS or not depth:
        return _TOO_MUCH
    items = tuple(_as_literal(item, depth - 1) for item in value)
    return _TOO_MUCH if _TOO_MUCH in items else items


def _dtype_text(value: object) -> str | None:
    if isinstance(value, dict):  # a policy: {"class_name": "DTypePolicy", "config": {"name": "mixed_float16"}}
        config = value.get("config")
        value = (config.get("name") if isinstance(config, dict) else None) or value.get("class_name")
    return make_ascii(value) if isinstance(value, str) else None
