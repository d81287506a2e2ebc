"""Find what a graph's own restore operation gives each of its variables. Runs in the caller's process."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from tb_ckptmeta.engine.inline_functions import Tensor, parse_tensor
from tb_ckptmeta.engine.node_table import Node, make_message

VARIABLES = frozenset({"VarHandleOp", "VariableV2", "Variable"})
_ASSIGNS = frozenset({"Assign", "AssignVariableOp"})
_PASSING = frozenset({"Identity", "Reshape", "Cast"})
_RESTORES = frozenset({"RestoreV2", "Restore", "RestoreSlice"})
_MOST_PASSING = 8


class Restored(NamedTuple):
    """What restores a variable: the checkpoint's key, and the slice of it (`20 4 0,10:0,4`) or an empty text."""

    key: str
    slice: str


def find_restored(nodes: Mapping[str, Node], saver: Any, alias: Mapping[Tensor, Tensor]) -> dict[str, Restored]:
    """Return what the operation that a SaverDef names gives each variable: node -> key and slice.

    Only what that operation waits for counts: a training may have restored parts of other checkpoints. `alias`: what
    stands for the output of a call.
    """
    operation = parse_tensor(saver.restore_op_name)[0]
    if not operation:
        return {}
    # A function's call returns a tensor that waits for all that it assigns.
    start = alias.get((operation, 0), (operation, 0))[0]
    origins = _Origins(nodes)
    found: dict[str, Restored] = {}
    for name in find_ancestors(nodes, {start} & nodes.keys()):
        _, op, inputs, _ = nodes[name]
        if op not in _ASSIGNS or len(inputs) < 2:
            continue
        variable = parse_tensor(inputs[0])[0]
        restored = origins.trace(inputs[1])
        if restored is not None and variable in nodes and nodes[variable][1] in VARIABLES:
            found[variable] = restored
    return found


def find_ancestors(nodes: Mapping[str, Node], names: Iterable[str], *, waits: bool = True) -> set[str]:
    """Return what nodes depend on, themselves included; without `waits`, what they merely wait for is left out.

    `tf.function` lets whatever it returns wait for all that it has read.
    """
    needed: set[str] = set()
    stack = list(names)
    while stack:
        name = stack.pop()
        if name not in needed and name in nodes:
            needed.add(name)
            _, _, inputs, _ = nodes[name]
            stack.extend(parse_tensor(i.lstrip("^"))[0] for i in inputs if waits or not i.startswith("^"))
    return needed


class _Origins:
    """Traces assigned values to the restore operations that give them."""

    def __init__(self, nodes: Mapping[str, Node]) -> None:
        self._nodes = nodes
        # One operation restores all variables: its constants would be read anew for each.
        self._texts: dict[str, list[str]] = {}

    def trace(self, tensor: str) -> Restored | None:
        for _ in range(_MOST_PASSING):
            name, number = parse_tensor(tensor)
            if name not in self._nodes:
                return None
            _, op, inputs, _ = self._nodes[name]
            if op in _RESTORES:
                keys, slices = (self._read_texts(inputs, place) for place in (1, 2))
                if number >= len(keys):
                    return None
                return Restored(keys[number], slices[number] if number < len(slices) else "")
            if op not in _PASSING or not inputs:
                return None
            tensor = inputs[0]
        return None

    def _read_texts(self, inputs: tuple[str, ...], place: int) -> list[str]:
        """Return the texts of a constant that an operation reads."""
        if place >= len(inputs):
            return []
        name = parse_tensor(inputs[place])[0]
        texts = self._texts.get(name)
        if texts is None:
            node = self._nodes.get(name)
            constant = make_message(node) if node is not None and node[1] == "Const" else None
            values = constant.attr["value"].tensor.string_val if constant is not None else ()
            texts = self._texts[name] = [text.decode("utf-8", "replace") for text in values]
        return texts
