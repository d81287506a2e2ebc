"""Draws the conceptual graph of an op graph from its name scopes. Runs in the caller's process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from tensorboard.compat.proto import graph_pb2

from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.engine.node_names import NodeNames, make_ascii, make_op_name

# Real models nest their scopes far less.
_MAX_DEPTH = 64

_PLACEHOLDERS = frozenset({"Placeholder", "PlaceholderV2", "PlaceholderWithDefault"})

# Ops that hold, read or write state, and compute nothing.
_QUIET = frozenset(
    {
        "Assign",
        "AssignVariableOp",
        "Const",
        "HashTableV2",
        "Identity",
        "InitializeTableFromTextFileV2",
        "LookupTableImportV2",
        "MutableHashTableV2",
        "NoOp",
        "ReadVariableOp",
        "RestoreV2",
        "SaveV2",
        "ShardedFilename",
        "VarHandleOp",
        "VarIsInitializedOp",
        "Variable",
        "VariableV2",
    }
)

_SAVER_OPS = frozenset({"SaveV2", "RestoreV2"})

_DT_RESOURCE = 20  # types.proto: a function's captured variable is a placeholder of this type

# A node of the drawn graph: ("scope", its path) or ("op", its name).
_Unit = tuple[str, str]


def graph_from_scopes(graph: graph_pb2.GraphDef, classes: Mapping[str, str]) -> graph_pb2.GraphDef:
    """Draw an op graph as its scopes: a node where ops compute, an edge where one scope reads another.

    `classes`: scope -> layer class, the node's op (else `Scope`). A scope with a class and none beneath it
    takes in every op below. Elsewhere the innermost scopes that compute are nodes; an op around them, or
    outside all scopes, is contracted, and kept only where it joins several sources (a residual addition:
    contracting a chain of those would draw an edge between every two blocks). Placeholders stay nodes.
    Control dependencies are no edges, nor is what only initializes, saves or restores.

    Raises: `CkptMetaError` (`UNSUPPORTED_MODEL`) where no scope is left to draw.
    """
    return _ScopeTree(graph, classes).draw()


class _Op(NamedTuple):
    name: str
    kind: str
    scope: str
    is_input: bool
    is_quiet: bool
    reads: tuple[int, ...]


class _ScopeTree:
    def __init__(self, graph: graph_pb2.GraphDef, classes: Mapping[str, str]) -> None:
        self._classes = {scope.strip("/"): name for scope, name in classes.items() if scope.strip("/")}
        self._layers = _innermost(self._classes.keys())
        self._scopes: dict[str, str] = {}
        self._nodes: dict[str, graph_pb2.NodeDef] = {}
        self._ops = self._read_ops(graph)
        self._drawn = _innermost({op.scope for op in self._ops if self._deserves_node(op)})

    def draw(self) -> graph_pb2.GraphDef:
        if not self._drawn:
            message = "The graph has no name scopes from which a conceptual graph could be drawn."
            raise CkptMetaError(Code.UNSUPPORTED_MODEL, message)
        units: dict[str, _Unit] = {scope: ("scope", scope) for scope in self._drawn}
        members = [("op", op.name) if op.is_input else units.get(op.scope) for op in self._ops]
        read_as = self._contract(members)

        # Dicts for their order, that of first appearance: equal graphs draw equal.
        sources: dict[_Unit, dict[_Unit, None]] = {}
        contents: dict[_Unit, list[_Op]] = {}
        for op, member, unit in zip(self._ops, members, read_as, strict=True):
            if unit is None or (member is None and unit != ("op", op.name)):
                continue  # contracted: whoever reads it reads its source
            if unit not in contents:
                contents[unit], sources[unit] = [], {}
            contents[unit].append(op)
            edges = sources[unit]
            for read in op.reads:
                source = read_as[read]
                if source is not None and source != unit:
                    edges[source] = None

        names = NodeNames()
        claimed = {unit: names.claim(unit[1]) for unit in contents}
        drawn = graph_pb2.GraphDef()
        for unit, ops in contents.items():
            node = drawn.node.add(name=claimed[unit], op=self._op_of(unit, ops))
            node.input.extend([claimed[source] for source in sources[unit]])
            if unit[0] == "scope":
                node.attr["ops"].s = str(len(ops)).encode("ascii")
                node.attr["op_types"].s = _op_types(ops).encode("ascii")
            elif ops[0].is_input:
                attributes = self._nodes[unit[1]].attr
                for key in ("dtype", "shape"):
                    if key in attributes:
                        node.attr[key].CopyFrom(attributes[key])
        return drawn

    def _read_ops(self, graph: graph_pb2.GraphDef) -> list[_Op]:
        for node in graph.node:
            self._nodes.setdefault(node.name, node)
        index = {name: i for i, name in enumerate(self._nodes)}
        kinds = [node.op for node in self._nodes.values()]
        parents = [_parent(name) for name in self._nodes]
        savers = {parent for parent, kind in zip(parents, kinds, strict=True) if kind in _SAVER_OPS} - {""}
        ops = []
        for (name, node), kind, parent in zip(self._nodes.items(), kinds, parents, strict=True):
            aside = parent in savers or _is_initializer(parent)
            placeholder = kind in _PLACEHOLDERS
            is_input = placeholder and not aside and not _holds_resource(node)
            is_quiet = placeholder or aside or kind in _QUIET
            # A control dependency, `^name`, is found under no name: it carries no data.
            names = [read.partition(":")[0] for read in node.input]
            reads = tuple([index[read] for read in names if read in index])
            ops.append(_Op(name, kind, self._scope_of(parent), is_input, is_quiet, reads))
        return ops

    def _scope_of(self, parent: str) -> str:
        """Return the scope that takes in the ops of `parent`: the layer around it, or itself."""
        scope = self._scopes.get(parent)
        if scope is None:
            scope = next((above for above in _ancestors(parent) if above in self._layers), parent)
            self._scopes[parent] = scope
        return scope

    def _deserves_node(self, op: _Op) -> bool:
        return bool(op.scope) and not op.is_input and (not op.is_quiet or op.scope in self._layers)

    def _contract(self, members: Sequence[_Unit | None]) -> list[_Unit | None]:
        """Return what each op is read as: its own unit, or the one unit from which its data come."""
        units = list(members)
        entered = [unit is not None for unit in members]
        for start in range(len(units)):
            stack = [] if entered[start] else [start]
            while stack:
                index = stack[-1]
                op = self._ops[index]
                if not entered[index]:
                    entered[index] = True
                    stack.extend(read for read in op.reads if not entered[read])
                    continue
                stack.pop()
                # A read that is still on the stack closes a loop, and adds nothing.
                found = {units[read] for read in op.reads} - {None}
                if len(found) == 1:
                    units[index] = found.pop()
                elif found and not op.is_quiet:
                    units[index] = ("op", op.name)
        return units

    def _op_of(self, unit: _Unit, ops: Sequence[_Op]) -> str:
        if unit[0] == "scope":
            return make_op_name(str(self._classes.get(unit[1], "Scope")))
        return "Placeholder" if ops[0].is_input else make_op_name(ops[0].kind)


def _parent(name: str) -> str:
    # Deeper scopes count as the one at the limit, so that a hostile path costs no more than a long one.
    if name.count("/") > _MAX_DEPTH:
        return "/".join(name.split("/", _MAX_DEPTH)[:_MAX_DEPTH])
    return name.rpartition("/")[0]


def _ancestors(scope: str) -> Iterator[str]:
    """Yield the scopes around `scope`, outermost first."""
    end = scope.find("/")
    while end >= 0:
        yield scope[:end]
        end = scope.find("/", end + 1)


def _innermost(scopes: AbstractSet[str]) -> AbstractSet[str]:
    return scopes - {above for scope in scopes for above in _ancestors(scope)}


def _holds_resource(node: graph_pb2.NodeDef) -> bool:
    return "dtype" in node.attr and node.attr["dtype"].type == _DT_RESOURCE


def _is_initializer(scope: str) -> bool:
    return "Initializer" in scope and "Initializer" in scope.split("/")


def _op_types(ops: Iterable[_Op]) -> str:
    counts = Counter(op.kind for op in ops if not op.is_quiet)
    ordered = sorted(counts, key=lambda kind: (-counts[kind], kind))
    return make_ascii(", ".join(f"{kind} x{counts[kind]}" if counts[kind] > 1 else kind for kind in ordered[:8]))
