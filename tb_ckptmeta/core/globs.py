"""Match checkpoint names against the patterns of builders and records. Runs anywhere."""

from __future__ import annotations

import functools
import re


def matches(pattern: str, path: str) -> bool:
    """Tell whether the whole of `path` matches `pattern`, case-sensitively.

    `*` and `?` stay within a folder, `[ab]` and `[!ab]` are sets, and a segment that is `**`
    stands for zero or more folders (as in gitignore and pathlib).
    """
    return _compile(pattern).fullmatch(path) is not None


def matches_tail(pattern: str, path: str) -> bool:
    """Tell whether some tail of `path`, cut at a folder, matches `pattern`."""
    return matches("**/" + pattern, path.lstrip("/"))


@functools.lru_cache(maxsize=4096)
def _compile(pattern: str) -> re.Pattern[str]:
    segments = pattern.split("/")
    # `**/**` says no more than `**`, and left as it is would make matching exponential.
    segments = [s for i, s in enumerate(segments) if s != "**" or segments[i - 1 : i] != ["**"]]
    parts: list[str] = []
    for index, segment in enumerate(segments):
        last = index == len(segments) - 1
        if segment == "**":
            parts.append(".*" if last else "(?:[^/]+/)*")
        else:
            parts.append(_translate(segment) + ("" if last else "/"))
    return re.compile("".join(parts), re.DOTALL)


def _translate(segment: str) -> str:
    """Return the regular expression of one folder's pattern."""
    out: list[str] = []
    at = 0
    while at < len(segment):
        char = segment[at]
        at += 1
        if char == "*":
            if not out or out[-1] != "[^/]*":
                out.append("[^/]*")
        elif char == "?":
            out.append("[^/]")
        elif char == "[" and (end := segment.find("]", at + 1 + segment.startswith("!", at))) > 0:
            body = segment[at:end].replace("\\", "\\\\").replace("[", "\\[").replace("&&", "&\\&")
            body = body.replace("~~", "~\\~").replace("||", "|\\|").replace("--", "-\\-").replace("^", "\\^")
            at = end + 1
            try:
                re.compile(f"[{body}]")
            except re.error:  # a reversed range, say: nothing can match it
                out.append("(?!)")
                continue
            out.append(f"(?!/)[^{body[1:]}]" if body.startswith("!") else f"(?!/)[{body}]")
        else:
            out.append(re.escape(char))
    return "".join(out)
