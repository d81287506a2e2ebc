"""Keep named arrays of every TensorFlow dtype in a file, from one worker for another. Runs in the worker."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

# Protos and no eager tensors: the user's module may have turned eager execution off.
_TensorProto = type(tf.make_tensor_proto(0))


def save_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Save named tensors or arrays. Names may hold slashes, dtypes may be those that numpy's files lack."""
    values = [v.numpy() if hasattr(v, "numpy") else v for v in arrays.values()]
    blocks = {
        f"t{i}": np.frombuffer(tf.make_tensor_proto(value).SerializeToString(), np.uint8)
        for i, value in enumerate(values)
    }
    np.savez(path, names=np.array(json.dumps(list(arrays))), **blocks)  # type: ignore[arg-type]


def load_arrays(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    """Load what `save_arrays` saved."""
    with np.load(path) as file:
        names = json.loads(str(file["names"]))
        return {name: _parse(file[f"t{i}"].tobytes()) for i, name in enumerate(names)}


def _parse(content: bytes) -> np.ndarray[Any, Any]:
    proto = _TensorProto()
    proto.ParseFromString(content)
    return np.asarray(tf.make_ndarray(proto))
