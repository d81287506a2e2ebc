"""Rules between a checkpoint's names and a model's: how they are written, and what they make of a path."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.renames import Rename, Renaming, parse_rename, parse_renames, rename_path

SEGMENTS = st.text("abc_01", min_size=1, max_size=3)
PATHS = st.lists(SEGMENTS, max_size=4).map(tuple)


def apply(path: str, *rules: str) -> str:
    return "/".join(rename_path(parse_renames(rules), tuple(path.split("/"))))


@pytest.mark.parametrize(
    ("rules", "path", "renamed"),
    [
        (["net=tower/model_v1"], "net/dense/kernel", "tower/model_v1/dense/kernel"),
        (["net=tower"], "a/net/net_1/net", "a/tower/net_1/tower"),
        (["a/b=x"], "a/b/a/c/a/b", "x/a/c/x"),
        ([".=tower"], "dense/kernel", "tower/dense/kernel"),
        (["net=."], "net/dense/net/kernel", "dense/kernel"),
        (["w/ExponentialMovingAverage=w"], "net/w/ExponentialMovingAverage", "net/w"),
        (["left=right", "right=left"], "left/right/kernel", "right/left/kernel"),
        (["a=b", "b=c"], "a/b", "b/c"),
        (["a=x", "a/b=y"], "a/b/a/c", "y/x/c"),
        (["/a=x"], "a/b/a", "x/b/a"),
        (["a=y", "/a=x"], "a/b/a", "x/b/y"),
        (["dens=dense"], "dense/kernel", "dense/kernel"),
    ],
)
def test_rename_path_replaces_whole_segments(rules: list[str], path: str, renamed: str) -> None:
    assert apply(path, *rules) == renamed


@pytest.mark.parametrize("text", ["", "net", "=net", "net=", "net=net", "/=x", "a/b=a/b", " = "])
def test_parse_rename_of_what_says_nothing_is_refused_with_the_form(text: str) -> None:
    with pytest.raises(CkptMetaError, match="FROM=TO") as raised:
        parse_rename(text)
    assert raised.value.code is Code.BAD_REQUEST


def test_parse_renames_of_one_source_twice_is_refused() -> None:
    with pytest.raises(CkptMetaError, match="Two renames give net another name") as raised:
        parse_renames(["net=a", "net=b"])
    assert raised.value.code is Code.BAD_REQUEST


def test_parse_renames_of_more_than_anybody_reviews_is_refused() -> None:
    with pytest.raises(CkptMetaError, match="at most 1000") as raised:
        parse_renames(f"a{number}=b" for number in range(1_001))
    assert raised.value.code is Code.BAD_REQUEST


def test_parse_renames_of_one_rule_twice_is_that_rule() -> None:
    assert parse_renames(["net=a", "net=a"]) == (Rename(("net",), ("a",)),)


@given(PATHS, PATHS, st.booleans())
def test_rename_written_and_read_is_the_same(source: tuple[str, ...], target: tuple[str, ...], anchored: bool) -> None:
    rename = Rename(source, target, anchored and bool(source))
    if source != target:
        assert parse_rename(str(rename)) == rename


@given(PATHS, PATHS, PATHS)
def test_rename_that_is_not_used_changes_nothing(
    source: tuple[str, ...], target: tuple[str, ...], path: tuple[str, ...]
) -> None:
    rename = Rename(source, target)
    renamed, used = Renaming([rename]).apply(path)
    if not used:
        assert renamed == path


def test_parse_renames_finds_the_one_that_is_given_twice_among_many() -> None:
    with pytest.raises(CkptMetaError, match="Two renames give a7 another name"):
        parse_renames([*(f"a{number}=b" for number in range(900)), "a7=c"])
