"""A builder's parameters, and the arguments given for them. Runs anywhere."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tb_ckptmeta.core.errors import CkptMetaError, Code

Scalar = bool | int | float | str | None
"""What an argument can be: a JSON scalar."""

_SCALARS = (bool, int, float, str)


@dataclass(frozen=True)
class Parameter:
    """One parameter of a builder, as plain data.

    `annotation` is "int", "float", "bool", "str" or None (anything else says nothing about a scalar);
    `optional` tells that None fits; `default` is None for a default that is no JSON scalar, too.
    `open` is the builder's own `**kwargs`, which takes every name.
    """

    name: str
    annotation: str | None = None
    required: bool = True
    default: Scalar = None
    optional: bool = False
    open: bool = False

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Parameter:
        return cls(**value)


def describe_parameters(function: Callable[..., Any]) -> tuple[Parameter, ...]:
    """Return the parameters of `function` that can be set by name.

    Raises:
        CkptMetaError: INVALID_BUILDER where a parameter can be given by position alone and has no default.
    """
    found: list[Parameter] = []
    for p in inspect.signature(function).parameters.values():
        if p.kind is p.VAR_POSITIONAL:
            continue
        if p.kind is p.VAR_KEYWORD:
            found.append(Parameter(p.name, required=False, open=True))
            continue
        if p.kind is p.POSITIONAL_ONLY:
            if p.default is p.empty:
                raise CkptMetaError(
                    Code.INVALID_BUILDER,
                    f"Parameter {p.name!r} of builder function {function.__qualname__!r} is positional-only; "
                    "arguments are given by name. Remove the '/' from its signature, or give it a default.",
                )
            continue
        annotation, optional = _read_annotation(p.annotation)
        has_default = p.default is not p.empty
        scalar = p.default if has_default and isinstance(p.default, _SCALARS) else None
        found.append(
            Parameter(
                p.name,
                annotation if annotation is not None else _type_name(scalar),
                not has_default,
                None if isinstance(scalar, float) and not math.isfinite(scalar) else scalar,
                optional or (has_default and p.default is None),
            )
        )
    return tuple(found)


def coerce_texts(
    builder: str,
    parameters: Sequence[Parameter],
    texts: Mapping[str, str],
    others: Mapping[str, Scalar],
) -> dict[str, Scalar]:
    """Turn `--set NAME=TEXT` into values: by annotation, else default's type, else JSON scalar, else text.

    `others` are arguments that are known already; the texts come on top of them.

    Raises:
        CkptMetaError: INVALID_ARGUMENTS, naming every argument that does not fit.
    """
    by_name = {p.name: p for p in parameters}
    values: dict[str, Scalar] = dict(others)
    wrong: list[str] = []
    for name, text in texts.items():
        parameter = by_name.get(name)
        try:
            values[name] = _coerce(text, parameter)
        except ValueError:
            kind = parameter.annotation if parameter else None
            wrong.append(f"{name} takes {_article(kind)}, not {text!r}")
    if wrong:
        raise _invalid(builder, wrong, parameters)
    return check_arguments(builder, parameters, values)


def check_arguments(builder: str, parameters: Sequence[Parameter], arguments: Mapping[str, Any]) -> dict[str, Scalar]:
    """Return `arguments` as they are, once every one is known to fit the builder's parameters.

    Raises:
        CkptMetaError: INVALID_ARGUMENTS, naming every unknown, missing and ill-typed argument at once.
    """
    by_name = {p.name: p for p in parameters if not p.open}
    takes_any = any(p.open for p in parameters)
    wrong = []
    for name, value in arguments.items():
        if not (value is None or isinstance(value, _SCALARS)):
            wrong.append(f"{name} is no JSON scalar")
        elif isinstance(value, float) and not math.isfinite(value):
            wrong.append(f"{name} is {value}, which JSON does not hold")
        elif name not in by_name:
            if not takes_any:
                wrong.append(f"there is no parameter {name!r}")
        elif not _fits(value, by_name[name]):
            wrong.append(f"{name} takes {_article(by_name[name].annotation)}, not {value!r}")
    wrong += [f"{p.name} is missing" for p in parameters if p.required and p.name not in arguments]
    if wrong:
        raise _invalid(builder, wrong, parameters)
    return dict(arguments)


def describe_signature(parameters: Sequence[Parameter]) -> str:
    """Return the parameters as a person writes them: `units: int = 128, depth: int`."""
    shown = []
    for p in parameters:
        text = ("**" if p.open else "") + p.name
        if p.annotation:
            text += f": {p.annotation}" + (" | None" if p.optional else "")
        if not p.required and not p.open:
            text += f" = {p.default!r}" if p.default is not None or p.optional else " = …"
        shown.append(text)
    return ", ".join(shown)


def _invalid(builder: str, wrong: Sequence[str], parameters: Sequence[Parameter]) -> CkptMetaError:
    takes = describe_signature(parameters)
    return CkptMetaError(
        Code.INVALID_ARGUMENTS,
        f"Builder {builder!r} cannot be called so: {'; '.join(wrong)}. "
        + (f"It takes: {takes}." if takes else "It takes no arguments."),
    )


def _article(kind: str | None) -> str:
    return {"int": "an int", "float": "a float", "bool": "true or false", "str": "a string"}.get(
        kind or "", "a JSON scalar"
    )


def _type_name(value: Scalar) -> str | None:
    return None if value is None else type(value).__name__


def _read_annotation(annotation: Any) -> tuple[str | None, bool]:
    """Return the scalar type an annotation names (it may be a string), and whether None fits it."""
    if annotation is inspect.Parameter.empty:
        return None, False
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", None)
    if text is None or not isinstance(annotation, (str, type)):
        text = str(annotation)
    # With `from __future__ import annotations`, one that was a string already is quoted twice.
    text = text.strip("'\"").replace("typing.", "").replace(" ", "")
    optional = False
    if text.startswith("Optional[") and text.endswith("]"):
        text, optional = text[len("Optional[") : -1], True
    names = text.split("|")
    if "None" in names:
        names.remove("None")
        optional = True
    if len(names) == 1 and names[0] in ("int", "float", "bool", "str"):
        return names[0], optional
    return None, optional


def _coerce(text: str, parameter: Parameter | None) -> Scalar:
    kind = parameter.annotation if parameter else None
    if parameter and parameter.optional and kind != "str" and text in ("None", "null", "none"):
        return None
    if kind == "str":
        return text
    if kind == "int":
        return int(text.replace("_", ""), 10)
    if kind == "float":
        return float(text)
    if kind == "bool":
        known = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
        if text.lower() not in known:
            raise ValueError(text)
        return known[text.lower()]
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if value is None or isinstance(value, _SCALARS) else text


def _fits(value: Scalar, parameter: Parameter) -> bool:
    if value is None:
        return parameter.optional or parameter.annotation is None
    match parameter.annotation:
        case "int":
            return isinstance(value, int) and not isinstance(value, bool)
        case "float":
            return isinstance(value, (int, float)) and not isinstance(value, bool)
        case "bool":
            return isinstance(value, bool)
        case "str":
            return isinstance(value, str)
    return True
