"""Put the parts of a scope that has too many into scopes of their own, for display. Runs in the caller's process.

The dashboard lays out all parts of an open scope at once: a thousand take seconds, three thousand do not end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from tb_ckptmeta.engine.attribute_fields import PLACE, Rest, read_place, write_place
from tb_ckptmeta.engine.memo import Memo
from tb_ckptmeta.engine.node_table import Node, NodeTable, make_message, make_node, parse_rest

MOST_PARTS = 1000
"""How many parts a scope may show."""
_PARTS_IN_GROUP = 500
_MOST_KNOWN = 1 << 16


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
    crowded = _find_crowded(parts, most)
    if crowded:
        rename = _Rename(_find_names(parts, crowded, most))
        table.nodes = rename.nodes(table.nodes)
        outermost = dict.fromkeys(rename.name(name).partition("/")[0] for name in outermost)
    for function in table.other.library.function:
        parts = _find_parts(node.name for node in function.node_def)
        inner = _find_crowded(parts, most)
        if not inner:
            continue
        crowded.append(function.signature.name)
        names = _find_names(parts, inner, most)
        # An argument may be called as a scope is.
        rename = _Rename({node.name: names[node.name] for node in function.node_def if node.name in names})
        for message, node in zip(function.node_def, rename.nodes(map(make_node, function.node_def)), strict=True):
            message.CopyFrom(make_message(node))
        for results in (function.ret, function.control_ret):
            for name, value in list(results.items()):
                results[name] = rename.reference(value)
    return Divided(crowded, tuple(outermost))


class _Rename:
    """Gives nodes new names. `names`: those of nodes and scopes that have new ones, by the old.

    What refers to none of them stays as it is: an argument of a function, or whatever somebody has written there.
    """

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = names
        self._references = Memo(self._refer, _MOST_KNOWN)
        self._fields = Memo(self._rename_field, _MOST_KNOWN)
        self._rests = Memo(self._rename_rest, _MOST_KNOWN)

    def name(self, name: str) -> str:
        """Return the new name of a node or a scope."""
        return self._names.get(name, name)

    def nodes(self, nodes: Iterable[Node]) -> list[Node]:
        """Return nodes with their new names, and those of all that they refer to."""
        names, references, rests = self._names, self._references, self._rests
        return [
            (
                names.get(name, name),
                op,
                tuple([names.get(text) or references[text] for text in inputs]),
                rests[rest],
            )
            for name, op, inputs, rest in nodes
        ]

    def reference(self, text: str) -> str:
        """Return a reference to a node (`^name`, `name:0`, `name:output:0`) as it is after the renaming."""
        return self._references[text]

    def _refer(self, text: str) -> str:
        control = "^" if text.startswith("^") else ""
        name, colon, rest = text[len(control) :].partition(":")
        return f"{control}{self.name(name)}{colon}{rest}"

    def _rename_rest(self, rest: Rest) -> Rest:
        """Return a node's other fields, with the new names of those that it is placed with."""
        return tuple([self._fields[field] for field in rest])

    def _rename_field(self, field: bytes) -> bytes:
        if PLACE not in field:
            return field
        place = read_place(field)
        if place is not None:
            return write_place(self._rename_place(place))
        message = parse_rest((field,))
        if "_class" not in message.attr:
            return field
        places = message.attr["_class"].list.s
        for i, text in enumerate(places):
            if text.startswith(PLACE):
                places[i] = PLACE + self._rename_place(text[len(PLACE) :])
        return b"".join(make_node(message)[3])

    def _rename_place(self, name: bytes) -> bytes:
        text = name.decode("utf-8", "surrogateescape")
        return self.name(text).encode("utf-8", "surrogateescape")


def _find_crowded(parts: Mapping[str, Mapping[str, None]], most: int) -> list[str]:
    return [scope for scope, own in parts.items() if len(own) > most]


def _find_names(parts: Mapping[str, Mapping[str, None]], crowded: Iterable[str], most: int) -> dict[str, str]:
    """Return the new names of all that stands in crowded scopes or anywhere below them, nodes and scopes."""
    size = min(_PARTS_IN_GROUP, most)
    divided = set(crowded)
    names: dict[str, str] = {}
    for scope, own in parts.items():
        new = names.get(scope, scope)
        if scope in divided:
            # A name's own part may be empty: TensorFlow allows `a//b`, which is not `a/b`.
            above, begin = (f"{new}/", len(scope) + 1) if scope else ("", 0)
            for name, group in zip(own, _name_groups(len(own), size), strict=True):
                names[name] = f"{above}{group}/{name[begin:]}"
        elif new != scope:
            begin = len(scope)
            for name in own:
                names[name] = new + name[begin:]
    return names


def _find_parts(names: Iterable[str]) -> dict[str, dict[str, None]]:
    """Return scope -> the full names of what stands in it, nodes and scopes, in order; a scope comes before its own."""
    parts: dict[str, dict[str, None]] = {"": {}}
    for name in names:
        at = name.rfind("/")
        scope = name[:at] if at > 0 else ""
        own = parts.get(scope)
        if own is None:
            own = _add_scope(scope, parts)
        own[name] = None
    return parts


def _add_scope(scope: str, parts: dict[str, dict[str, None]]) -> dict[str, None]:
    """Put a new scope into the one around it, and that one, if it is new, too; return what stands in it, nothing."""
    new, outer = [], scope
    while outer not in parts:
        new.append(outer)
        at = outer.rfind("/")
        outer = outer[:at] if at > 0 else ""
    own = parts[outer]
    for scope in reversed(new):
        own[scope] = None
        own = parts[scope] = {}
    return own


def _name_groups(parts: int, size: int) -> Iterator[str]:
    """Yield for each part of one scope the scope that it goes into."""
    count = -(-parts // size)
    # Of a million parts there are more groups than a scope may show.
    outer = -(-count // size)
    for number in range(parts):
        group = f"part_{number // size + 1}_of_{count}"
        yield f"section_{number // size // size + 1}_of_{outer}/{group}" if outer > 1 else group
