"""Import a downloaded MetaGraphDef as somebody without the model's source would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

# The reference is computed from the checkpoint's own values alone: no builder, no Keras, no code of this project.
_PROGRAM = """
import json, sys
import numpy as np
import tensorflow as tf
from tensorflow.python.framework.meta_graph import read_meta_graph_file

v1 = tf.compat.v1
file, prefix, activation = sys.argv[1:]
values = {k: tf.train.load_variable(prefix, k) for k, _ in tf.train.list_variables(prefix)}
# A Keras optimizer holds the weights it trains, by which TensorFlow may name them; its own state is no layer's.
holders = ("model/", "optimizer/_trainable_variables/", "dense")
layers = [values[k] for k in sorted(values) if k.startswith(holders) and "Adam" not in k]
kernels = [a for a in layers if a.ndim == 2]
biases = [a for a in layers if a.ndim == 1]
image = np.random.default_rng(0).normal(size=(5, 784)).astype("float32")
logits = np.maximum(image @ kernels[0] + biases[0], 0) @ kernels[1] + biases[1]
exponents = np.exp(logits - logits.max(1, keepdims=True))
expected = logits if activation == "none" else exponents / exponents.sum(1, keepdims=True)

with tf.Graph().as_default(), v1.Session() as session:
    meta = read_meta_graph_file(file)
    signature = meta.signature_def["serving_default"]
    v1.train.import_meta_graph(file).restore(session, prefix)
    (fed,) = [tensor.name for tensor in signature.inputs.values()]
    found = session.run({name: tensor.name for name, tensor in signature.outputs.items()}, {fed: image})

print(json.dumps({
    "inputs": list(signature.inputs),
    "outputs": {k: float(np.abs(v - expected).max()) for k, v in found.items()},
    "foreign": sorted(m for m in sys.modules if m.startswith(("tb_ckptmeta", "my_builders"))),
}))
"""


def compare_import(file: Path, prefix: str, *, activation: str = "softmax") -> dict[str, Any]:
    """Import a model of two dense layers in a fresh process, restore `prefix` and run it.

    Returns the names of its inputs, for each output how far it is from what the checkpoint's values give
    ("outputs"), and what modules of the model's source or of this project were imported ("foreign").
    """
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    ended = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(file), prefix, activation],
        cwd=file.parent,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return found
