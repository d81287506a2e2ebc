"""Run a builder inside a `tf.Graph`, for name-based checkpoints. Runs in the worker."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import tensorflow as tf

from tb_ckptmeta.core.builder import Model, Registration
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.legacy import KERAS_3
from tb_ckptmeta.core.rebuilt import ModelVariable
from tb_ckptmeta.worker import keras_private
from tb_ckptmeta.worker.flatten import Flat, Partitioned, find_ancestors, refuse_python_code
from tb_ckptmeta.worker.randomness import describe_random, find_random
from tb_ckptmeta.worker.structure import name_inputs, name_outputs
from tb_ckptmeta.worker.user_code import run_user_code
from tb_ckptmeta.worker.vocabulary import replace_in_graph

v1 = tf.compat.v1


def build_in_graph(registration: Registration, arguments: Mapping[str, Any]) -> tuple[Flat, tuple[ModelVariable, ...]]:
    """Run a builder inside a graph of its own; its variables are those of the graph's collections.

    Raises:
        CkptMetaError: BUILDER_FAILED, BUILDER_EXITED, BUILDER_RETURNED, UNSUPPORTED_MODEL.
    """
    who = f"Builder {registration.name!r}"
    graph = tf.Graph()
    with graph.as_default():
        v1.set_random_seed(0)
        returned = run_user_code(who, Code.BUILDER_FAILED, lambda: registration.function(**arguments))
        inputs, outputs = _find_tensors(who, registration, returned, graph)
    leaves, _ = name_inputs((inputs,), ("input",))
    names = [name for leaf in leaves for name in leaf.components]
    flat = Flat(
        graph,
        dict(zip(names, tf.nest.flatten(inputs, expand_composites=True), strict=True)),
        dict(name_outputs(outputs)),
        leaves=leaves,
    )
    flat.notes += replace_in_graph(graph)
    graph_def = graph.as_graph_def()
    flat.notes += describe_random(find_random(graph_def, {n: t.name for n, t in flat.outputs.items()}))
    refuse_python_code(graph_def)
    needed = find_ancestors(graph_def, [t.op.name for t in flat.outputs.values()])
    variables = []
    with graph.as_default():
        joined = _join_partitions(_list_variables(graph))
    for index, (name, (slices, parts)) in enumerate(joined.items()):
        first, sliced = parts[0], slices[0]
        shape = first.shape if sliced is None else tf.TensorShape(sliced.full_shape)
        variables.append(
            ModelVariable(
                name,
                None if shape.rank is None else tuple(shape.as_list()),
                first.dtype.base_dtype.name,
                bool(first.trainable),
                any(_is_read(part, needed) for part in parts),
                () if sliced is None else tuple(part.op.name for part in parts),
            )
        )
        flat.variables[index] = first if sliced is None else Partitioned(name, parts, slices)
    return flat, tuple(variables)


def _is_read(variable: Any, needed: Collection[str]) -> bool:
    return variable.op.name in needed or getattr(getattr(variable, "handle", None), "op", variable.op).name in needed


def _join_partitions(variables: list[Any]) -> dict[str, tuple[list[Any], list[Any]]]:
    """Return name -> what is a slice of what, and the variables: a whole one, or the parts of a partitioned one.

    A checkpoint holds a partitioned variable under one key, whole. A slice is a `SaveSliceInfoDef`, None for a whole
    variable.
    """
    found: dict[str, tuple[list[Any], list[Any]]] = {}
    for variable in variables:
        described = variable.to_proto()
        sliced = described.save_slice_info_def if described.HasField("save_slice_info_def") else None
        slices, parts = found.setdefault(variable.op.name if sliced is None else sliced.full_name, ([], []))
        slices.append(sliced)
        parts.append(variable)
    return found


def _list_variables(graph: Any) -> list[Any]:
    """Return the graph's variables; the outputs may read local ones, too, which a checkpoint seldom holds."""
    found: dict[str, Any] = {}
    for key in (v1.GraphKeys.GLOBAL_VARIABLES, v1.GraphKeys.LOCAL_VARIABLES):
        for variable in graph.get_collection(key):
            found.setdefault(variable.op.name, variable)
    return list(found.values())


def _find_tensors(who: str, registration: Registration, returned: Any, graph: Any) -> tuple[Any, Any]:
    if isinstance(returned, Model):
        returned = returned.root if returned.call is None else returned
    flavour = keras_private.find_flavour(returned)
    if flavour == KERAS_3:
        raise CkptMetaError(
            Code.UNSUPPORTED_MODEL,
            f"{who} returned a Keras 3 model, which keeps its variables outside of any tf.Graph, but its "
            'checkpoint is name-based. Register it with keras="legacy", or with graph=False to compare by name.',
        )
    if flavour is not None:
        inputs, outputs = returned.inputs, returned.outputs
        if inputs and all(getattr(t, "graph", None) is graph for t in inputs):
            names = list(getattr(returned, "input_names", ()))
            structure: Any = dict(zip(names, inputs, strict=True)) if len(names) > 1 else inputs[0]
            return structure, outputs
        raise CkptMetaError(
            Code.BUILDER_RETURNED,
            f"{who} returned a Keras model without inputs of this graph. Call it on a placeholder and return "
            "(inputs, outputs).",
        )
    if not isinstance(returned, (tuple, list)) or len(returned) != 2:
        what = "nothing (is a return statement missing?)" if returned is None else f"a {type(returned).__name__}"
        raise CkptMetaError(
            Code.BUILDER_RETURNED,
            f"{who} returned {what}; inside a tf.Graph, a builder returns (inputs, outputs): tensors, lists or "
            "dicts of this graph. If the model is built eagerly, register it with graph=False.",
        )
    inputs, outputs = returned
    for value in (*tf.nest.flatten(inputs), *tf.nest.flatten(outputs)):
        composite = isinstance(value, (tf.SparseTensor, tf.RaggedTensor))
        parts = tf.nest.flatten(value, expand_composites=True) if composite else [value]
        if any(not isinstance(part, tf.Tensor) or getattr(part, "graph", None) is not graph for part in parts):
            raise CkptMetaError(
                Code.BUILDER_RETURNED,
                f"{who} returned {value!r:.200} among its (inputs, outputs), which is no tensor of the graph "
                "that the builder ran in.",
            )
    return inputs, outputs
