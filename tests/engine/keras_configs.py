"""Keras configurations made by hand, as little of them as is read. Shared by the tests of their drawing."""

from __future__ import annotations

from typing import Any


def tensor(layer: str, index: int = 0) -> dict[str, Any]:
    return {"class_name": "__keras_tensor__", "config": {"keras_history": [layer, 0, index]}}


def dense(name: str, *calls: list[Any], **config: Any) -> dict[str, Any]:
    inbound = [{"args": list(arguments), "kwargs": {}} for arguments in calls]
    return {"class_name": "Dense", "config": config, "name": name, "inbound_nodes": inbound}


def functional(name: str, layers: list[Any], inputs: Any = (), outputs: Any = None) -> dict[str, Any]:
    last = layers[-1]["name"] if layers and isinstance(layers[-1], dict) else "x"
    config = {
        "name": name,
        "layers": layers,
        "input_layers": list(inputs),
        "output_layers": outputs or [[last, 0, 0]],
    }
    return {"class_name": "Functional", "name": name, "config": config, "inbound_nodes": []}


def sequential(name: str, *layers: Any) -> dict[str, Any]:
    return {"class_name": "Sequential", "config": {"name": name, "layers": list(layers)}}
