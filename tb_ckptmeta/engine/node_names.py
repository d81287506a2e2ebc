"""The names of nodes and ops that TensorBoard's graph parser takes. Runs in the caller's process."""

from __future__ import annotations

import re

MAX_TEXT = 200
_MAX_SEGMENT = 120

# The parser looks up nodes and ops by name in plain JavaScript objects, whose own members break it.
_JAVASCRIPT_NAMES = frozenset(
    {
        "__defineGetter__",
        "__defineSetter__",
        "__lookupGetter__",
        "__lookupSetter__",
        "__proto__",
        "constructor",
        "hasOwnProperty",
        "isPrototypeOf",
        "propertyIsEnumerable",
        "toLocaleString",
        "toString",
        "valueOf",
    }
)


def make_ascii(text: str) -> str:
    """Return an attribute's text: short, and what is not ASCII as escapes."""
    text = text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 3] + "..."
    return text.encode("ascii", "backslashreplace").decode("ascii")


def make_op_name(text: str) -> str:
    """Return `text` as an op that the parser takes."""
    text = re.sub(r"[^A-Za-z0-9_.>-]", "_", text[:_MAX_SEGMENT]) or "Layer"
    return f"{text}_" if text in _JAVASCRIPT_NAMES else text


def make_segment(text: str) -> str:
    """Return `text` as one segment of a name, or as an attribute's key; an empty one stays empty."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", text[:_MAX_SEGMENT])


class NodeNames:
    """Hands out node names: legal in a GraphDef and to TensorBoard's parser, each once."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._next: dict[str, int] = {}

    def claim(self, path: str) -> str:
        """Return the name nearest to `path` that was not handed out before."""
        segments = [make_segment(part) for part in path.split("/") if part] or ["layer"]
        # `__root__` and `__function_library__` are the parser's own, and no op name begins so.
        segments[0] = segments[0].lstrip("_-") or "layer"
        if segments[0] in _JAVASCRIPT_NAMES:
            segments[0] += "_"
        name = stem = "/".join(segments)
        number = self._next.get(stem, 1)
        while name in self._taken:
            name = f"{stem}_{number}"
            number += 1
        self._next[stem] = number
        self._taken.add(name)
        return name
