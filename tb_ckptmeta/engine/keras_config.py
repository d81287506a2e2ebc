"""A layer or model as Keras serializes it to JSON. Runs in the caller's process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.engine.node_names import MAX_TEXT


def unsupported_error(reason: str) -> CkptMetaError:
    """Return the error of a configuration that cannot be drawn."""
    message = f"No conceptual graph can be drawn from this Keras configuration: {reason}."
    return CkptMetaError(Code.UNSUPPORTED_MODEL, message)


def quote(value: object) -> str:
    """Return text in quotes, short and ASCII, or the type of what is not text."""
    return ascii(value[:MAX_TEXT] if isinstance(value, str) else type(value).__name__)


def is_layer(value: object) -> bool:
    """Return whether `value` looks like a layer or another object that Keras serialized."""
    if not isinstance(value, dict) or not isinstance(value.get("class_name"), str):
        return False
    return isinstance(value.get("config"), (dict, list))


@dataclass(frozen=True)
class LayerConfig:
    """One layer or model as Keras serializes it: the entry in its model, and the settings in that."""

    entry: dict[str, Any]
    class_name: str
    name: str
    config: dict[str, Any]

    @classmethod
    def read(cls, entry: object) -> LayerConfig:
        """Read an entry of a model's `layers`, or a model.

        Raises: `CkptMetaError` (`UNSUPPORTED_MODEL`) where it is not one that Keras writes.
        """
        if not isinstance(entry, dict):
            raise unsupported_error(f"a layer is a {quote(entry)} and not a JSON object")
        class_name = entry.get("class_name")
        if not isinstance(class_name, str) or not class_name:
            raise unsupported_error("a layer has no class name")
        config = entry.get("config")
        if isinstance(config, list):  # Keras before 2.2.3 wrote a Sequential as the bare list of its layers
            config = {"layers": config}
        if config is None:
            config = {}
        if not isinstance(config, dict):
            raise unsupported_error(f"the settings of a {quote(class_name)} are not a JSON object")
        name = entry.get("name") or config.get("name") or class_name
        if not isinstance(name, str):
            raise unsupported_error(f"the name of a {quote(class_name)} is not text")
        return cls(entry, class_name, name, config)

    @property
    def layers(self) -> list[Any]:
        layers = self.config.get("layers")
        return layers if isinstance(layers, list) else []

    @property
    def is_functional(self) -> bool:
        return bool(self.layers) and "input_layers" in self.config and "output_layers" in self.config

    @property
    def is_sequential(self) -> bool:
        """Whether `layers` is a chain; a user's own layer may keep its sizes or its branches there."""
        if not self.layers or self.is_functional:
            return False
        if self.class_name in ("Sequential", "Pipeline"):
            return True
        own = {"name", "trainable", "dtype", "layers", "build_input_shape"}
        return self.config.keys() <= own and all(map(is_layer, self.layers))

    @property
    def wrapped_model(self) -> LayerConfig | None:
        if not is_layer(self.config.get("layer")):
            return None
        inner = LayerConfig.read(self.config["layer"])
        return inner if inner.is_functional or inner.is_sequential else None

    @property
    def calls(self) -> list[Any]:
        calls = self.entry.get("inbound_nodes") or []
        if not isinstance(calls, list):
            raise unsupported_error(f"the calls of the layer {quote(self.name)} are not a list")
        return calls
