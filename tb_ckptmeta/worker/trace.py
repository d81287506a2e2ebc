"""Trace a built model once, for its inputs. Runs in the worker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.worker.build import Built
from tb_ckptmeta.worker.keras_private import enter_scopes_once
from tb_ckptmeta.worker.structure import Leaf, name_inputs, name_outputs
from tb_ckptmeta.worker.tensorflow_private import WeightRead
from tb_ckptmeta.worker.user_code import run_user_code


@dataclass(frozen=True)
class Trace:
    """A traced call: TensorFlow's concrete function, its tensors by signature name, and its inputs as the model's."""

    function: Any
    inputs: list[tuple[str, Any]]
    outputs: list[tuple[str, Any]]
    leaves: list[Leaf]


def trace(who: str, built: Built) -> Trace:
    """Trace `built` with its TensorSpecs.

    Raises:
        CkptMetaError: TRACE_FAILED with the user's traceback where the model cannot be called so;
            UNSUPPORTED_MODEL where its inputs or outputs are no tensors.
    """
    leaves, args = name_inputs(built.args, built.parameters)
    function = tf.function(built.call)
    with enter_scopes_once():
        concrete = run_user_code(
            f"{who}, called with {_describe(leaves)},",
            Code.TRACE_FAILED,
            lambda: function.get_concrete_function(*args),
        )
    graph = concrete.graph
    names = [name for leaf in leaves for name in leaf.components]
    inputs = list(zip(names, graph.inputs[: len(names)], strict=True))
    return Trace(concrete, inputs, name_outputs(graph.structured_outputs), leaves)


def is_weight_read(error: CkptMetaError) -> bool:
    """Tell whether user code failed for reading a variable without memory."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, WeightRead):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def _describe(leaves: list[Leaf]) -> str:
    shown = [_describe_leaf(leaf.name, leaf.spec) for leaf in leaves[:8]]
    return ", ".join(shown) + (", …" if len(leaves) > 8 else "")


def _describe_leaf(name: str, spec: Any) -> str:
    kind = {tf.RaggedTensorSpec: "ragged ", tf.SparseTensorSpec: "sparse "}.get(type(spec), "")
    return f"{name}: {kind}{spec.dtype.name}{list(spec.shape) if spec.shape.rank is not None else ''}"
