"""A builder's parameters read from its signature, and the values that are given for them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Optional

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tb_ckptmeta.core.arguments import (
    Parameter,
    check_arguments,
    coerce_texts,
    describe_parameters,
    describe_signature,
)
from tb_ckptmeta.core.errors import CkptMetaError, Code


def by_name(function: Any) -> dict[str, Parameter]:
    return {p.name: p for p in describe_parameters(function)}


def value_or_error(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except CkptMetaError as error:
        return error


# --- reading a signature


def test_describe_parameters_of_annotated_ones_names_their_types() -> None:
    def build(units: int, rate: float, name: str, deep: bool) -> None: ...

    assert describe_parameters(build) == (
        Parameter("units", "int"),
        Parameter("rate", "float"),
        Parameter("name", "str"),
        Parameter("deep", "bool"),
    )


def test_describe_parameters_of_plain_ones_takes_the_type_of_the_default() -> None:
    def build(a, b=3, c=0.5, d="x", e=True, f=None, g=(1, 2)): ...  # type: ignore[no-untyped-def]

    assert describe_parameters(build) == (
        Parameter("a", None, True, None),
        Parameter("b", "int", False, 3),
        Parameter("c", "float", False, 0.5),
        Parameter("d", "str", False, "x"),
        Parameter("e", "bool", False, True),
        Parameter("f", None, False, None, optional=True),
        Parameter("g", None, False, None),
    )


@pytest.mark.parametrize(
    ("annotation", "expected", "optional"),
    [
        (int, "int", False),
        ("int", "int", False),
        ("int | None", "int", True),
        ("None | float", "float", True),
        (Optional[str], "str", True),  # noqa: UP045
        ("Optional[bool]", "bool", True),
        ("typing.Optional[int]", "int", True),
        (int | None, "int", True),
        ("'int | None'", "int", True),
        (int | str, None, False),
        (list, None, False),
        ("list[int]", None, False),
        (Any, None, False),
    ],
)
def test_describe_parameters_of_an_annotation_reads_it(annotation: Any, expected: str | None, optional: bool) -> None:
    def build(x): ...  # type: ignore[no-untyped-def]

    build.__annotations__["x"] = annotation
    assert describe_parameters(build) == (Parameter("x", expected, True, None, optional),)


def test_describe_parameters_of_variadic_ones_takes_the_named_alone() -> None:
    def build(*layers: int, units: int = 4, **others: int) -> None: ...

    assert describe_parameters(build) == (
        Parameter("units", "int", False, 4),
        Parameter("others", None, False, open=True),
    )


def test_describe_parameters_of_a_positional_only_one_raises_and_names_it() -> None:
    def build(units: int, /) -> None: ...

    with pytest.raises(CkptMetaError, match="'units'") as caught:
        describe_parameters(build)
    assert caught.value.code is Code.INVALID_BUILDER


def test_describe_parameters_of_a_positional_only_one_with_a_default_leaves_it_out() -> None:
    def build(units: int = 3, /, depth: int = 1) -> None: ...

    assert list(by_name(build)) == ["depth"]


def test_describe_signature_of_parameters_reads_as_one_writes_them() -> None:
    def build(units: int, rate: float = 0.5, depth: int | None = None, g=(1,), **rest): ...  # type: ignore[no-untyped-def]

    expected = "units: int, rate: float = 0.5, depth: int | None = None, g = …, **rest"
    assert describe_signature(describe_parameters(build)) == expected


# --- texts of `--set`

PARAMETERS = (
    Parameter("units", "int", False, 128),
    Parameter("rate", "float", False, 0.5),
    Parameter("deep", "bool", False, False),
    Parameter("name", "str", False, "x"),
    Parameter("depth", "int", False, None, optional=True),
    Parameter("anything", None, False, None),
)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("units", "64", 64),
        ("units", "-1_000", -1000),
        ("rate", "1", 1.0),
        ("rate", "1e-3", 1e-3),
        ("deep", "true", True),
        ("deep", "True", True),
        ("deep", "0", False),
        ("deep", "no", False),
        ("name", "64", "64"),
        ("name", "None", "None"),
        ("name", "", ""),
        ("depth", "none", None),
        ("depth", "3", 3),
        ("anything", "3", 3),
        ("anything", "0.5", 0.5),
        ("anything", "true", True),
        ("anything", "null", None),
        ("anything", '"3"', "3"),
        ("anything", "relu", "relu"),
        ("anything", "[1, 2]", "[1, 2]"),
        ("anything", "", ""),
    ],
)
def test_coerce_texts_of_one_that_fits_gives_the_parameters_type(name: str, text: str, expected: Any) -> None:
    value = coerce_texts("b", PARAMETERS, {name: text}, {})[name]
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        ("units", "many", "an int"),
        ("units", "1.0", "an int"),
        ("units", "", "an int"),
        ("units", "none", "an int"),
        ("rate", "fast", "a float"),
        ("deep", "maybe", "true or false"),
    ],
)
def test_coerce_texts_of_one_that_does_not_fit_raises_and_says_what_does(name: str, text: str, wanted: str) -> None:
    with pytest.raises(CkptMetaError) as caught:
        coerce_texts("mlp", PARAMETERS, {name: text}, {})
    assert caught.value.code is Code.INVALID_ARGUMENTS
    assert f"{name} takes {wanted}, not {text!r}" in caught.value.message
    assert "'mlp'" in caught.value.message
    assert "units: int = 128" in caught.value.message


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e999"])
def test_coerce_texts_of_what_json_does_not_hold_raises(text: str) -> None:
    for name in ("rate", "anything"):
        if name == "anything":
            text = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}.get(text, text)
        with pytest.raises(CkptMetaError, match="JSON does not hold"):
            coerce_texts("b", PARAMETERS, {name: text}, {})


def test_coerce_texts_of_several_wrong_ones_names_them_all() -> None:
    with pytest.raises(CkptMetaError) as caught:
        coerce_texts("b", PARAMETERS, {"units": "x", "rate": "y"}, {})
    assert "units" in caught.value.message
    assert "rate" in caught.value.message


def test_coerce_texts_on_top_of_others_replaces_those_alone() -> None:
    assert coerce_texts("b", PARAMETERS, {"units": "64"}, {"units": 32, "rate": 0.1}) == {"units": 64, "rate": 0.1}


# --- values of records and requests


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        ({"units": "64"}, "units takes an int, not '64'"),
        ({"units": True}, "units takes an int, not True"),
        ({"units": 1.5}, "units takes an int, not 1.5"),
        ({"units": None}, "units takes an int, not None"),
        ({"rate": "x"}, "rate takes a float, not 'x'"),
        ({"rate": True}, "rate takes a float, not True"),
        ({"deep": 1}, "deep takes true or false, not 1"),
        ({"name": 1}, "name takes a string, not 1"),
        ({"anything": [1]}, "anything is no JSON scalar"),
        ({"anything": {}}, "anything is no JSON scalar"),
        ({"rate": float("nan")}, "rate is nan, which JSON does not hold"),
        ({"width": 1}, "there is no parameter 'width'"),
    ],
)
def test_check_arguments_of_one_that_does_not_fit_raises(arguments: dict[str, Any], wrong: str) -> None:
    with pytest.raises(CkptMetaError) as caught:
        check_arguments("b", PARAMETERS, arguments)
    assert caught.value.code is Code.INVALID_ARGUMENTS
    assert wrong in caught.value.message


def test_check_arguments_with_several_faults_names_every_one() -> None:
    with pytest.raises(CkptMetaError) as caught:
        check_arguments("b", (Parameter("units", "int"), Parameter("depth", "int")), {"units": "x", "width": 1})
    for text in ("units takes an int", "no parameter 'width'", "depth is missing"):
        assert text in caught.value.message


def test_check_arguments_without_parameters_says_that_it_takes_none() -> None:
    with pytest.raises(CkptMetaError, match="It takes no arguments"):
        check_arguments("b", (), {"units": 1})


def test_check_arguments_of_an_int_for_a_float_keeps_it() -> None:
    assert check_arguments("b", PARAMETERS, {"rate": 1, "depth": None}) == {"rate": 1, "depth": None}


def test_check_arguments_for_open_keywords_takes_every_name() -> None:
    assert check_arguments("b", (Parameter("rest", required=False, open=True),), {"any": 1}) == {"any": 1}


# --- laws

SCALAR = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text())
KIND = st.sampled_from([None, "int", "float", "bool", "str"])
PARAMETER = st.builds(Parameter, st.text(min_size=1), KIND, st.booleans(), SCALAR, st.booleans(), st.booleans())


@settings(deadline=None)
@given(PARAMETER)
def test_parameter_over_the_wire_is_the_same(parameter: Parameter) -> None:
    assert Parameter.from_json(json.loads(json.dumps(parameter.as_json()))) == parameter


@settings(deadline=None)
@given(st.lists(PARAMETER, max_size=4), st.dictionaries(st.text(min_size=1), SCALAR, max_size=4))
def test_check_arguments_of_anything_returns_it_or_refuses(
    parameters: list[Parameter], arguments: dict[str, Any]
) -> None:
    checked = value_or_error(lambda: check_arguments("b", parameters, arguments))
    if isinstance(checked, CkptMetaError):
        assert checked.code is Code.INVALID_ARGUMENTS
        return
    assert checked == arguments
    assert all(p.open or not p.required or p.name in checked for p in parameters)


@settings(deadline=None)
@given(KIND, st.text(max_size=12))
def test_coerce_texts_of_any_text_gives_a_scalar_that_fits_or_refuses(kind: str | None, text: str) -> None:
    parameters = (Parameter("x", kind),)
    value = value_or_error(lambda: coerce_texts("b", parameters, {"x": text}, {})["x"])
    if isinstance(value, CkptMetaError):
        assert value.code is Code.INVALID_ARGUMENTS
        return
    assert check_arguments("b", parameters, {"x": value}) == {"x": value}
    json.dumps(value, allow_nan=False)
