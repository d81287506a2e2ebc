"""Every private Keras name that is used, in one place, with a guard. Runs in the worker."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import tensorflow as tf

from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.legacy import KERAS_3, LEGACY
from tb_ckptmeta.worker.tensorflow_private import ResourceVariable

_LOOKUPS = ("StringLookup", "IntegerLookup", "TextVectorization")
_PLAIN_INITIALIZERS = (
    "Zeros",
    "Ones",
    "GlorotNormal",
    "GlorotUniform",
    "HeNormal",
    "HeUniform",
    "LecunNormal",
    "LecunUniform",
    "RandomNormal",
    "RandomUniform",
    "TruncatedNormal",
    "VarianceScaling",
)
_FLOATS = ("float16", "bfloat16", "float32", "float64")
_NOT_IN_SCOPES = re.compile(r"[^A-Za-z0-9_.\\/>-]")


def find_moved_names() -> list[str]:
    """Return the private names that the installed Keras 3 does not have (any more)."""
    try:
        from keras.src import backend
    except ImportError:
        return ["keras.src.backend"]
    if not hasattr(backend, "name_scope"):
        return ["keras.src.backend.name_scope"]
    if not hasattr(backend.name_scope("x"), "_tf_name_scope"):
        return ["keras.src.backend.name_scope._tf_name_scope"]
    return []


def find_flavour(value: Any) -> str | None:
    """Tell which Keras made a layer or model: "3", "legacy", or None for what is no layer."""
    for flavour, name in ((KERAS_3, "keras"), (LEGACY, "tf_keras")):
        keras = sys.modules.get(name)
        layer = getattr(getattr(keras, "layers", None), "Layer", None)
        if layer is not None and isinstance(value, layer):
            return flavour
    return None


@contextlib.contextmanager
def enter_scopes_once() -> Iterator[None]:
    """Name operations by their layers alone: `net/dense/MatMul` instead of `net_1/dense_1/MatMul`.

    Keras 3 enters a layer's scope when it is built and again when it is called, and TensorFlow makes the second one
    unique. A scope that ends in "/" is re-entered as it is. Without the private name this is a matter of looks
    alone: the scopes stay as Keras makes them.
    """
    if "keras" not in sys.modules or find_moved_names():
        yield
        return
    from keras.src import backend

    base: Any = backend.name_scope

    class OnceScope(base):  # type: ignore[misc]
        def __init__(self, name: str, **kwargs: Any) -> None:
            super().__init__(name, **kwargs)
            self._ckptmeta_name = name

        def __enter__(self) -> Any:
            here = tf.get_current_name_scope()
            name = _NOT_IN_SCOPES.sub("_", self._ckptmeta_name)
            if not re.match(r"[A-Za-z0-9.]", name):
                name = "layer" + name
            self._tf_name_scope = tf.name_scope(f"{here}/{name}/" if here else f"{name}/")
            return super().__enter__()

    backend.name_scope = OnceScope
    try:
        yield
    finally:
        backend.name_scope = base


_SAVING = {KERAS_3: "keras.src.saving.saving_lib", LEGACY: "tf_keras.src.saving.saving_lib"}


def find_moved_saving_names(flavour: str) -> list[str]:
    """Return the private names of a Keras' loading of files that the installed one does not have (any more)."""
    try:
        saving = importlib.import_module(_SAVING[flavour])
    except ImportError:
        return [_SAVING[flavour]]
    moved = [f"{_SAVING[flavour]}.{n}" for n in ("_load_state", "H5IOStore") if not hasattr(saving, n)]
    if not moved:
        known = inspect.signature(saving._load_state).parameters
        moved = [f"{_SAVING[flavour]}._load_state({n}=)" for n in ("weights_store", "inner_path") if n not in known]
    return moved


@contextlib.contextmanager
def _without_optimizer(model: Any) -> Iterator[None]:
    """Hide how a model was compiled: tf_keras asks the optimizer of what it loads for the values of its variables."""
    held = vars(model)
    optimizer = held.get("optimizer")
    if optimizer is not None:
        held["optimizer"] = None
    try:
        yield
    finally:
        if optimizer is not None:
            held["optimizer"] = optimizer


def load_state(
    model: Any, flavour: str, groups: Any, assign: Callable[[Any, Any], None]
) -> list[tuple[Any, BaseException]]:
    """Let Keras load `groups` into a model, each assignment handed to `assign` in the place of being made.

    `groups` has `get(path)`, the arrays of a group by name, and `has_path(path)`. Returns (layer, error) for each
    that did not load.

    Raises:
        CkptMetaError: PRIVATE_API_MOVED.
    """
    if moved := find_moved_saving_names(flavour):
        raise CkptMetaError(
            Code.PRIVATE_API_MOVED,
            f"This Keras has moved what reading its files builds on: {', '.join(moved)}. Update tb_ckptmeta, or save "
            "the model with tf.train.Checkpoint(model=model).",
        )
    saving = importlib.import_module(_SAVING[flavour])

    class Store(saving.H5IOStore):  # type: ignore[misc, name-defined]
        """Keras asks for a store of its own kind."""

        def __init__(self) -> None:
            """Open no file."""

        def __bool__(self) -> bool:
            return True

        def get(self, path: str) -> Any:
            return groups.get(path)

        def has_path(self, path: str) -> bool:
            return bool(groups.has_path(path))

        def close(self) -> None:
            """There is nothing to close."""

    failed: dict[int, tuple[Any, BaseException]] = {}
    # The names of the others have changed from version to version; what is not there is not asked for.
    others: dict[str, Any] = {
        "visited_saveables": set(),
        "visited_trackables": set(),
        "failed_saveables": set(),
        "failed_trackables": set(),
        "error_msgs": failed,
    }
    known = inspect.signature(saving._load_state).parameters
    # Without a list of errors, one would end the loading: then go on, and let Keras warn.
    skip = "error_msgs" not in known
    with _catch_assignments(flavour, assign), _without_optimizer(model):
        saving._load_state(
            model,
            weights_store=Store(),
            assets_store=None,
            inner_path="",
            skip_mismatch=skip,
            **{name: value for name, value in others.items() if name in known},
        )
    return list(failed.values())


@contextlib.contextmanager
def _catch_assignments(flavour: str, assign: Callable[[Any, Any], None]) -> Iterator[None]:
    """Hand every `variable.assign(value)` to `assign`."""
    base = sys.modules["keras"].Variable if flavour == KERAS_3 else ResourceVariable
    # Each kind of variable may have an `assign` of its own, and hide its base's.
    kinds = [base, *(kind for kind in _find_subclasses(base) if "assign" in vars(kind))]

    def caught(self: Any, value: Any, *_: Any, **__: Any) -> Any:
        assign(self, value)
        return value

    own = [(kind, vars(kind).get("assign")) for kind in kinds]
    for kind in kinds:
        kind.assign = caught
    try:
        yield
    finally:
        for kind, before in own:
            if before is None:
                del kind.assign
            else:
                kind.assign = before


def _find_subclasses(kind: type[Any]) -> Iterator[type[Any]]:
    for below in kind.__subclasses__():
        yield below
        yield from _find_subclasses(below)


def find_initialized_shape(initial: Any) -> tuple[int, ...] | None:
    """Return the shape that a variable of Keras 3 is given by one of Keras' plain initializers, else None.

    `initial` is a variable's `initial_value`: Keras wraps the initializer in a function that holds it and the variable
    (keras/src/backend/tensorflow/core.py). Tracing one for its shape alone takes a third of a model's building.
    """
    if getattr(initial, "__qualname__", "") != "Variable._initialize_with_initializer.<locals>.<lambda>":
        return None
    names, cells = initial.__code__.co_freevars, initial.__closure__ or ()
    held = {name: cell.cell_contents for name, cell in zip(names, cells, strict=True)}
    initializer, shape = held.get("initializer"), getattr(held.get("self"), "_shape", None)
    keras = sys.modules.get("keras")
    kinds = tuple(getattr(keras.initializers, name) for name in _PLAIN_INITIALIZERS) if keras is not None else ()
    # Its exact type: what somebody derives from it may make whatever it likes. A generator of seeds has a state.
    plain = type(initializer) in kinds and isinstance(getattr(initializer, "seed", None), (int, type(None)))
    # Of other types the random ones refuse some, as tracing shows.
    fits = plain and (type(initializer) in kinds[:2] or str(getattr(held["self"], "_dtype", "")) in _FLOATS)
    return tuple(shape) if fits and isinstance(shape, tuple) and all(type(d) is int for d in shape) else None


def find_untracked(layer: Any) -> Mapping[str, Any]:
    """Return the lists and dicts of layers that a layer of Keras 3 has as attributes, by the attributes' names.

    `tf.train.Checkpoint` does not follow them (keras/src/utils/tracking.py: they are no trackables).
    """
    if find_flavour(layer) != KERAS_3:
        return {}
    return {
        name: value
        for name, value in vars(layer).items()
        if not name.startswith("_") and isinstance(value, (list, tuple, dict)) and _holds_layers(value)
    }


def _holds_layers(value: Any, depth: int = 3) -> bool:
    if isinstance(value, (list, tuple, dict)):
        items = value.values() if isinstance(value, dict) else value
        return depth > 0 and any(_holds_layers(item, depth - 1) for item in items)
    return find_flavour(value) is not None or isinstance(value, (sys.modules["keras"].Variable, tf.Variable))


def find_moved_order_names() -> list[str]:
    """Return the private names of Keras 3's order of layers that the installed one does not have (any more)."""
    try:
        from keras.src.ops import function
    except ImportError:
        return ["keras.src.ops.function"]
    if not hasattr(function, "map_graph"):
        return ["keras.src.ops.function.map_graph"]
    keras = sys.modules["keras"]
    x = keras.Input((1,))
    model = keras.Model(x, keras.layers.Identity()(x))
    names = {
        "keras.Model": (model, ("_operations", "_operations_by_depth")),
        "keras.Layer": (model.layers[-1], ("_inbound_nodes",)),
    }
    moved = [f"{kind}.{name}" for kind, (value, own) in names.items() for name in own if not hasattr(value, name)]
    arguments = None if moved else getattr(model.layers[-1]._inbound_nodes[0], "arguments", None)
    own = () if moved else ("args", "kwargs", "keras_tensors")
    return [*moved, *(f"keras.Layer._inbound_nodes.arguments.{n}" for n in own if not hasattr(arguments, n))]


def find_older_order(model: Any) -> list[Any]:
    """Return the layers of a Functional model of Keras 3 in the order that Keras 2 gives them, where that is another.

    Layers of one depth are ordered by the arguments that lead to them. Keras 2 takes a call's first parameter and then
    the keyword arguments as they were written (tf_keras/src/engine/node.py), Keras 3 sorts these by their names
    (keras/src/ops/symbolic_arguments.py).

    Raises:
        CkptMetaError: PRIVATE_API_MOVED, where the order may be another and cannot be told.
    """
    if find_flavour(model) != KERAS_3 or not hasattr(model, "_operations_by_depth"):
        return []
    calls = [
        (operation, node.arguments)
        for operation in getattr(model, "_operations", ())
        for node in getattr(operation, "_inbound_nodes", ())
        if len(getattr(getattr(node, "arguments", None), "kwargs", ())) > 1
    ]
    if not calls:
        return []
    if moved := find_moved_order_names():
        raise CkptMetaError(
            Code.PRIVATE_API_MOVED,
            f"This Keras has moved what the order of layers is read from: {', '.join(moved)}. Update tb_ckptmeta.",
        )
    from keras.src.ops.function import map_graph

    keras = sys.modules["keras"]
    kept = []
    try:
        for operation, given in calls:
            kept.append((given, given.keras_tensors))
            first = next(iter(inspect.signature(operation.call).parameters), None)
            keyed = sorted(given.kwargs, key=lambda name, first=first: name != first)  # type: ignore[misc]
            values = [*given.args, *(given.kwargs[name] for name in keyed)]
            flat = [part for value in values for part in keras.tree.flatten(value)]
            given.keras_tensors = [part for part in flat if isinstance(part, keras.KerasTensor)]
        layers: list[Any] = map_graph(model.inputs, model.outputs)[2]
    finally:
        for given, tensors in kept:
            given.keras_tensors = tensors
    return layers if layers != model._operations else []


def list_layers(model: Any) -> list[Any]:
    """Return a Keras model and every layer below it."""
    flatten = getattr(model, "_flatten_layers", None)
    return list(flatten()) if flatten is not None else [model, *getattr(model, "layers", ())]


def write_config(model: Any) -> str:
    """Return a Keras model's `to_json` without how it was compiled: that asks the optimizer for variables' values."""
    compiled = [m for m in list_layers(model) if hasattr(m, "get_compile_config")]
    for each in compiled:
        object.__setattr__(each, "get_compile_config", lambda: None)
    try:
        text: str = model.to_json()
    finally:
        for each in compiled:
            object.__delattr__(each, "get_compile_config")
    return text


def list_variables(model: Any) -> list[Any]:
    """Return a Keras model's own list of its variables, in its order; an empty one for anything else."""
    return [] if find_flavour(model) is None else list(model.variables)


def find_layer_classes(model: Any) -> Mapping[str, str]:
    """Return layer name -> class name for every layer below a Keras model, itself included."""
    return {
        layer.name: type(layer).__name__
        for layer in list_layers(model)
        if isinstance(getattr(layer, "name", None), str)
    }


def find_built_signature(model: Any) -> tuple[Any, ...] | None:
    """Return the TensorSpecs of a subclassed Keras 3 model that was built with a shape, as positional arguments."""
    shapes = getattr(model, "_build_shapes_dict", None)
    if not isinstance(shapes, Mapping) or not shapes:
        return None
    dtype = getattr(model, "input_dtype", None) or "float32"
    found = []
    for shape in shapes.values():
        if not isinstance(shape, (tuple, list)) or not all(d is None or isinstance(d, int) for d in shape):
            return None
        found.append(tf.TensorSpec([None, *shape[1:]], dtype))
    return tuple(found)


def find_normalizations(layers: Iterable[Any]) -> list[Any]:
    """Return the Normalization layers whose mean and variance are variables that `adapt` sets."""
    return [
        layer
        for layer in layers
        if type(layer).__name__ == "Normalization"
        and find_flavour(layer) is not None
        and getattr(layer, "adapt_mean", None) is not None
    ]


@contextlib.contextmanager
def take_restored_state(normalizations: Iterable[Any]) -> Iterator[None]:
    """Let Normalization layers compute mean and variance from their variables as they are now; then as before."""
    before = [(layer, layer.mean, layer.variance) for layer in normalizations]
    try:
        for layer, _, _ in before:
            layer.finalize_state()
        yield
    finally:
        for layer, mean, variance in before:
            layer.mean, layer.variance = mean, variance


@contextlib.contextmanager
def defer_normalization() -> Iterator[None]:
    """Let no Normalization layer read its variables while it is built: `take_restored_state` does when it matters."""
    patched = []
    for module in ("keras", "tf_keras"):
        kind = getattr(getattr(sys.modules.get(module), "layers", None), "Normalization", None)
        if kind is None or not hasattr(kind, "finalize_state"):
            continue
        original = kind.finalize_state

        def finalize_state(self: Any, original: Any = original) -> None:
            shape = getattr(self, "_broadcast_shape", None)
            if not tf.executing_eagerly() or shape is None or getattr(self, "adapt_mean", None) is None:
                original(self)
                return
            self.mean = tf.zeros(shape, self.compute_dtype)
            self.variance = tf.ones(shape, self.compute_dtype)

        kind.finalize_state = finalize_state
        patched.append((kind, original))
    try:
        yield
    finally:
        for kind, original in patched:
            kind.finalize_state = original


def find_without_vocabulary(layers: Iterable[Any]) -> str | None:
    """Return the name of a lookup layer that knows no word: no checkpoint holds what it was adapted to."""
    for layer in layers:
        if find_flavour(layer) is None or type(layer).__name__ not in _LOOKUPS:
            continue
        lookup = getattr(layer, "_lookup_layer", layer)
        try:
            known = lookup.vocabulary_size() - lookup.num_oov_indices - int(lookup.mask_token is not None)
        except Exception:  # a layer of another version, or not built yet: calling it will say
            continue
        if known <= 0:
            return str(layer.name)
    return None


def describe_adapted(layers: Iterable[Any]) -> list[str]:
    """Return notes on layers whose `adapt` leaves nothing in a checkpoint."""
    layers = list(layers)
    inner = {id(getattr(layer, "_lookup_layer", None)) for layer in layers}
    bins, words = [], []
    for layer in layers:
        kind = type(layer).__name__
        if find_flavour(layer) is None or id(layer) in inner:
            continue
        if kind == "Discretization" and getattr(layer, "num_bins", None) is not None:
            bins.append(layer.name)
        if kind in _LOOKUPS:
            words.append(layer.name)
    notes = []
    if bins:
        notes.append(f"The bins of {', '.join(bins)} come from the builder (adapt), not from the checkpoint.")
    if words:
        notes.append(f"The vocabulary of {', '.join(words)} comes from the builder, not from the checkpoint.")
    return notes
