"""Lines that workers elsewhere leave, where the file system fails now and then; and builders that hang."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from batch_lines import make_line

from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.engine.batch_parts import PAUSES, FolderParts, PatientParts
from tb_ckptmeta.engine.batch_patience import Patience


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A path where a file keeps a folder from being."""
    path = tmp_path / "parts"
    path.write_text("in the way")
    return path


def test_what_fails_for_a_while_is_tried_again_later_and_later(place: Path) -> None:
    paused: list[float] = []

    def pause(seconds: float) -> None:
        paused.append(seconds)
        if len(paused) == 3:
            place.unlink()

    parts = PatientParts(FolderParts(place), str(place), pause)
    parts.write("a", make_line("a"))
    assert paused == list(PAUSES[:3]) == sorted(paused)
    assert (parts.list(), parts.read("a")) == (["a"], make_line("a"))
    parts.forget("a")
    parts.forget("a")
    parts.close()
    assert not place.exists()
    assert len(paused) == 3


def test_what_goes_on_failing_is_named_with_its_place_after_some_attempts(place: Path) -> None:
    paused: list[float] = []
    parts = PatientParts(FolderParts(place), "gs://bucket/parts", paused.append)
    for act in (parts.list, lambda: parts.read("a"), lambda: parts.write("a", {})):
        paused.clear()
        with pytest.raises(CkptMetaError, match=r"gs://bucket/parts, after 6 attempts in 15\.5 s: ") as failed:
            act()
        assert failed.value.code is Code.WORKER_FAILED
        assert paused == list(PAUSES)


@pytest.mark.parametrize(
    "content",
    [
        *(b'{"prefix": "ha', b"7", b"{}", b"[]", b"\xff"),
        *(
            json.dumps(make_line("a", **w)).encode()
            for w in ({"prefix": 7}, {"error": "x"}, {"sources": {"files": []}})
        ),
    ],
)
def test_line_that_is_not_whole_or_none_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad").write_bytes(content)
    parts = FolderParts(tmp_path)
    parts.write("good", make_line("a"))
    (tmp_path / "folder").mkdir()
    assert {name: parts.read(name) for name in parts.list()} == {"bad": None, "good": make_line("a")}


# --- builders that hang

TIMEOUT = CkptMetaError(Code.BUILDER_TIMEOUT, "Builder 'x' was still at work after 600 s.")


def wait(patience: Patience, call: str, error: CkptMetaError | None) -> None:
    with patience.waiting_for(call):
        if error is not None:
            raise error


def test_call_that_hangs_twice_in_a_row_is_not_waited_for_again() -> None:
    patience = Patience()
    for _ in range(2):
        with pytest.raises(CkptMetaError, match=r"^Builder 'x' was still"):
            wait(patience, "x", TIMEOUT)
    with pytest.raises(CkptMetaError, match=r"^Not tried: 2 times in a row .* still at work after 600 s") as given_up:
        wait(patience, "x", None)
    assert given_up.value.code is Code.BUILDER_TIMEOUT
    wait(patience, "y", None)


@pytest.mark.parametrize("between", [None, CkptMetaError(Code.NOT_MATCHING, "It does not match.")])
def test_call_that_comes_to_an_end_in_between_is_waited_for(between: CkptMetaError | None) -> None:
    patience = Patience()
    for error in (TIMEOUT, between, TIMEOUT, between, TIMEOUT):
        if error is None:
            wait(patience, "x", None)
        else:
            with pytest.raises(CkptMetaError, match=error.message):
                wait(patience, "x", error)


def test_several_that_wait_for_one_rebuild_have_waited_once() -> None:
    patience = Patience()
    for _ in range(2):
        with pytest.raises(CkptMetaError, match=r"^Builder"), patience.waiting_for("x"), patience.waiting_for("x"):
            raise TIMEOUT
    with pytest.raises(CkptMetaError, match=r"^Not tried"):
        wait(patience, "x", None)
