"""Put the parts of a scope that has too many into scopes of their own, for display. Runs in the caller's process.

The dashboard lays out all parts of an open scope at once: a thousand take seconds, three thousand do not end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tb_ckptmeta.engine.node_table import Node, NodeTable, Rest, make_message, make_node, parse_rest
from tb_ckptmeta.engine.silent_attributes import PLACE

MOST_PARTS = 1000
"""How many parts a scope may show."""
_PARTS_IN_GROUP = 500


@dataclass(frozen=True)
class Divided:
    """What came of it: the scopes that had too many parts, the outermost called "", and the outermost names now."""

    crowded: list[str]
    outermost: tuple[str, ...]


def divide_crowds(table: NodeTable, most: int = MOST_PARTS) -> Divided:
    """Rename nodes so that no scope, nor function's body, has more than `most` parts.

    Parts that follow one another in the graph stay together: `scope/x` becomes `scope/part_2_of_7/x`.
    """
    parts = _find_parts(name for name, _, _, _ in table.nodes)
    outermost = parts[""]
    rename = _find_rename(parts, most)
    crowded = []
    if rename is not None:
        crowded += rename.crowded
        table.nodes = [_rename_node(node, rename) for node in table.nodes]
        outermost = dict.fromkeys(rename.name(name).partition("/")[0] for name in outermost)
    for function in table.other.library.function:
        rename = _find_rename(_find_parts(node.name for node in function.node_def), most)
        if rename is None:
            continue
        crowded.append(function.signature.name)
        for message in function.node_def:
            message.CopyFrom(make_message(_rename_node(make_node(message), rename)))
        for results in (function.ret, function.control_ret):
            for name, value in list(results.items()):
                results[name] = rename.reference(value)
    return Divided(crowded, tuple(outermost))


class _Rename:
    """New names of nodes. `groups`: what stands in a crowded scope, by full name -> the scope it goes into."""

    def __init__(self, groups: Mapping[str, str], crowded: list[str]) -> None:
        self.crowded = crowded
        self._groups = groups
        self._names: dict[str, str] = {}
        self._references: dict[str, str] = {}
        self._scopes: dict[str, str] = {"": ""}
        self._rests: dict[Rest, Rest] = {}
        self._fields: dict[bytes, bytes] = {}

    def name(self, name: str) -> str:
        """Return the new name of a node."""
        new = self._names.get(name)
        if new is None:
            at = name.rfind("/")
            scope = name[:at] if at > 0 else ""
            new = self._names[name] = self._join(self._scope(scope), name, name[at + 1 :] if at > 0 else name)
        return new

    def reference(self, text: str) -> str:
        """Return a reference to a node (`^name`, `name:0`, `name:output:0`) as it is after the renaming."""
        new = self._references.get(text)
        if new is None:
            control = "^" if text.startswith("^") else ""
            name, colon, rest = text[len(control) :].partition(":")
            new = self._references[text] = f"{control}{self.name(name)}{colon}{rest}"
        return new

    def rest(self, rest: Rest) -> Rest:
        """Return a node's other fields, with the new names of those that it is placed with."""
        new = self._rests.get(rest)
        if new is None:
            new = self._rests[rest] = tuple([self._fields.get(field) or self._field(field) for field in rest])
        return new

    def _field(self, field: bytes) -> bytes:
        new = field
        if PLACE in field:
            message = parse_rest((field,))
            _rename_places(message, self)
            new = b"".join(make_node(message)[3])
        self._fields[field] = new
        return new

    def _scope(self, scope: str) -> str:
        waiting = []
        while scope not in self._scopes:
            waiting.append(scope)
            at = scope.rfind("/")
            scope = scope[:at] if at > 0 else ""
        found = self._scopes[scope]
        for scope in reversed(waiting):
            at = scope.rfind("/")
            found = self._scopes[scope] = self._join(found, scope, scope[at + 1 :] if at > 0 else scope)
        return found

    def _join(self, scope: str, old: str, own: str) -> str:
        group = self._groups.get(old)
        if group is not None:
            own = f"{group}/{own}"
        # A name's own part may be empty: TensorFlow allows `a//b`, which is not `a/b`.
        return f"{scope}/{own}" if scope else own


def _find_rename(parts: Mapping[str, Mapping[str, None]], most: int) -> _Rename | None:
    """Return new names where a scope has too many parts, None where none has."""
    crowded = [scope for scope, own in parts.items() if len(own) > most]
    if not crowded:
        return None
    groups: dict[str, str] = {}
    for scope in crowded:
        _group(list(parts[scope]), min(_PARTS_IN_GROUP, most), groups)
    return _Rename(groups, crowded)


def _find_parts(names: Iterable[str]) -> dict[str, dict[str, None]]:
    """Return scope -> the full names of what stands in it, nodes and scopes, in order."""
    parts: dict[str, dict[str, None]] = {"": {}}
    for name in names:
        at = name.rfind("/")
        scope = name[:at] if at > 0 else ""
        own = parts.get(scope)
        if own is None:
            own = parts[scope] = {}
            _stand_in_scopes(scope, parts)
        own[name] = None
    return parts


def _stand_in_scopes(scope: str, parts: dict[str, dict[str, None]]) -> None:
    """Put a new scope into the one around it, and that one, if it is new, too."""
    known = False
    while not known:
        at = scope.rfind("/")
        outer = scope[:at] if at > 0 else ""
        known = outer in parts
        parts.setdefault(outer, {})[scope] = None
        scope = outer


def _group(own: list[str], size: int, groups: dict[str, str]) -> None:
    """Divide all parts of one scope, and the groups of them where there are too many of those, too."""
    count = -(-len(own) // size)
    # Of a million parts there are more groups than a scope may show.
    outer = -(-count // size)
    for number, name in enumerate(own):
        group = f"part_{number // size + 1}_of_{count}"
        if outer > 1:
            group = f"section_{number // size // size + 1}_of_{outer}/{group}"
        groups[name] = group


def _rename_node(node: Node, rename: _Rename) -> Node:
    name, op, inputs, rest = node
    return rename.name(name), op, tuple([rename.reference(text) for text in inputs]), rename.rest(rest)


def _rename_places(node: Any, rename: _Rename) -> None:
    if "_class" in node.attr:
        places = node.attr["_class"].list.s
        for i, place in enumerate(places):
            if place.startswith(PLACE):
                places[i] = PLACE + _rename_bytes(place[len(PLACE) :], rename)


def _rename_bytes(name: bytes, rename: _Rename) -> bytes:
    return rename.name(name.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
