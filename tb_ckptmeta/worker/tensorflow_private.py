"""Every private TensorFlow name that is used, in one place, with a guard. Runs in the worker."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from tb_ckptmeta.core.errors import CkptMetaError, Code

_MODULES = {
    "resource_variable_ops": "tensorflow.python.ops.resource_variable_ops",
    "trackable_base": "tensorflow.python.trackable.base",
    "trackable_resource": "tensorflow.python.trackable.resource",
    "saved_model_pb2": "tensorflow.core.protobuf.saved_model_pb2",
}
_NAMES = (
    ("resource_variable_ops", "UninitializedVariable"),
    ("resource_variable_ops", "BaseResourceVariable"),
    ("resource_variable_ops", "BaseResourceVariable._read_variable_op"),
    ("trackable_base", "Trackable"),
    ("trackable_base", "Trackable._trackable_children"),
    ("trackable_resource", "CapturableResource"),
    ("trackable_resource", "CapturableResource._create_resource"),
    ("trackable_resource", "CapturableResource._initialize"),
    ("saved_model_pb2", "SavedModel"),
)


def find_moved_names() -> list[str]:
    """Return the private names that the installed TensorFlow does not have (any more)."""
    moved = []
    for module, path in _NAMES:
        try:
            value: Any = importlib.import_module(_MODULES[module])
            for name in path.split("."):
                value = getattr(value, name)
        except (ImportError, AttributeError):
            moved.append(f"{_MODULES[module]}.{path}")
    return moved


def _require_names() -> None:
    if moved := find_moved_names():
        raise CkptMetaError(
            Code.PRIVATE_API_MOVED,
            f"TensorFlow {tf.__version__} has moved what tb_ckptmeta builds on: {', '.join(moved)}. "
            "Update tb_ckptmeta, or use a TensorFlow that its release notes name.",
        )


_require_names()

_rvo = importlib.import_module(_MODULES["resource_variable_ops"])
_Trackable = importlib.import_module(_MODULES["trackable_base"]).Trackable
_CapturableResource = importlib.import_module(_MODULES["trackable_resource"]).CapturableResource

SavedModel: type[Any] = importlib.import_module(_MODULES["saved_model_pb2"]).SavedModel
ResourceVariable: type[Any] = _rvo.BaseResourceVariable


class WeightRead(Exception):
    """The value of a variable without memory was asked for."""


class WeightlessVariable(_rvo.UninitializedVariable):  # type: ignore[misc, name-defined]
    """A variable with a handle, a shape and a dtype, and no memory for its value.

    Read before it was assigned, TensorFlow would give an empty tensor and no error; here it calls `on_read` and
    raises `WeightRead`.
    """

    def __init__(self, *, initial_value: Any, on_read: Callable[[str], None], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.ckptmeta_initial_value = initial_value
        self._ckptmeta_on_read = on_read
        self._ckptmeta_assigned = False

    def _refuse_read(self) -> None:
        if tf.executing_eagerly() and not self._ckptmeta_assigned:
            self._ckptmeta_on_read(self.name)
            raise WeightRead(f"the value of variable {self.name} is read while the model is built")

    def _read_variable_op(self, *args: Any, **kwargs: Any) -> Any:
        self._refuse_read()
        return super()._read_variable_op(*args, **kwargs)

    def numpy(self) -> Any:
        self._refuse_read()
        return super().numpy()

    def sparse_read(self, *args: Any, **kwargs: Any) -> Any:
        self._refuse_read()
        return super().sparse_read(*args, **kwargs)

    def gather_nd(self, *args: Any, **kwargs: Any) -> Any:
        self._refuse_read()
        return super().gather_nd(*args, **kwargs)

    def assign(self, *args: Any, **kwargs: Any) -> Any:
        result = super().assign(*args, **kwargs)
        if tf.executing_eagerly():
            self._ckptmeta_assigned = True
        return result

    def assign_add(self, *args: Any, **kwargs: Any) -> Any:
        self._refuse_read()
        return super().assign_add(*args, **kwargs)

    def assign_sub(self, *args: Any, **kwargs: Any) -> Any:
        self._refuse_read()
        return super().assign_sub(*args, **kwargs)


ROOT = "_root"
"""The edge of a `tf.train.Checkpoint` to the object that it was given without a name, and saves in its own place."""


def is_trackable(value: Any) -> bool:
    """Tell whether `tf.train.Checkpoint` can save `value`."""
    return isinstance(value, _Trackable)


def get_children(trackable: Any) -> Mapping[str, Any]:
    """Return the named edges under which `tf.train.Checkpoint` saves what `trackable` holds.

    Of a `tf.train.Checkpoint(model, more=…)`, the edge ROOT leads to the model.
    """
    return dict(trackable._trackable_children("checkpoint"))


def find_variable(trackable: Any) -> Any | None:
    """Return the resource variable behind a trackable: itself, or what Keras, an auto-cast or a strategy wraps.

    Of a variable that a distribution strategy has made, that of the first replica: a worker has one device.
    """
    value = trackable
    for _ in range(4):
        if isinstance(value, ResourceVariable):
            return value
        if isinstance(value, tf.distribute.DistributedValues):
            value = next(iter(vars(value).get("_values", ())), None)
            continue
        inner = None
        for name in ("_value", "_variable", "_v", "_distributed_container"):
            candidate = vars(value).get(name) if hasattr(value, "__dict__") else None
            if candidate is not None and candidate is not value and not callable(candidate):
                inner = candidate
                break
        if inner is None:
            return None
        value = inner
    return None


def is_resource(trackable: Any) -> bool:
    """Tell whether a trackable is a table or another resource that a function can capture."""
    return isinstance(trackable, _CapturableResource)


def create_resource(resource: Any) -> Any:
    """Create the resource of a table once more, in the current graph, and return its handle."""
    return resource._create_resource()


def initialize_resource(resource: Any) -> None:
    """Run the initialization of a table in the current graph, on its current handle."""
    resource._initialize()
