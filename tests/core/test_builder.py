"""Registering builders: what the decorator takes, keeps and refuses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import tb_ckptmeta
from tb_ckptmeta.core.builder import Model, builder, take_registrations
from tb_ckptmeta.core.errors import CkptMetaError, Code


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    take_registrations()
    yield
    take_registrations()


def make() -> None:
    """Make nothing."""


def test_builder_as_decorator_returns_the_function_unchanged() -> None:
    assert builder("a")(make) is make
    assert tb_ckptmeta.builder is builder


def test_builder_registers_what_was_said() -> None:
    inputs = object()
    builder("a", checkpoints=["x/*", "y/**"], inputs=inputs, keras="legacy", graph=False)(make)
    (found,) = take_registrations()
    assert (found.name, found.function, found.checkpoints) == ("a", make, ("x/*", "y/**"))
    assert found.inputs is inputs
    assert (found.keras, found.graph) == ("legacy", False)


def test_builder_with_one_glob_keeps_it_whole() -> None:
    builder("a", checkpoints="mlp/*")(make)
    assert take_registrations()[0].checkpoints == ("mlp/*",)


def test_builder_of_one_function_under_two_names_registers_both() -> None:
    builder("a")(builder("b")(make))
    assert [r.name for r in take_registrations()] == ["b", "a"]


def test_builder_of_two_functions_of_one_name_registers_both() -> None:
    builder("a")(lambda: 1)
    builder("a")(lambda: 2)
    assert len(take_registrations()) == 2


def test_builder_in_a_notebook_cell_that_runs_again_replaces_the_older() -> None:
    def define() -> Any:
        def build() -> None: ...

        build.__module__ = "__main__"
        return build

    builder("a")(define())
    newer = builder("a")(define())
    assert [r.function for r in take_registrations()] == [newer]


def test_take_registrations_twice_gives_them_once() -> None:
    builder("a")(make)
    assert len(take_registrations()) == 1
    assert take_registrations() == ()


def test_registration_source_names_file_line_and_function() -> None:
    builder("a")(make)
    source = take_registrations()[0].source
    assert source == f"{__file__}:{make.__code__.co_firstlineno} make"


def test_registration_source_of_a_callable_object_is_its_own_text() -> None:
    class Maker:
        def __call__(self) -> None: ...

        def __repr__(self) -> str:
            return "the maker"

    builder("a")(Maker())
    assert take_registrations()[0].source == "the maker"


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        ({"name": ""}, "name"),
        ({"name": " a"}, "name"),
        ({"name": "a\nb"}, "printable"),
        ({"name": "a • b"}, "•"),
        ({"name": "x" * 101}, "100"),
        ({"name": 3}, "name"),
        ({"checkpoints": [""]}, "checkpoints"),
        ({"checkpoints": [3]}, "checkpoints"),
        ({"keras": "2"}, "keras"),
        ({"keras": 3}, "keras"),
        ({"graph": "yes"}, "graph"),
    ],
)
def test_builder_given_what_does_not_fit_raises_and_registers_nothing(options: dict[str, Any], wrong: str) -> None:
    options = {"name": "a", **options}
    with pytest.raises(CkptMetaError, match=wrong) as caught:
        builder(options.pop("name"), **options)(make)
    assert caught.value.code is Code.INVALID_BUILDER
    assert take_registrations() == ()


def test_builder_without_a_name_raises() -> None:
    with pytest.raises(CkptMetaError) as caught:
        builder(make)  # type: ignore[arg-type]
    assert caught.value.code is Code.INVALID_BUILDER


def test_builder_of_what_cannot_be_called_raises() -> None:
    with pytest.raises(CkptMetaError, match="decorates a function") as caught:
        builder("a")(3)  # type: ignore[type-var]
    assert caught.value.code is Code.INVALID_BUILDER


def test_model_needs_a_root_alone() -> None:
    assert (Model(1).call, Model(1).inputs) == (None, None)
    assert Model(root=1, call=make, inputs=2) == Model(1, make, 2)
