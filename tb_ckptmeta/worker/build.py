"""Run a builder, and make of what it returns something to call. Runs in the worker."""

from __future__ import annotations

import contextlib
import inspect
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from tb_ckptmeta.core.builder import Model, Registration
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.legacy import KERAS_3
from tb_ckptmeta.worker import keras_private
from tb_ckptmeta.worker.structure import Named
from tb_ckptmeta.worker.tensorflow_private import ROOT, WeightlessVariable, get_children, is_trackable
from tb_ckptmeta.worker.user_code import run_user_code

_CHECKPOINTS = (tf.train.Checkpoint, tf.compat.v1.train.Checkpoint)


@dataclass(frozen=True)
class Built:
    """A model that was built eagerly: what was saved, how to call it and with what.

    `container`: what is called is one of several objects that were saved in a `tf.train.Checkpoint`.
    """

    root: Any
    call: Callable[..., Any]
    args: tuple[Any, ...]
    parameters: Sequence[str]
    notes: tuple[str, ...] = ()
    container: bool = False


@dataclass
class Reads:
    """The variables whose values the builder asked for while they had none; `created` counts those without."""

    names: list[str]
    created: int = 0

    def add(self, name: str) -> None:
        if name not in self.names:
            self.names.append(name)


@contextlib.contextmanager
def create_without_weights(reads: Reads) -> Iterator[None]:
    """Let every variable that is created within have a handle, a shape and a dtype, and no memory."""

    def create(next_creator: Callable[..., Any], **kwargs: Any) -> Any:
        initial = kwargs.get("initial_value")
        if initial is None or tf.distribute.has_strategy() or not _executes_eagerly():
            return next_creator(**kwargs)
        reads.created += 1
        shape, dtype = _infer_shape_and_dtype(initial, kwargs.get("shape"), kwargs.get("dtype"))
        return WeightlessVariable(
            initial_value=initial,
            on_read=reads.add,
            shape=shape,
            dtype=dtype,
            trainable=kwargs.get("trainable"),
            name=kwargs.get("name"),
            constraint=kwargs.get("constraint"),
            synchronization=kwargs.get("synchronization") or tf.VariableSynchronization.AUTO,
            aggregation=kwargs.get("aggregation") or tf.VariableAggregation.NONE,
        )

    with tf.variable_creator_scope(create), keras_private.defer_normalization():
        yield


def build_eagerly(registration: Registration, arguments: Mapping[str, Any]) -> Built:
    """Run a builder eagerly and say how to call what it returns.

    Raises:
        CkptMetaError: BUILDER_FAILED, BUILDER_EXITED, BUILDER_RETURNED, INPUTS_NEEDED, UNSUPPORTED_MODEL.
    """
    who = f"Builder {registration.name!r}"
    if not tf.executing_eagerly():
        raise CkptMetaError(
            Code.UNSUPPORTED_MODEL,
            f"{who} is to be built eagerly, for its checkpoint is object-based, but its module turns eager "
            "execution off (disable_v2_behavior or disable_eager_execution). Register it with graph=True, or "
            "leave that call out.",
        )
    returned = run_user_code(who, Code.BUILDER_FAILED, lambda: registration.function(**arguments))
    given = returned if isinstance(returned, Model) else Model(returned)
    root = _unwrap(given.root)
    inputs = given.inputs if given.inputs is not None else registration.inputs
    called: Any = given.call if given.call is not None else root
    flavour = keras_private.find_flavour(called)
    if not is_trackable(root) or hasattr(root, "python_function"):
        raise _refuse_return(who, root)
    if not callable(called):
        raise CkptMetaError(
            Code.BUILDER_RETURNED,
            f"{who} returned a {type(called).__name__}, which cannot be called. Give it a __call__, or return "
            "tb_ckptmeta.Model(root=…, call=…, inputs=…).",
        )
    args = _find_arguments(called, inputs, flavour)
    if args is None:
        what = "with a call that" if given.call is not None and flavour is None else "that"
        raise CkptMetaError(
            Code.INPUTS_NEEDED,
            f"{who} returned a {type(root if flavour is None else called).__name__} {what} does not know its inputs. "
            f'Say how it is called, as in @builder("{registration.name}", …, '
            "inputs=tf.TensorSpec([None, 784], tf.float32)).",
        )
    # What is called may be a part of what was saved, or stand beside it.
    models = [m for m in (root, called) if keras_private.find_flavour(m) is not None]
    notes = list(dict.fromkeys(note for model in models for note in _unwrap_functions(model)))
    parameters = _read_parameters(called if flavour is None else called.call)
    call = _call_for_inference(called) if flavour is not None and _takes_training(called, flavour) else called
    listed = list({id(layer): layer for model in models for layer in keras_private.list_layers(model)}.values())
    empty = keras_private.find_without_vocabulary(listed)
    if empty is not None:
        raise CkptMetaError(
            Code.UNSUPPORTED_MODEL,
            f"{who}: layer {empty!r} has no vocabulary, and no checkpoint holds the one that it was adapted to in "
            "training. Give the layer its vocabulary= in the builder, or adapt it there as in training.",
        )
    notes += keras_private.describe_adapted(listed)
    normalizations = keras_private.find_normalizations(listed)
    if normalizations:
        call = _call_with_restored_state(call, normalizations)
    container = isinstance(root, _CHECKPOINTS) and any(c is called for c in get_children(root).values())
    return Built(root, call, args, parameters, tuple(notes), container)


def _unwrap(root: Any) -> Any:
    """Return what a checkpoint saves: of `tf.train.Checkpoint(model)` the model itself, without an edge to it."""
    children = get_children(root) if isinstance(root, _CHECKPOINTS) else {}
    return children.get(ROOT, root) if children.keys() <= {ROOT, "root", "save_counter"} else root


def _call_with_restored_state(call: Callable[..., Any], normalizations: Sequence[Any]) -> Callable[..., Any]:
    """Let Normalization layers take mean and variance from their variables whenever the model is called.

    They keep them as constants, which `tf.train.Checkpoint` does not restore; Keras' own loading makes them anew from
    the restored variables (`load_own_variables`), and so does this.
    """

    def call_restored(*args: Any) -> Any:
        with keras_private.take_restored_state(normalizations):
            return call(*args)

    return call_restored


def _call_for_inference(model: Any) -> Callable[..., Any]:
    def call(*args: Any) -> Any:
        return model(*args, training=False)

    return call


def _takes_training(model: Any, flavour: str) -> bool:
    if flavour == KERAS_3:
        return True  # Layer.__call__ takes it, and drops it where `call` does not
    try:
        parameters = inspect.signature(model.call).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(p.name == "training" or p.kind is p.VAR_KEYWORD for p in parameters)


def _find_arguments(called: Any, inputs: Any, flavour: str | None) -> tuple[Any, ...] | None:
    """Return what a model is called with, as specs: what its builder says, else what the model knows; or None."""
    if inputs is not None:
        return inputs if isinstance(inputs, tuple) else (inputs,)
    if flavour is None:
        return _find_input_signature(called if hasattr(called, "input_signature") else called.__call__)
    declared = _find_input_signature(called.call)
    return _find_keras_inputs(called, flavour) if declared is None else _leave_out_training(called, declared)


def _find_input_signature(function: Any) -> tuple[Any, ...] | None:
    """Return the `input_signature` of a `tf.function`, None where it was given none."""
    signature = getattr(function, "input_signature", None)
    return tuple(signature) if isinstance(signature, (list, tuple)) else None


def _leave_out_training(model: Any, signature: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """Return the signature of a Keras model's `call` without `training`, which is False; None where others follow."""
    names = _read_parameters(model.call)[: len(signature)]
    if "training" not in names:
        return signature
    return signature[:-1] if names[-1] == "training" else None


def _find_keras_inputs(model: Any, flavour: str) -> tuple[Any, ...] | None:
    """Return the arguments that a Keras model knows it is called with, as TensorSpecs, or None."""
    inputs = getattr(model, "inputs", None)
    if inputs:
        try:
            structure = model.input
        except (AttributeError, ValueError):
            structure = inputs
        return (tf.nest.map_structure(_as_tensor_spec, structure),)
    if flavour == KERAS_3:
        return keras_private.find_built_signature(model)
    save_spec = getattr(model, "save_spec", None)
    found = save_spec() if save_spec is not None else None
    if found is None:
        return None
    args, kwargs = found
    kwargs = {k: v for k, v in kwargs.items() if v is not None and k not in ("training", "mask")}
    return tuple(args) if args and not kwargs else None


def _as_tensor_spec(tensor: Any) -> Any:
    """Return the spec of a KerasTensor, its batch dimension open as Keras leaves it."""
    name = tensor.name.partition(":")[0]
    spec = getattr(tensor, "type_spec", None)  # tf_keras
    if spec is not None and not isinstance(spec, tf.TensorSpec):
        return Named(spec, name)
    if getattr(tensor, "sparse", False) is True:
        return Named(tf.SparseTensorSpec(tensor.shape, tensor.dtype), name)
    if getattr(tensor, "ragged", False) is True:
        return Named(tf.RaggedTensorSpec(tensor.shape, tensor.dtype, ragged_rank=tensor.ragged_rank or 1), name)
    return tf.TensorSpec(tensor.shape, tensor.dtype, name)


def _unwrap_functions(model: Any) -> list[str]:
    """Let the methods of a Keras model that are a `tf.function` run the Python function itself, and say so.

    Keras 3 calls an unbuilt layer once for its shapes, and a `tf.function` keeps that trace, with the initial values
    that the weights had in it. Called through the Python function, the layer is traced anew.
    """
    unwrapped = set()
    methods: dict[type[Any], list[tuple[str, Any]]] = {}
    for layer in keras_private.list_layers(model):
        if type(layer) not in methods:
            methods[type(layer)] = _find_own_methods(type(layer))
        for name, function in methods[type(layer)]:
            object.__setattr__(layer, name, types.MethodType(function, layer))
            unwrapped.add(f"{type(layer).__name__}.{name}")
        for name, value in list(vars(layer).items()):
            function = _find_own_function(value)
            if function is not None:
                object.__setattr__(layer, name, function)
                unwrapped.add(f"{type(layer).__name__}.{name}")
    if not unwrapped:
        return []
    return [f"{', '.join(sorted(unwrapped))} is a tf.function; it was traced anew."]


def _find_own_methods(kind: type[Any]) -> list[tuple[str, Any]]:
    """Return the methods of a class that are a `tf.function` of the user's, with their Python functions."""
    found: dict[str, Any] = {}
    for base in reversed(kind.__mro__):
        found.update(vars(base))
    functions = ((name, _find_own_function(value)) for name, value in found.items())
    return [(name, function) for name, function in functions if function is not None]


def _find_own_function(value: Any) -> Any | None:
    """Return the Python function of a `tf.function` that user code made, None for anything else."""
    function = getattr(value, "python_function", None) if callable(value) else None
    library = (getattr(function, "__module__", None) or "").partition(".")[0]
    return None if library in ("keras", "tf_keras", "tensorflow") else function


def _read_parameters(function: Any) -> list[str]:
    """Return the names of the parameters that are taken by position; none where they cannot be known."""
    if not inspect.isroutine(function) and not hasattr(function, "python_function"):
        function = function.__call__  # bound to what is called, whose own parameter it leaves out
    for found in (function, getattr(function, "python_function", function)):
        try:
            parameters = inspect.signature(found).parameters.values()
        except (TypeError, ValueError):
            continue
        names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        if names:
            return names
    return []


def _infer_shape_and_dtype(initial: Any, shape: Any, dtype: Any) -> tuple[Any, Any]:
    if shape is not None and dtype is not None:
        return tf.TensorShape(shape), tf.as_dtype(dtype)
    if callable(initial):
        known = keras_private.find_initialized_shape(initial) if dtype is not None else None
        if known is not None:
            return tf.TensorShape(known), tf.as_dtype(dtype)
        # Traced, not run: only its shape is wanted.
        with tf.Graph().as_default():
            value = tf.convert_to_tensor(initial(), dtype=dtype)
    else:
        value = tf.convert_to_tensor(initial, dtype=dtype)
    return tf.TensorShape(value.shape if shape is None else shape), value.dtype


def _executes_eagerly() -> bool:
    with tf.init_scope():
        return bool(tf.executing_eagerly())


def _refuse_return(who: str, returned: Any) -> CkptMetaError:
    hint = "A builder returns the model: a Keras model, a tf.Module, or (inputs, outputs) of a tf.Graph."
    if hasattr(returned, "python_function"):
        what = "a tf.function. Return its model beside it: tb_ckptmeta.Model(root=…, call=…)"
    elif returned is None:
        what = "nothing (is a return statement missing?)"
    elif _holds_graph_tensors(returned):
        what = "graph tensors, but was built eagerly. If its checkpoint is name-based, register it with graph=True"
    else:
        what = f"a {type(returned).__name__}"
    return CkptMetaError(Code.BUILDER_RETURNED, f"{who} returned {what}. {hint}")


def _holds_graph_tensors(value: Any) -> bool:
    if not isinstance(value, (list, tuple, dict)):
        return False
    return any(isinstance(leaf, tf.Tensor) for leaf in tf.nest.flatten(value))
