"""Match checkpoint names against the patterns of builders and records. Runs anywhere.

Records come with a logdir and are not trusted: matching takes time in proportion to pattern times path, whatever the
pattern, which a translation to regular expressions does not.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

Accepts = Callable[[str], bool]


def matches(pattern: str, path: str) -> bool:
    """Tell whether the whole of `path` matches `pattern`, case-sensitively.

    `*` and `?` stay within a folder, `[ab]` and `[!ab]` are sets, and a segment that is `**`
    stands for zero or more folders (as in gitignore and pathlib).
    """
    folder, slash, name = path.rpartition("/")
    accepts = match_folder(pattern, folder if slash else None)
    return accepts is not None and accepts(name)


def match_folder(pattern: str, folder: str | None) -> Accepts | None:
    """Return what tells whether a name in `folder` matches, None where none can; a `folder` of None is the top.

    So that of ten thousand names in a thousand folders, only the names are matched ten thousand times.
    """
    *above, last = _parse(pattern)
    if last is None:  # at the end, `**` is any name in any folder
        above.append(None)
    if not _match_folders(above, [] if folder is None else folder.split("/")):
        return None
    return last if last is not None else _accept_any


def matches_tail(pattern: str, path: str) -> bool:
    """Tell whether some tail of `path`, cut at a folder, matches `pattern`."""
    return matches("**/" + pattern, path.lstrip("/"))


class _Star(NamedTuple):
    """Any number of characters."""


class _One(NamedTuple):
    """One character, if `accepts` takes it."""

    accepts: Callable[[str], bool]


_Segment = tuple[_Star | _One, ...]


def _accept_any(_: str) -> bool:
    return True


def _match_folders(segments: Sequence[Accepts | None], names: Sequence[str]) -> bool:
    if None not in segments:
        return len(names) == len(segments) and all(
            accepts(name) for accepts, name in zip(segments, names, strict=True) if accepts is not None
        )
    # How many of the names the segments so far can have taken.
    taken = {0}
    for segment in segments:
        if segment is not None:
            taken = {count + 1 for count in taken if count < len(names) and segment(names[count])}
        elif taken:
            taken = set(range(min(taken), len(names) + 1))
    return len(names) in taken


@functools.lru_cache(maxsize=4096)
def _parse(pattern: str) -> tuple[Accepts | None, ...]:
    """Return what each of the pattern's segments accepts, None for `**`."""
    return tuple(None if text == "**" else _compile(text) for text in pattern.split("/"))


def _compile(text: str) -> Accepts:
    """Return what tells whether a name matches a segment; nearly all have no more than one `*`."""
    start, star, end = text.partition("*")
    if not any(char in text for char in "?[") and "*" not in end:
        if not star:
            return text.__eq__
        shortest = len(start) + len(end)
        return lambda name: len(name) >= shortest and name.startswith(start) and name.endswith(end)
    return functools.partial(_matches_name, _parse_segment(text))


def _parse_segment(text: str) -> _Segment:
    tokens: list[_Star | _One] = []
    at = 0
    while at < len(text):
        char = text[at]
        at += 1
        if char == "*":
            if not tokens or not isinstance(tokens[-1], _Star):
                tokens.append(_Star())
        elif char == "?":
            tokens.append(_One(lambda _: True))
        elif char == "[" and (end := text.find("]", at + 1 + text.startswith("!", at))) > 0:
            tokens.append(_parse_set(text[at:end]))
            at = end + 1
        else:
            tokens.append(_One(char.__eq__))
    return tuple(tokens)


def _parse_set(body: str) -> _One:
    negated = body.startswith("!")
    if negated:
        body = body[1:]
    ranges: list[tuple[str, str]] = []
    at = 0
    while at < len(body):
        if at + 2 < len(body) and body[at + 1] == "-":
            ranges.append((body[at], body[at + 2]))
            at += 3
        else:
            ranges.append((body[at], body[at]))
            at += 1
    return _One(lambda char: any(low <= char <= high for low, high in ranges) != negated)


def _matches_name(segment: _Segment, name: str) -> bool:
    """Match one name, going back to the last `*` alone: an earlier one need never take more."""
    token = at = 0
    star, resumed = -1, 0
    while at < len(name):
        current = segment[token] if token < len(segment) else None
        if isinstance(current, _Star):
            star, resumed = token, at
            token += 1
        elif current is not None and current.accepts(name[at]):
            token += 1
            at += 1
        elif star >= 0:
            resumed += 1
            token, at = star + 1, resumed
        else:
            return False
    return all(isinstance(rest, _Star) for rest in segment[token:])
