"""Records: written by training scripts, read from logdirs that nobody vouches for."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import tb_ckptmeta
from tb_ckptmeta.core import landing
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.record import FILE_NAME, MAX_BYTES, RecordedPairing, parse_record, record


def read(directory: Path) -> tuple[RecordedPairing, ...]:
    return parse_record((directory / FILE_NAME).read_bytes(), "here")


def pairings_or_error(content: bytes) -> tuple[RecordedPairing, ...] | CkptMetaError:
    try:
        return parse_record(content, "x")
    except CkptMetaError as error:
        return error


# --- writing


def test_record_of_a_builder_alone_claims_every_checkpoint(tmp_path: Path) -> None:
    tb_ckptmeta.record(tmp_path, "mlp")
    assert json.loads((tmp_path / "ckptmeta.json").read_text()) == {
        "pairings": [{"checkpoints": "*", "builder": "mlp", "arguments": {}}]
    }


def test_record_written_and_read_is_what_was_said(tmp_path: Path) -> None:
    arguments = {"units": 64, "rate": 0.5, "deep": True, "name": "größe\n", "nothing": None}
    record(tmp_path, "mlp", checkpoints="ckpt-*", arguments=arguments)
    assert read(tmp_path) == (RecordedPairing("ckpt-*", "mlp", arguments),)


def test_record_of_another_glob_is_added(tmp_path: Path) -> None:
    record(tmp_path, "mlp", checkpoints="a-*")
    record(tmp_path, "cnn", checkpoints="b-*")
    assert [(p.checkpoints, p.builder) for p in read(tmp_path)] == [("a-*", "mlp"), ("b-*", "cnn")]


def test_record_of_the_same_glob_is_replaced(tmp_path: Path) -> None:
    record(tmp_path, "mlp", checkpoints="a-*")
    record(tmp_path, "cnn", checkpoints="b-*")
    record(tmp_path, "rnn", checkpoints="a-*", arguments={"units": 1})
    assert [(p.checkpoints, p.builder) for p in read(tmp_path)] == [("b-*", "cnn"), ("a-*", "rnn")]


def test_record_in_a_folder_that_is_not_there_makes_it(tmp_path: Path) -> None:
    record(str(tmp_path / "runs" / "a"), "mlp")
    assert read(tmp_path / "runs" / "a")


def test_record_leaves_no_other_file(tmp_path: Path) -> None:
    record(tmp_path, "mlp")
    record(tmp_path, "cnn")
    assert os.listdir(tmp_path) == [FILE_NAME]


def test_record_that_fails_at_the_last_step_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record(tmp_path, "mlp")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(landing, "_finish", fail)
    with pytest.raises(CkptMetaError, match="No space left") as caught:
        record(tmp_path, "cnn")
    assert caught.value.code is Code.OUTPUT_UNWRITABLE
    assert [p.builder for p in read(tmp_path)] == ["mlp"]
    assert os.listdir(tmp_path) == [FILE_NAME]


@pytest.mark.parametrize(
    ("builder", "options", "wrong"),
    [
        ("", {}, "builder"),
        (3, {}, "builder"),
        ("mlp", {"checkpoints": ""}, "checkpoints"),
        ("mlp", {"checkpoints": "../*"}, "checkpoints"),
        ("mlp", {"checkpoints": "a/../../b"}, "checkpoints"),
        ("mlp", {"arguments": {"units": [1]}}, "arguments.units"),
        ("mlp", {"arguments": {"units": {1}}}, "arguments.units"),
        ("mlp", {"arguments": {3: 1}}, "arguments.3"),
        ("mlp", {"arguments": {"rate": float("nan")}}, "arguments.rate"),
        ("mlp", {"arguments": {"rate": float("inf")}}, "arguments.rate"),
    ],
)
def test_record_of_what_does_not_fit_raises_and_writes_nothing(
    tmp_path: Path, builder: Any, options: dict[str, Any], wrong: str
) -> None:
    with pytest.raises(CkptMetaError) as caught:
        record(tmp_path, builder, **options)
    assert caught.value.code is Code.INVALID_RECORD
    assert wrong in caught.value.message
    assert os.listdir(tmp_path) == []


def test_record_beside_a_file_that_is_no_record_raises_and_leaves_it(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text("mine")
    with pytest.raises(CkptMetaError) as caught:
        record(tmp_path, "mlp")
    assert caught.value.code is Code.INVALID_RECORD
    assert (tmp_path / FILE_NAME).read_text() == "mine"


def test_record_where_no_folder_can_be_made_raises(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for directory in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(CkptMetaError) as caught:
            record(directory, "mlp")
        assert caught.value.code is Code.OUTPUT_UNWRITABLE


def test_record_where_a_folder_of_its_name_stands_raises(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).mkdir()
    with pytest.raises(CkptMetaError) as caught:
        record(tmp_path, "mlp")
    assert caught.value.code is Code.OUTPUT_UNWRITABLE


# --- reading


def test_parse_record_without_globs_and_arguments_takes_all_and_none() -> None:
    assert parse_record(b'{"pairings": [{"builder": "mlp"}]}', "x") == (RecordedPairing("*", "mlp", {}),)


def test_parse_record_with_unknown_fields_ignores_them() -> None:
    content = b'{"version": 3, "pairings": [{"builder": "mlp", "class": "os.system"}]}'
    assert parse_record(content, "x") == (RecordedPairing("*", "mlp", {}),)


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        (b"", "no JSON"),
        (b"{", "no JSON"),
        (b"\xff\xfe\x00", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b'{"pairings": [{"builder": "b", "arguments": {"x": ' + b"1" * 5000 + b"}}]}", "no JSON"),
        (b"null", "pairings"),
        (b"[]", "pairings"),
        (b"{}", "pairings"),
        (b'{"pairings": {}}', "pairings"),
        (b'{"pairings": [3]}', "pairings[0] is no object"),
        (b'{"pairings": [{"builder": "a"}, {}]}', "pairings[1].builder"),
        (b'{"pairings": [{"builder": ["a"]}]}', "pairings[0].builder"),
        (b'{"pairings": [{"builder": "a", "checkpoints": 3}]}', "pairings[0].checkpoints"),
        (b'{"pairings": [{"builder": "a", "checkpoints": "../../*"}]}', "pairings[0].checkpoints"),
        (b'{"pairings": [{"builder": "a", "checkpoints": ".."}]}', "pairings[0].checkpoints"),
        (b'{"pairings": [{"builder": "a", "arguments": []}]}', "pairings[0].arguments"),
        (b'{"pairings": [{"builder": "a", "arguments": {"x": {}}}]}', "pairings[0].arguments.x"),
        (b'{"pairings": [{"builder": "a", "arguments": {"x": NaN}}]}', "pairings[0].arguments.x"),
        (b'{"pairings": [{"builder": "a", "arguments": {"x": -1e999}}]}', "pairings[0].arguments.x"),
        (b" " * (MAX_BYTES + 1), "larger"),
    ],
)
def test_parse_record_of_what_is_none_raises_and_says_where(content: bytes, wrong: str) -> None:
    with pytest.raises(CkptMetaError) as caught:
        parse_record(content, "runs/ckptmeta.json")
    assert caught.value.code is Code.INVALID_RECORD
    assert caught.value.message.startswith("The record runs/ckptmeta.json ")
    assert wrong in caught.value.message


# --- laws

SCALAR = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text())
GLOB = st.text(min_size=1).filter(lambda t: ".." not in t.split("/"))
JSON = st.recursive(
    st.one_of(SCALAR, st.sampled_from(["..", "*"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["pairings", "builder", "checkpoints", "arguments", "x"]), inner, max_size=4),
    ),
    max_leaves=12,
)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(GLOB, st.text(min_size=1), st.dictionaries(st.text(), SCALAR, max_size=3)), max_size=4))
def test_record_of_any_pairings_keeps_the_last_of_every_glob(
    tmp_path_factory: pytest.TempPathFactory, entries: list[tuple[str, str, dict[str, Any]]]
) -> None:
    directory = tmp_path_factory.mktemp("record")
    for glob, builder, arguments in entries:
        record(directory, builder, checkpoints=glob, arguments=arguments)
    last = {glob: RecordedPairing(glob, builder, arguments) for glob, builder, arguments in entries}
    assert {p.checkpoints: p for p in (read(directory) if entries else ())} == last


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=40), JSON.map(lambda v: json.dumps({"pairings": [v]}).encode())))
@example(b'{"pairings": [{"builder": "a", "arguments": {"x": Infinity}}]}')
def test_parse_record_of_any_bytes_gives_plain_pairings_or_refuses(content: bytes) -> None:
    pairings = pairings_or_error(content)
    if isinstance(pairings, CkptMetaError):
        assert pairings.code is Code.INVALID_RECORD
        return
    for pairing in pairings:
        assert pairing.builder
        assert ".." not in pairing.checkpoints.split("/")
        json.dumps(dict(pairing.arguments), allow_nan=False)
