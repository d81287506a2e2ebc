"""Make the graphs that the stock Graphs dashboard shows. Runs in the caller's process."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tensorboard.compat.proto import graph_pb2

from tb_ckptmeta.core.compare import Comparison, compare
from tb_ckptmeta.core.contents import Contents
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.leftovers import find_places
from tb_ckptmeta.core.rebuilt import ModelVariable, Rebuilt
from tb_ckptmeta.core.renames import Rename
from tb_ckptmeta.engine.attribute_fields import set_attributes
from tb_ckptmeta.engine.collection import collection_paused
from tb_ckptmeta.engine.conceptual_keras import graph_from_keras_config
from tb_ckptmeta.engine.conceptual_scopes import graph_from_scopes
from tb_ckptmeta.engine.crowds import divide_crowds
from tb_ckptmeta.engine.graph_text import write_text
from tb_ckptmeta.engine.gzipped import Deflated, deflate, finish_gzip
from tb_ckptmeta.engine.node_table import NodeTable, tabulate
from tb_ckptmeta.engine.silent_attributes import drop_silent, drop_uncalled
from tb_ckptmeta.engine.stored_attributes import StoredAttributes

_VARIABLE_OPS = frozenset({"VarHandleOp", "VariableV2", "Variable", "VarHandle"})
_MOST_LISTED = 20


@dataclass(frozen=True)
class Drawing:
    """A graph as the dashboard takes it, compressed, all but the node that says what it is.

    `facts`: what the drawing itself found out, for that node; `names`: the outermost names, which it may not have.
    Both are JSON.
    """

    content: Deflated
    facts: Mapping[str, Any]
    names: tuple[str, ...]


def draw_op_graph(rebuilt: Rebuilt, graph: NodeTable, contents: Contents, renames: Sequence[Rename] = ()) -> Drawing:
    """Draw the op graph, variables with what the checkpoint holds of them.

    A variable's node gets the attributes `checkpoint_key`, `checkpoint_shape`, `checkpoint_dtype` and
    `checkpoint_bytes`.
    """
    comparison = compare(rebuilt, contents, renames)
    keys = {n: key for i, key in comparison.binding.items() for n in _list_nodes(rebuilt.variables[i])}
    names = {n for v in rebuilt.variables for n in _list_nodes(v)}
    with collection_paused():
        table = drop_silent(drop_uncalled(graph))
        attributes = StoredAttributes(contents)
        for place, (name, op, inputs, rest) in enumerate(table.nodes):
            if op in _VARIABLE_OPS and name in names:
                table.nodes[place] = name, op, inputs, set_attributes(rest, attributes.write(keys.get(name)))
        return draw(table, _describe_verdict(comparison, contents))


def draw_conceptual_graph(
    rebuilt: Rebuilt, graph: bytes, contents: Contents, renames: Sequence[Rename] = ()
) -> Drawing:
    """Draw the conceptual graph: the Keras layers, or the scope tree of a model without them."""
    drawn = None
    if rebuilt.config is not None:
        try:
            drawn = graph_from_keras_config(rebuilt.config)
        except CkptMetaError as error:
            if error.code is not Code.UNSUPPORTED_MODEL:
                raise
    if drawn is None:
        drawn = graph_pb2.GraphDef()
        drawn.ParseFromString(graph)
        try:
            drawn = graph_from_scopes(drawn, _find_classes(drawn, rebuilt.classes))
        except CkptMetaError as error:
            # Without a scope to draw there is but the op graph.
            if error.code is not Code.UNSUPPORTED_MODEL:
                raise
    return draw(tabulate(drawn), _describe_verdict(compare(rebuilt, contents, renames), contents))


def draw(table: NodeTable, facts: Mapping[str, Any]) -> Drawing:
    """Make a drawing of a graph; scopes with too many parts to be shown at once are divided."""
    divided = divide_crowds(table)
    if divided.crowded:
        facts = {**facts, "divided_for_display": [scope or "(the outermost)" for scope in divided.crowded]}
    return Drawing(deflate(write_text(table)), facts, divided.outermost)


def finish_drawing(drawing: Drawing, title: str, facts: Mapping[str, Any]) -> bytes:
    """Return a drawing as a gzip file of protobuf text.

    A node called after `title` says what this is, with `facts` and the drawing's own as its attributes: a graph that
    arrives late may stand under another's name.
    """
    identity = graph_pb2.GraphDef()
    name = re.sub(r"[^A-Za-z0-9_.-]+", "_", title).strip("_") or "checkpoint"
    while name in drawing.names:
        name += "_"
    node = identity.node.add(name=name, op="Checkpoint")
    for key, value in {**facts, **drawing.facts}.items():
        if value == []:
            continue
        if isinstance(value, list):
            shown = value[:_MOST_LISTED]
            node.attr[key].list.s.extend(_ascii(str(item)).encode("ascii") for item in shown)
            if len(value) > len(shown):
                node.attr[key].list.s.append(f"and {len(value) - len(shown)} more".encode("ascii"))
        else:
            node.attr[key].s = _ascii(str(value)).encode("ascii")
    return finish_gzip(drawing.content, _as_text(identity))


def _list_nodes(variable: ModelVariable) -> tuple[str, ...]:
    """Return the nodes that hold a variable: several where it is partitioned."""
    return variable.parts or (variable.name,)


def make_error_graph(error: CkptMetaError) -> bytes:
    """Return a graph of one node that says what went wrong, as `finish_drawing` does.

    The dashboard shows no HTTP error's text.
    The node's op is the message; its attributes are the code and the lines of the details.
    """
    lines = [line for line in [error.message, *error.details.splitlines()] if line.strip()]
    if len(lines) > 60:
        lines = [*lines[:20], f"[... {len(lines) - 60} lines left out ...]", *lines[-40:]]
    attributes = {"00_code": error.code.value, **{f"{number:02d}": line for number, line in enumerate(lines, 1)}}
    written = [
        f'  attr {{\n    key: "{key}"\n    value {{\n      s: {_quote(a)}\n    }}\n  }}'
        for key, a in attributes.items()
    ]
    text = "\n".join(["node {", '  name: "ERROR"', f"  op: {_quote(error.message)}", *written, "}", ""])
    return finish_gzip(deflate([]), text.encode("utf-8", "replace"))


def _describe_verdict(comparison: Comparison, contents: Contents) -> dict[str, Any]:
    places = find_places(contents, comparison) if comparison.unexpected else {}
    listed = {
        "missing": [row["name"] for row in comparison.missing],
        "unexpected": [places[row["key"]] for row in comparison.unexpected],
        "shape_differs": [
            f"{r['name']}: {r['model']}, in the checkpoint {r['checkpoint']}" for r in comparison.shape_mismatches
        ],
        "dtype_differs": [
            f"{r['name']}: {r['model']}, in the checkpoint {r['checkpoint']}" for r in comparison.dtype_mismatches
        ],
    }
    verdict = f"{comparison.status}: {comparison.bound} of {comparison.variables} variables bound"
    return {"verdict": verdict, **{k: v for k, v in listed.items() if v}}


def _find_classes(graph_def: graph_pb2.GraphDef, layers: Mapping[str, str]) -> dict[str, str]:
    """Return scope -> layer class; a layer's scope ends in the layer's name.

    A scope that takes in all of the model says nothing: it counts only where a layer's scope lies beneath it.
    """
    scopes = _find_scopes(n.name for n in graph_def.node)
    classes = {s: layers[s.rpartition("/")[2]] for s in scopes if s.rpartition("/")[2] in layers}
    above = {s[:i] for s in classes for i, c in enumerate(s) if c == "/"}
    return {s: c for s, c in classes.items() if "/" in s or s in above or len(classes) > 1}


def _find_scopes(names: Iterable[str]) -> set[str]:
    scopes = set()
    for name in names:
        at = name.rfind("/")
        while at > 0 and name[:at] not in scopes:
            scopes.add(name[:at])
            at = name.rfind("/", 0, at)
    return scopes


def _quote(text: str) -> str:
    """Return text as protobuf's text format has it, and without escapes: the dashboard shows what is written."""
    plain = text.expandtabs().translate({ord("'"): "\u2019", ord('"'): "\u201d"}).replace("\\", "\\\\")
    return '"' + "".join(c if c.isprintable() else " " for c in plain) + '"'


def _ascii(text: str) -> str:
    """Return text as the dashboard can show it: it prints other characters as octal escapes."""
    return text.encode("ascii", "backslashreplace").decode("ascii")


def _as_text(graph_def: graph_pb2.GraphDef) -> bytes:
    return b"".join(write_text(tabulate(graph_def)))
