"""Globs against a second, independent definition of what they mean."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tb_ckptmeta.core.globs import matches, matches_tail


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("mlp/*", "mlp/ckpt-1"),
        ("*", "ckpt-1"),
        ("**", "ckpt-1"),
        ("**", "a/b/ckpt-1"),
        ("custom/**", "custom/ckpt-1"),
        ("custom/**", "custom/a/b/ckpt-1"),
        ("**/ckpt-*", "ckpt-1"),
        ("**/ckpt-*", "a/b/ckpt-1"),
        ("a/**/b", "a/b"),
        ("a/**/b", "a/x/y/b"),
        ("a/**/**/b", "a/x/b"),
        ("ckpt-?", "ckpt-1"),
        ("ckpt-[0-9]", "ckpt-7"),
        ("ckpt-[!0-9]", "ckpt-x"),
        ("run[]]/x", "run]/x"),
        ("run[![]/x", "run]/x"),
        ("a[b", "a[b"),
        ("x*y", "xy"),
        ("line\nbreak/*", "line\nbreak/c\nd"),
        ("größe/*", "größe/ckpt-1"),
        ("a.b", "a.b"),
        ("***", "abc"),
        ("{a,b}", "{a,b}"),
    ],
)
def test_matches_of_what_a_pattern_describes_is_true(pattern: str, path: str) -> None:
    assert matches(pattern, path)


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("mlp/*", "mlp/deeper/ckpt-1"),
        ("mlp/*", "MLP/ckpt-1"),
        ("MLP/*", "mlp/ckpt-1"),
        ("*", "mlp/ckpt-1"),
        ("mlp", "mlp/ckpt-1"),
        ("mlp/*", "other/mlp/ckpt-1"),
        ("custom/**", "customs/ckpt-1"),
        ("**/b", "ab"),
        ("a/**/b", "a/xb"),
        ("a/**/b", "ab"),
        ("a?b", "a/b"),
        ("a[/]b", "a/b"),
        ("a[!x]b", "a/b"),
        ("[z-a]", "m"),
        ("a.b", "axb"),
        ("ckpt-1", "ckpt-1\n"),
        ("", "a"),
    ],
)
def test_matches_of_what_a_pattern_does_not_describe_is_false(pattern: str, path: str) -> None:
    assert not matches(pattern, path)


@pytest.mark.parametrize("pattern", ["[[a]", "[a&&b]", "[a--b]", "[a~~b]", "[a||b]", "[\\]", "[^a]", "[!]", "[]"])
def test_matches_of_an_odd_set_warns_of_nothing(pattern: str, recwarn: pytest.WarningsRecorder) -> None:
    matches(pattern, "a")
    assert not recwarn.list


def test_matches_of_a_set_that_begins_with_a_caret_takes_it_as_it_stands() -> None:
    assert matches("[^a]", "a")
    assert matches("[^a]", "^")
    assert not matches("[^a]", "b")


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("mlp/*", "/home/me/runs/mlp/ckpt-1", True),
        ("mlp/*", "mlp/ckpt-1", True),
        ("mlp/*", "/runs/xmlp/ckpt-1", False),
        ("ckpt-*", "/ckpt-1", True),
        ("custom/**", "/runs/custom/a/ckpt-1", True),
        ("mlp/*", "/runs/mlp/ckpt-1/x", False),
        ("**/x", "/a/x", True),
    ],
)
def test_matches_tail_of_a_path_cuts_at_folders_alone(pattern: str, path: str, expected: bool) -> None:
    assert matches_tail(pattern, path) is expected


def test_matches_of_many_stars_asks_each_place_no_more_than_a_few_times() -> None:
    # Were it exponential, this would not end in a lifetime.
    assert not matches("/".join(["**"] * 30) + "/x", "a/" * 30 + "y")
    assert not matches("*" * 60 + "b", "a" * 60)


# --- laws

FOLDER = st.text(st.sampled_from("ab-."), min_size=1, max_size=4)
PATH = st.lists(FOLDER, min_size=1, max_size=4).map("/".join)
PATTERN = st.lists(
    st.one_of(st.just("**"), st.text(st.sampled_from("ab-.*?"), min_size=1, max_size=4)), min_size=1, max_size=4
).map("/".join)


def slow_matches(pattern: list[str], path: list[str]) -> bool:
    """The definition, folder by folder."""
    if not pattern:
        return not path
    if pattern[0] == "**":
        if len(pattern) == 1:
            return len(path) >= 1
        return any(slow_matches(pattern[1:], path[i:]) for i in range(len(path) + 1))
    return bool(path) and slow_matches_folder(pattern[0], path[0]) and slow_matches(pattern[1:], path[1:])


def slow_matches_folder(pattern: str, name: str) -> bool:
    if not pattern:
        return not name
    if pattern[0] == "*":
        return any(slow_matches_folder(pattern[1:], name[i:]) for i in range(len(name) + 1))
    return bool(name) and pattern[0] in ("?", name[0]) and slow_matches_folder(pattern[1:], name[1:])


@settings(max_examples=500, deadline=None)
@given(PATTERN, PATH)
@example("**/**", "a")
@example("a/**", "a")
def test_matches_of_any_pattern_agrees_with_the_definition(pattern: str, path: str) -> None:
    assert matches(pattern, path) is slow_matches(pattern.split("/"), path.split("/"))


@settings(deadline=None)
@given(PATH)
def test_matches_of_a_path_without_magic_by_itself_is_true(path: str) -> None:
    assert matches(path, path)
    assert matches("**", path)
    assert matches("**/" + path, path)
    assert matches_tail(path, "/somewhere/" + path)


@settings(max_examples=300, deadline=None)
@given(
    st.text(st.sampled_from("ab/*?[]!^-\\&~|#\n(){}+.$"), max_size=12), st.text(st.sampled_from("ab/[]\n"), max_size=8)
)
def test_matches_of_arbitrary_text_never_raises(pattern: str, path: str) -> None:
    assert matches(pattern, path) in (True, False)
    assert matches_tail(pattern, path) in (True, False)


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("*a" * 60 + "b", "a" * 250),
        ("/".join(["**", "a"] * 40) + "/b", "/".join("a" * 120)),
        ("**/" * 60 + "b", "a/" * 200),
    ],
)
def test_matches_of_a_hostile_pattern_comes_to_an_end(pattern: str, path: str) -> None:
    # With backtracking, as in a regular expression, it would not in a lifetime.
    assert not matches(pattern, path)
