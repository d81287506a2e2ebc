"""Trace a built model once, for its inputs. Runs in the worker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.worker.build import Built
from tb_ckptmeta.worker.keras_private import enter_scopes_once
from tb_ckptmeta.worker.structure import name_inputs, name_outputs
from tb_ckptmeta.worker.tensorflow_private import WeightRead
from tb_ckptmeta.worker.user_code import run_user_code


@dataclass(frozen=True)
class Trace:
    """A traced call: TensorFlow's concrete function, and its tensors by signature name."""

    function: Any
    inputs: list[tuple[str, Any]]
    outputs: list[tuple[str, Any]]


def trace(who: str, built: Built) -> Trace:
    """Trace `built` with its TensorSpecs.

    Raises:
        CkptMetaError: TRACE_FAILED with the user's traceback where the model cannot be called so;
            UNSUPPORTED_MODEL where its inputs or outputs are no dense tensors.
    """
    names, args = name_inputs(built.args, built.parameters)
    function = tf.function(built.call)
    with enter_scopes_once():
        concrete = run_user_code(
            f"{who}, called with {_describe(names, args)},",
            Code.TRACE_FAILED,
            lambda: function.get_concrete_function(*args),
        )
    graph = concrete.graph
    inputs = list(zip(names, graph.inputs[: len(names)], strict=True))
    return Trace(concrete, inputs, name_outputs(graph.structured_outputs))


def is_weight_read(error: CkptMetaError) -> bool:
    """Tell whether user code failed for reading a variable without memory."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, WeightRead):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def _describe(names: list[str], args: tuple[Any, ...]) -> str:
    specs = tf.nest.flatten(list(args))
    shown = [
        f"{n}: {s.dtype.name}{list(s.shape) if s.shape.rank is not None else ''}"
        for n, s in zip(names, specs, strict=True)
    ]
    return ", ".join(shown[:8]) + (", …" if len(shown) > 8 else "")
