"""Make a model of a Keras configuration, where nobody has registered a builder. Runs in the worker.

A configuration comes from a logdir, which is not trusted. Keras' safe mode refuses Python code in it; but older ones
import whatever module it names, and some layers read files or call TensorFlow's operations by name. So it is looked
through first: what is not plainly a part of Keras is refused, and nothing of it has run then.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import re
from collections.abc import Iterator
from typing import Any

from tb_ckptmeta.core.builder import Registration
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.job import Source
from tb_ckptmeta.core.legacy import LEGACY
from tb_ckptmeta.worker.keras_private import find_flavour
from tb_ckptmeta.worker.load import get_builder
from tb_ckptmeta.worker.user_code import describe_error, name_in_errors

# Modules that hold what models are made of, by their public names and as Keras spells those without one.
_PARTS = (
    "activations|constraints|dtype_policies|engine|initializers|layers|losses|metrics|mixed_precision|models|ops|"
    "quantizers|regularizers|random"
)
_MODULE = re.compile(rf"(?:tf_)?keras(?:\.src)?\.(?:{_PARTS})(?:\.\w+)*")
_FUNCTIONS = re.compile(r"builtins|(?:tf_)?keras(?:\.src)?\.(?:activations|initializers|losses|ops)(?:\.\w+)*")
"""Where a function may come from; Keras looks those of `builtins` up among its own."""
_TOP = re.compile(r"Sequential|Functional|Model|\w*DTypePolicy")
"""What the module `keras` itself is named for."""
_TYPE_SPEC = re.compile(r"tensorflow\.python\.framework\.\w+|tensorflow\.python\.ops\.ragged\.\w+")

_REFUSED = {
    "Lambda": "whose Python code would have to run",
    "__lambda__": "whose Python code would have to run",
    "TFSMLayer": "which loads another file, and runs what that holds",
    "TorchModuleWrapper": "which unpickles Python objects",
    "JaxLayer": "which runs a function that is not in it",
    "FlaxLayer": "which runs a function that is not in it",
    "TensorFlowOpLayer": "which runs any operation of TensorFlow",
    "ClassMethod": "which calls a function of TensorFlow by its name",
    "InstanceMethod": "which calls a method by its name",
    "InstanceProperty": "which reads an attribute by its name",
}
_OPERATIONS = ("TFOpLambda", "SlicingOpLambda")
# What tf_keras makes of TensorFlow's functions in a Functional model: those that compute; none reads or writes.
_FUNCTION = re.compile(
    r"(?:math|nn|linalg|signal|__operators__|bitwise|strings)\.\w+|image\.(?:resize\w*|crop_\w+|pad_\w+|flip_\w+)|"
    r"(?:compat\.v1\.)?(?:abs|add|argmax|argmin|boolean_mask|broadcast_to|cast|clip_by_value|concat|cos|cumsum|"
    r"divide|einsum|equal|exp|expand_dims|eye|fill|floor|gather|gather_nd|greater|greater_equal|identity|less|"
    r"less_equal|logical_and|logical_not|logical_or|matmul|maximum|minimum|multiply|negative|norm|not_equal|one_hot|"
    r"ones|ones_like|pad|pow|range|rank|reduce_\w+|repeat|reshape|reverse|roll|round|shape|sigmoid|sign|sin|slice|"
    r"softmax|sort|split|sqrt|square|squeeze|stack|strided_slice|subtract|tanh|tensordot|tile|transpose|unstack|where|"
    r"zeros|zeros_like)"
)
_LOOKUPS = frozenset({"StringLookup", "IntegerLookup", "TextVectorization"})
_SHOWN = 80


def get_registration(source: Source) -> Registration:
    """Return the builder of a job: the registered one, or one that deserialises the job's configuration.

    Raises:
        CkptMetaError: as `load.get_builder`.
    """
    if source.config is None:
        return get_builder(source.spec, source.builder)
    return Registration(source.builder, lambda: make_model(source), (), None, source.keras, False)


@contextlib.contextmanager
def name_source(source: Source) -> Iterator[None]:
    """Name in errors what makes the model."""
    if source.config is None:
        with name_in_errors(source.title, source.builder):
            yield
        return
    try:
        yield
    except CkptMetaError as error:
        message = error.message.replace(f"Builder {source.builder!r}", source.title)
        if source.title not in message:
            message = f"{source.title}: {message}"
        raise CkptMetaError(error.code, message, error.details) from error


def describe_configuration(source: Source) -> list[str]:
    """Return the note that says where a model comes from that no builder has made."""
    if source.config is None:
        return []
    return [f"{source.title} was deserialised in a worker; it holds Keras' own layers alone, and no code."]


def make_model(source: Source) -> Any:
    """Deserialise the configuration of a job.

    Raises:
        CkptMetaError: SOURCE_REFUSED for what might run code, SOURCE_UNREADABLE for what Keras makes no model of.
    """
    assert source.config is not None
    try:
        config = json.loads(source.config)
    except (ValueError, RecursionError) as error:
        message = f"{source.title} is no JSON: {error}."
        raise CkptMetaError(Code.SOURCE_UNREADABLE, message) from None
    reason = find_refusal(config)
    if reason is not None:
        raise CkptMetaError(
            Code.SOURCE_REFUSED,
            f"{source.title} is refused: {reason}. Nothing of it was run. Register a builder for this checkpoint.",
        )
    try:
        model = _deserialize(config, source.keras)
    except Exception as error:
        raise CkptMetaError(
            Code.SOURCE_UNREADABLE,
            f"{source.title} could not be deserialised: {_describe(error)[:500]}",
            str(error)[:8000],
        ) from error
    if find_flavour(model) is None or not hasattr(model, "layers"):
        message = f"{source.title} is that of a {type(model).__name__}, and not of a model."
        raise CkptMetaError(Code.SOURCE_UNREADABLE, message)
    return model


def _describe(error: Exception) -> str:
    """Return what went wrong within: Keras tells it last, behind the whole configuration of each object around it."""
    inner = str(error).rpartition("Exception encountered: ")[2].strip()
    return inner.splitlines()[0] if inner and inner != str(error).strip() else describe_error(error)


def find_refusal(config: Any) -> str | None:
    """Return why a configuration is not deserialised, as a clause; None where all of it is plainly Keras' own.

    On the way, how its models were compiled is dropped: it is the training's matter.
    """
    stack = [config]
    while stack:
        value = stack.pop()
        if isinstance(value, dict):
            value.pop("compile_config", None)
            reason = _refuse_entry(value)
            if reason is not None:
                return reason
            stack.extend(value.values())
        elif isinstance(value, list):
            stack.extend(value)
    return None


def _refuse_entry(entry: dict[str, Any]) -> str | None:
    name, module, config = entry.get("class_name"), entry.get("module"), entry.get("config")
    if name is None and module is None and "function_type" not in entry:
        return None
    if name == "__typespec__" and isinstance(module, str) and _TYPE_SPEC.fullmatch(module):
        return None
    if name is not None and not isinstance(name, str):
        return f"a class in it is named by a {type(name).__name__}"
    last = (name or "").rpartition(">")[2]
    called = config.rpartition(">")[2] if last == "function" and isinstance(config, str) else last
    if name is not None and not (last.isidentifier() and called.isidentifier()):
        return f"it names a class or function by a path, {_quote(name)}"  # `layers.Lambda` of the module `keras`, say
    if last in _REFUSED or "function_type" in entry:
        return f"it holds a {last or 'Lambda'} ({_find_name(config)}), {_REFUSED.get(last, _REFUSED['Lambda'])}"
    if module is not None and not _is_own(module, name):
        return (
            f"it names {_quote(name)} of the module {_quote(module)}, which is no part of Keras that models are made of"
        )
    if name in _OPERATIONS:
        function = config.get("function") if isinstance(config, dict) else None
        if not isinstance(function, str) or not _FUNCTION.fullmatch(function):
            return f"it calls TensorFlow's {_quote(function)}, which is not one of those that only compute"
    if name in _LOOKUPS and isinstance(config, dict) and isinstance(config.get("vocabulary"), str):
        return f"its layer {_find_name(config)} reads its vocabulary from a file, {_quote(config['vocabulary'])}"
    return None


def _is_own(module: Any, name: str | None) -> bool:
    if not isinstance(module, str):
        return False
    if module in ("keras", "tf_keras"):
        return name is not None and _TOP.fullmatch(name) is not None
    if name == "function":
        return _FUNCTIONS.fullmatch(module) is not None
    return _MODULE.fullmatch(module) is not None


def _deserialize(config: Any, flavour: str | None) -> Any:
    keras = importlib.import_module("tf_keras" if flavour == LEGACY else "keras")
    if isinstance(config, dict) and "module" not in config:
        # As Keras 2 writes it. Its reader of JSON has no safe mode, and what that refuses has been refused.
        return keras.models.model_from_json(json.dumps(config))
    return keras.saving.deserialize_keras_object(config, safe_mode=True)


def _find_name(config: Any) -> str:
    return _quote(config.get("name") if isinstance(config, dict) else None)


def _quote(value: Any) -> str:
    return repr(value)[:_SHOWN] if isinstance(value, str) else "without a name"
