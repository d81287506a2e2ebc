"""Keep named arrays of every TensorFlow dtype in a file, from one worker for another. Runs in the worker."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf


def save_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Save named tensors or arrays. Names may hold slashes, dtypes may be those that numpy's files lack."""
    tensors = {name: tf.convert_to_tensor(value) for name, value in arrays.items()}
    listing = json.dumps([[name, tensor.dtype.name] for name, tensor in tensors.items()])
    blocks = {
        f"t{i}": np.frombuffer(tf.io.serialize_tensor(tensor).numpy(), np.uint8)
        for i, tensor in enumerate(tensors.values())
    }
    np.savez(path, listing=np.array(listing), **blocks)  # type: ignore[arg-type]


def load_arrays(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    """Load what `save_arrays` saved."""
    with np.load(path) as file:
        listing = json.loads(str(file["listing"]))
        return {
            name: np.asarray(tf.io.parse_tensor(file[f"t{i}"].tobytes(), dtype).numpy())
            for i, (name, dtype) in enumerate(listing)
        }
