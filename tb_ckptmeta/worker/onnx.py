"""Convert a frozen graph to ONNX, by tf2onnx. Runs in the worker."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import Any

from tb_ckptmeta.core.errors import CkptMetaError, Code

OPSET = 18


def require_tf2onnx() -> None:
    """Make sure that tf2onnx is installed.

    Raises:
        CkptMetaError: ONNX_MISSING.
    """
    if importlib.util.find_spec("tf2onnx") is None:
        raise CkptMetaError(
            Code.ONNX_MISSING,
            'An ONNX export needs tf2onnx, and its check onnxruntime: pip install "tensorboard-plugin-ckptmeta[onnx]".',
        )


def make_onnx(graph_def: Any, inputs: Mapping[str, str], outputs: Mapping[str, str], name: str) -> bytes:
    """Return a serialized ONNX model with the inputs and outputs of the signature: name -> tensor name.

    Raises:
        CkptMetaError: UNSUPPORTED_MODEL, naming the operations that ONNX has no counterpart of.
    """
    import onnx
    import tf2onnx

    try:
        model, _ = tf2onnx.convert.from_graph_def(
            graph_def,
            name=name,
            input_names=list(inputs.values()),
            output_names=list(outputs.values()),
            opset=OPSET,
            tensors_to_rename={tensor: key for key, tensor in (*inputs.items(), *outputs.items())},
        )
    except Exception as error:
        raise CkptMetaError(Code.UNSUPPORTED_MODEL, f"tf2onnx cannot convert this graph: {error}") from error
    # Operations that it does not know tf2onnx leaves as they are.
    unknown = sorted({n.op_type for n in model.graph.node if not onnx.defs.has(n.op_type, n.domain)})
    if unknown:
        raise CkptMetaError(
            Code.UNSUPPORTED_MODEL,
            f"The model uses operations that tf2onnx cannot convert to ONNX: {', '.join(unknown)}. "
            "Formats that hold them: metagraph, saved_model, frozen.",
        )
    return bytes(model.SerializeToString(deterministic=True))
