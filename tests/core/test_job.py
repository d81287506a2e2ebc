"""What crosses from the caller to its worker and back arrives as it was sent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tb_ckptmeta.core.arguments import Parameter
from tb_ckptmeta.core.contents import DTYPE_NAMES, Contents, ObjectGraph, ObjectNode, StoredTensor
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.job import (
    REQUEST,
    BuilderDescription,
    Check,
    Describe,
    Differences,
    Export,
    Job,
    Limits,
    ReadKeras,
    Rebuild,
    Reference,
    Source,
    Spec,
    read_job,
    write_job,
)
from tb_ckptmeta.core.rebuilt import ModelVariable, Rebuilt
from tb_ckptmeta.core.values import Part, StoredValues, Values

# Paths and keys of a file system may hold lone surrogates: bytes that are no UTF-8.
TEXT = st.text(st.characters(exclude_categories=()), max_size=20)
SCALAR = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), TEXT)
OPTIONAL_TEXT = st.none() | TEXT
ARGUMENTS = st.dictionaries(TEXT, SCALAR, max_size=4)
DTYPE = st.sampled_from(sorted(DTYPE_NAMES.values()))

SPEC = st.builds(Spec, TEXT, OPTIONAL_TEXT, OPTIONAL_TEXT, TEXT, st.booleans())
LIMITS = st.builds(Limits, st.floats(0.001, 1e6), st.integers(1, 1 << 50))
KERAS = st.sampled_from([None, "3", "legacy"])
TEXTS = st.lists(TEXT, max_size=3).map(tuple)
SOURCE = st.builds(Source, SPEC, TEXT, ARGUMENTS, st.booleans(), KERAS, KERAS, TEXTS, TEXTS, OPTIONAL_TEXT)
NAMES = st.dictionaries(TEXT, TEXT, max_size=2)
EXPORT = st.none() | st.builds(Export, TEXT, TEXT, TEXT)
PROVENANCE = st.none() | st.dictionaries(TEXT, SCALAR | st.dictionaries(TEXT, SCALAR, max_size=2), max_size=3)
SIZES = st.lists(st.integers(0, 1 << 40), max_size=3).map(tuple)
PART = st.builds(Part, TEXT, st.integers(0, 1 << 50), st.integers(0, 1 << 50), SIZES, SIZES)
STORED = st.builds(StoredValues, SIZES, DTYPE, st.integers(0, 1 << 50), st.lists(PART, max_size=2).map(tuple))
VALUES = st.builds(Values, TEXT, TEXT, st.dictionaries(TEXT, STORED, max_size=2))
PAIRS = st.lists(st.tuples(TEXT, TEXT), max_size=3).map(tuple)
JOB: st.SearchStrategy[Job] = st.one_of(
    st.builds(Describe, SPEC, LIMITS),
    st.builds(Rebuild, SOURCE, LIMITS, st.booleans(), EXPORT, st.booleans(), PROVENANCE),
    st.builds(Reference, SOURCE, LIMITS, TEXT, st.booleans()),
    st.builds(Check, TEXT, TEXT, TEXT, NAMES, NAMES, st.lists(TEXT).map(tuple), LIMITS),
    st.builds(ReadKeras, TEXT, LIMITS),
    st.builds(Differences, VALUES, VALUES, PAIRS, LIMITS),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("job")


@settings(max_examples=200, deadline=None)
@given(job=JOB)
def test_job_written_and_read_is_the_same(folder: Path, job: Job) -> None:
    write_job(job, folder)
    assert read_job(folder) == job
    assert type(read_job(folder)) is type(job)


@pytest.mark.parametrize("kind", [Describe, Rebuild, Reference, Check, ReadKeras, Differences])
def test_job_of_every_kind_says_which_it_is(kind: type[Any]) -> None:
    kinds = [k.kind for k in (Describe, Rebuild, Reference, Check, ReadKeras, Differences)]
    assert kinds.count(kind.kind) == 1


def test_read_job_of_an_unknown_kind_raises(tmp_path: Path) -> None:
    limits = {"seconds": 1.0, "memory": 1}
    (tmp_path / REQUEST).write_text(json.dumps({"job": "destroy", "limits": limits}), encoding="utf-8")
    with pytest.raises(AssertionError):
        read_job(tmp_path)


# --- what comes back


def over_the_wire(value: Any) -> Any:
    return json.loads(json.dumps(value, allow_nan=False))


SHAPE = st.lists(st.integers(0, 1 << 40), max_size=4).map(tuple)
TENSORS = st.dictionaries(TEXT, st.builds(StoredTensor, SHAPE, DTYPE, st.integers(0, 1 << 50)), max_size=4)


@st.composite
def object_graphs(draw: st.DrawFn) -> ObjectGraph:
    count = draw(st.integers(1, 5))
    node = st.integers(0, count - 1)
    slots = st.lists(st.tuples(TEXT, node, node), max_size=2).map(tuple)
    nodes = st.builds(
        ObjectNode, st.dictionaries(TEXT, node, max_size=3), st.dictionaries(TEXT, TEXT, max_size=2), slots
    )
    return ObjectGraph(tuple(draw(st.lists(nodes, min_size=count, max_size=count))))


OBJECTS = st.none() | object_graphs()
NOTES = st.lists(TEXT, max_size=2).map(tuple)
FORMAT = st.sampled_from(["object", "name", "v1", "keras-weights", "keras"])
VARIABLE = st.builds(
    ModelVariable,
    TEXT,
    st.none() | st.lists(st.none() | st.integers(0, 1 << 40), max_size=4).map(tuple),
    DTYPE,
    st.booleans(),
    st.booleans(),
    TEXTS,
)
INDEX = st.none() | st.integers(0, 3)


@settings(max_examples=100, deadline=None)
@given(st.builds(Contents, FORMAT, TENSORS, OBJECTS, TEXT, NOTES, KERAS))
def test_contents_over_the_wire_is_the_same(contents: Contents) -> None:
    received = Contents.from_json(over_the_wire(contents.as_json()))
    assert received == contents
    assert list(received.tensors) == list(contents.tensors)


@settings(max_examples=100, deadline=None)
@given(
    st.builds(
        Rebuilt,
        st.lists(VARIABLE, max_size=4).map(tuple),
        OBJECTS,
        st.dictionaries(st.integers(0, 100), st.integers(0, 3), max_size=4),
        st.sampled_from(["3", "legacy"]),
        st.none() | st.dictionaries(TEXT, SCALAR, max_size=2),
        st.dictionaries(TEXT, TEXT, max_size=2),
        st.dictionaries(TEXT, TEXT, max_size=2),
        NOTES,
        st.lists(INDEX, max_size=3).map(tuple),
        st.lists(st.tuples(INDEX, TEXT), max_size=3).map(tuple),
        st.dictionaries(st.integers(0, 100), st.dictionaries(TEXT, st.integers(0, 9), max_size=2), max_size=3),
        st.lists(st.integers(0, 3), max_size=3).map(tuple),
        st.booleans(),
        st.dictionaries(st.integers(0, 100), st.lists(st.integers(0, 9), max_size=2), max_size=2),
    )
)
def test_rebuilt_over_the_wire_is_the_same(rebuilt: Rebuilt) -> None:
    received = Rebuilt.from_json(over_the_wire(rebuilt.as_json()))
    assert received == rebuilt
    assert list(received.owners.items()) == list(rebuilt.owners.items())


PARAMETER = st.builds(Parameter, TEXT, OPTIONAL_TEXT, st.booleans(), SCALAR, st.booleans(), st.booleans())


@settings(max_examples=50, deadline=None)
@given(
    st.builds(
        BuilderDescription,
        TEXT,
        st.lists(TEXT, max_size=2).map(tuple),
        KERAS,
        st.none() | st.booleans(),
        TEXT,
        st.lists(PARAMETER, max_size=3).map(tuple),
        TEXT,
    )
)
def test_builder_description_over_the_wire_is_the_same(description: BuilderDescription) -> None:
    assert BuilderDescription.from_json(over_the_wire(description.as_json())) == description


@settings(deadline=None)
@given(st.sampled_from(list(Code)), TEXT, TEXT)
def test_error_over_the_wire_is_the_same(code: Code, message: str, details: str) -> None:
    received = CkptMetaError.from_json(over_the_wire(CkptMetaError(code, message, details).as_json()))
    assert (received.code, received.message, received.details) == (code, message, details)
    assert str(received) == message
