"""Register builders: the decorator that user code applies, and what it keeps. Runs anywhere."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from tb_ckptmeta.core.errors import CkptMetaError, Code

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class Model:
    """What a builder returns to say everything itself.

    `root`: the trackable that was saved (what `tf.train.Checkpoint(model=…)` was given).
    `call`: the function to trace, called with `inputs`; None calls `root`.
    `inputs`: as in `builder`; None takes the builder's own.
    """

    root: Any
    call: Callable[..., Any] | None = None
    inputs: Any = None


@dataclass(frozen=True)
class Registration:
    """One registered builder: its name, its function and what was said about it."""

    name: str
    function: Callable[..., Any]
    checkpoints: tuple[str, ...]
    inputs: Any
    keras: str | None
    graph: bool | None

    @property
    def source(self) -> str:
        """Where the function stands, for people: `my_builders.py:12 mnist_mlp`."""
        code = getattr(inspect.unwrap(self.function), "__code__", None)
        name = getattr(self.function, "__qualname__", repr(self.function))
        return f"{code.co_filename}:{code.co_firstlineno} {name}" if code else name


_registrations: list[Registration] = []


def builder(
    name: str,
    *,
    checkpoints: str | Iterable[str] = (),
    inputs: Any = None,
    keras: str | None = None,
    graph: bool | None = None,
) -> Callable[[Function], Function]:
    """Register a function that re-creates a model, under `name`.

    Args:
        name: how people and requests name it.
        checkpoints: globs on `run/checkpoint` relative to the logdir; `**` is zero or more folders.
        inputs: how the model is called. A TensorSpec, list or dict is the first argument as it
            stands; a tuple is spread over positional arguments. Keras models that know their own
            inputs need none, nor does a `tf.function` with an input_signature.
        keras: "3" or "legacy" (tf_keras); None finds out.
        graph: True builds inside a `tf.Graph`, False eagerly; None goes by the checkpoint.

    The function is returned unchanged. Its parameters are the builder's arguments. It returns a Keras
    model, another trackable, graph tensors as `(inputs, outputs)`, or a `Model`.

    Raises:
        CkptMetaError: INVALID_BUILDER, naming the value that does not fit.
    """
    if not isinstance(name, str) or not name.strip() or name != name.strip():
        raise _invalid(f"a builder's name is a string without spaces around it, not {name!r}")
    if not name.isprintable() or "•" in name or len(name) > 100:
        raise _invalid(f"builder name {name!r} must be printable, without '•', and at most 100 characters")
    patterns = (checkpoints,) if isinstance(checkpoints, str) else tuple(checkpoints)
    if not all(isinstance(p, str) and p for p in patterns):
        raise _invalid(f"builder {name!r}: checkpoints= takes globs such as 'mlp/*', not {checkpoints!r}")
    if keras not in (None, "3", "legacy"):
        raise _invalid(f"builder {name!r}: keras= is '3', 'legacy' or None, not {keras!r}")
    if graph not in (None, True, False):
        raise _invalid(f"builder {name!r}: graph= is True, False or None, not {graph!r}")

    def register(function: Function) -> Function:
        if not callable(function):
            raise _invalid(f"builder {name!r} decorates a function, not {function!r}")
        new = Registration(name, function, patterns, inputs, keras, graph)
        # A notebook cell that runs again registers the same function again: the newer one counts.
        _registrations[:] = [r for r in _registrations if not _same_place(r, new)]
        _registrations.append(new)
        return function

    return register


def take_registrations() -> tuple[Registration, ...]:
    """Return what has been registered since the last call, in order, and forget it."""
    taken = tuple(_registrations)
    _registrations.clear()
    return taken


def _same_place(a: Registration, b: Registration) -> bool:
    return (
        a.name == b.name
        and a.function is not b.function
        and getattr(a.function, "__module__", None) == getattr(b.function, "__module__", None) == "__main__"
        and getattr(a.function, "__qualname__", 0) == getattr(b.function, "__qualname__", 1)
    )


def _invalid(message: str) -> CkptMetaError:
    return CkptMetaError(Code.INVALID_BUILDER, message[0].upper() + message[1:] + ".")
