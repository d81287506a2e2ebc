"""Every private Keras name that is used, in one place, with a guard. Runs in the worker."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import tensorflow as tf

from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.worker.flavour import KERAS_3, LEGACY
from tb_ckptmeta.worker.tensorflow_private import ResourceVariable, WeightlessVariable

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
    with _catch_assignments(flavour, assign):
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
    if flavour == KERAS_3:
        kinds: tuple[Any, ...] = (sys.modules["keras"].Variable,)
    else:
        kinds = (ResourceVariable, WeightlessVariable)

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


def list_layers(model: Any) -> list[Any]:
    """Return a Keras model and every layer below it."""
    flatten = getattr(model, "_flatten_layers", None)
    return list(flatten()) if flatten is not None else [model, *getattr(model, "layers", ())]


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
