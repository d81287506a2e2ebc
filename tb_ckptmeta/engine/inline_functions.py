"""Put the bodies of the functions that a graph calls in the place of the calls. Runs in the caller's process.

A SavedModel of TensorFlow 2 has its operations in functions, one in another. They are expanded here as messages, for
display: nothing is imported or run, and no TensorFlow is needed. Of an operation that has several outputs under names
of their own, a function's body says the name and not the number; which of them is read is not kept apart then.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tensorboard.compat.proto import graph_pb2

from tb_ckptmeta.core.errors import CkptMetaError, Code

MOST_NODES = 200_000
_DEEPEST = 64
_MOST_DIGITS = 9
"""Of an output's number; Python refuses to read one of thousands."""
_CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})
_PLAIN_CALL = re.compile(r"(?:.*/)?(?:Stateful)?PartitionedCall(?:_\d+)?")

Tensor = tuple[str, int]
"""A node's name and the number of its output."""


def parse_tensor(text: str) -> Tensor:
    """Return the tensor of a GraphDef's `node`, `node:1`."""
    name, _, number = text.partition(":")
    return name, int(number) if number.isascii() and number.isdigit() and len(number) <= _MOST_DIGITS else 0


def inline_functions(graph_def: Any, path: str) -> tuple[Any, Mapping[Tensor, Tensor]]:
    """Return the graph without calls, and what stands for each output of a call: tensor -> tensor.

    Raises:
        CkptMetaError: SOURCE_UNREADABLE for functions that call themselves, or that grow past all bounds.
    """
    return _Inliner(graph_def, path).run()


class _Inliner:
    def __init__(self, graph_def: Any, path: str) -> None:
        self._top = graph_def
        self._path = path
        self._functions = {f.signature.name: f for f in graph_def.library.function}
        self._flat = graph_pb2.GraphDef()
        self._inputs: list[tuple[list[Tensor], list[str]]] = []
        self._alias: dict[Tensor, Tensor] = {}
        self._taken: set[str] = set()
        self._next: dict[str, int] = {}
        self._work: list[tuple[Any, str, list[Tensor], str, int]] = []

    def run(self) -> tuple[Any, Mapping[Tensor, Tensor]]:
        names = {n.name: self._claim(n.name) for n in self._top.node}
        for node in self._top.node:
            read = [(names.get(t[0], t[0]), t[1]) for t in map(parse_tensor, node.input) if not t[0].startswith("^")]
            controls = [names[i[1:]] for i in node.input if i.startswith("^") and i[1:] in names]
            self._add(node, names[node.name], read, controls, 0)
        while self._work:
            function, call, arguments, prefix, depth = self._work.pop()
            self._expand(function, call, arguments, prefix, depth)
        present = {n.name for n in self._flat.node}
        for node, (read, controls) in zip(self._flat.node, self._inputs, strict=True):
            for tensor in read:
                name, number = self._resolve(tensor)
                node.input.append(f"{name}:{number}" if number else name)
            node.input.extend(f"^{name}" for name in controls if name in present)
        self._flat.versions.CopyFrom(self._top.versions)
        self._keep_functions()
        return self._flat, {tensor: self._resolve(tensor) for tensor in self._alias}

    def _add(self, node: Any, name: str, read: list[Tensor], controls: list[str], depth: int) -> None:
        called = node.op in _CALLS and "f" in node.attr  # asking a map for what it lacks would add it
        function = self._functions.get(node.attr["f"].func.name if called else node.op)
        if function is not None and len(function.signature.input_arg) == len(read):
            if depth >= _DEEPEST:
                raise self._refuse(f"its functions call each other more than {_DEEPEST} deep")
            # A call that has no name of its own says nothing; its operations have the model's.
            prefix = name.rpartition("/")[0] if _PLAIN_CALL.fullmatch(name) else name
            self._work.append((function, name, read, f"{prefix}/" if prefix else "", depth + 1))
            return
        if len(self._flat.node) >= MOST_NODES:
            raise self._refuse(f"it has more than {MOST_NODES} operations")
        added = self._flat.node.add()
        added.CopyFrom(node)
        added.name = name
        del added.input[:]
        self._inputs.append((read, controls))

    def _expand(self, function: Any, call: str, arguments: list[Tensor], prefix: str, depth: int) -> None:
        given = {a.name: t for a, t in zip(function.signature.input_arg, arguments, strict=True)}
        names = {n.name: self._claim(prefix + n.name) for n in function.node_def}

        def translate(text: str) -> Tensor:
            name, _, rest = text.partition(":")
            if name in given:
                return given[name]
            return names.get(name, name), parse_tensor(rest)[1]

        for number, output in enumerate(function.signature.output_arg):
            self._alias[call, number] = translate(function.ret[output.name])
        for node in function.node_def:
            read = [translate(i) for i in node.input if not i.startswith("^")]
            controls = [names[i[1:]] for i in node.input if i.startswith("^") and i[1:] in names]
            self._add(node, names[node.name], read, controls, depth)

    def _resolve(self, tensor: Tensor) -> Tensor:
        seen = set()
        while tensor in self._alias and tensor not in seen:
            seen.add(tensor)
            tensor = self._alias[tensor]
        return tensor

    def _claim(self, wanted: str) -> str:
        name, number = wanted, self._next.get(wanted, 1)
        while name in self._taken:
            name = f"{wanted}_{number}"
            number += 1
        self._next[wanted] = number
        self._taken.add(name)
        if len(self._taken) > 2 * MOST_NODES:
            raise self._refuse(f"it has more than {MOST_NODES} operations")
        return name

    def _keep_functions(self) -> None:
        """Keep the functions that loops and branches still name."""
        wanted: list[str] = []
        kept: dict[str, None] = {}
        nodes: list[Any] = list(self._flat.node)
        while nodes:
            for node in nodes:
                for value in node.attr.values():
                    wanted += [f.name for f in (value.func, *value.list.func) if f.name]
            new = [n for n in dict.fromkeys(wanted) if n in self._functions and n not in kept]
            kept.update(dict.fromkeys(new))
            nodes = [n for name in new for n in self._functions[name].node_def]
            wanted = []
        self._flat.library.function.extend(self._functions[name] for name in kept)

    def _refuse(self, reason: str) -> CkptMetaError:
        return CkptMetaError(Code.SOURCE_UNREADABLE, f"{self._path} cannot be shown: {reason}.")
