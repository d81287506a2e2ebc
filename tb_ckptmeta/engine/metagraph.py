"""Read which variables a `.meta` has, and which checkpoint keys it restores them from. Runs in the caller's process."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from google.protobuf import text_format
from google.protobuf.message import DecodeError
from tensorboard.compat.proto.meta_graph_pb2 import MetaGraphDef
from tensorboard.compat.proto.variable_pb2 import VariableDef

from tb_ckptmeta.core.contents import DTYPE_NAMES
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.side import METAGRAPH, Shape, Side, Variable, make_who, mark_bookkeeping
from tb_ckptmeta.engine.checkpoint_file import open_file

TEXT = ".pbtxt"
SUFFIXES = (".meta", TEXT)

_LARGEST = {".meta": 1 << 28, TEXT: 1 << 26}
"""Graphs hold no weights, or few: what is larger would fill this process' memory, or take it minutes to parse."""

_VARIABLES = frozenset({"VarHandleOp", "VariableV2", "Variable", "AutoReloadVariable"})
_ASSIGNS = frozenset({"AssignVariableOp", "Assign"})
_PASSES = frozenset({"Identity", "Cast"})
_RESTORES = frozenset({"RestoreV2", "RestoreSlice", "Restore"})
_MOST_TEXTS = 1 << 20
_REF = 100
"""What is added to the number of a type for a reference to it (types.proto)."""


def read_metagraph(file: str, title: str, id: str | None = None) -> Side:
    """Return the side of the MetaGraphDef in a file, by the checkpoint keys that its saver restores from.

    A variable that its saver does not restore goes by its own name.

    Raises:
        CkptMetaError: CHECKPOINT_MISSING, CHECKPOINT_UNREADABLE, CHECKPOINT_CORRUPT.
    """
    meta_graph = _parse(file)
    graph = meta_graph.graph_def
    nodes = {node.name: node for node in graph.node}
    keys, wholes = _find_keys(nodes, meta_graph)
    sliced = _read_slices(meta_graph)
    trainable = _read_trainable(meta_graph)
    variables: dict[str, Variable] = {}
    unrestored = []
    for node in graph.node:
        if node.op not in _VARIABLES:
            continue
        name, shape = sliced.get(node.name, (node.name, _read_shape(node)))
        key = name
        if node.name in keys:
            key = keys[node.name]
        else:
            unrestored.append(node.name)
        shape = wholes.get(key, shape)
        known = variables.get(key)
        is_trainable = (node.name in trainable or bool(known and known.trainable)) if trainable is not None else None
        path = name if name != key else None
        variables[key] = Variable(shape, _read_dtype(node), ".OPTIMIZER_SLOT/" in key, is_trainable, path)
    notes = []
    if keys and unrestored:
        notes.append(f"Its saver does not restore {len(unrestored)} variable(s): {', '.join(unrestored[:5])}.")
    outputs = [_split(o.name)[0] for s in meta_graph.signature_def.values() for o in s.outputs.values()]
    forward = _find_ancestors(nodes, [o for o in outputs if o in nodes])
    operations = Counter(node.op for node in graph.node if not forward or node.name in forward)
    for function in graph.library.function:
        operations.update(node.op for node in function.node_def)
    marked = mark_bookkeeping(dict(sorted(variables.items())))
    who = make_who(METAGRAPH, title, id=id, path=file, variables=len(marked))
    return Side(who, marked, operations=operations, forward=bool(forward), notes=tuple(notes))


def _parse(path: str) -> Any:
    suffix = os.path.splitext(path)[1]
    limit = _LARGEST.get(suffix, _LARGEST[".meta"])
    with open_file(path, Code.CHECKPOINT_MISSING) as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise _unfit(path, f"it has more than {limit >> 20} MiB")
    meta_graph = MetaGraphDef()
    try:
        if suffix == TEXT:
            text_format.Parse(data.decode("utf-8"), meta_graph, allow_unknown_field=True)
        else:
            meta_graph.ParseFromString(data)
    except (DecodeError, UnicodeDecodeError, text_format.ParseError, RecursionError) as error:
        raise _unfit(path, f"it is no MetaGraphDef ({str(error)[:200]})") from None
    if not meta_graph.graph_def.node:
        raise _unfit(path, "it is no MetaGraphDef, or one without a graph")
    return meta_graph


def _find_keys(nodes: Mapping[str, Any], meta_graph: Any) -> tuple[dict[str, str], dict[str, Shape]]:
    """Return variable -> the checkpoint key that its saver restores it from; and of partitioned ones, key -> shape.

    A restore names its keys in a constant, and each of its outputs is assigned to a variable.
    """
    start = meta_graph.saver_def.restore_op_name
    within = _find_ancestors(nodes, [start]) if start in nodes else set(nodes)
    keys: dict[str, str] = {}
    wholes: dict[str, Shape] = {}
    texts: dict[str, list[str]] = {}  # thousands of outputs share one constant

    def read_text(given: str, place: int) -> str | None:
        name = _split(given)[0]
        if name not in texts:
            texts[name] = _read_texts(nodes.get(name))
        return texts[name][place] if 0 <= place < len(texts[name]) else None

    for name in within:
        node = nodes[name]
        if node.op not in _ASSIGNS or len(node.input) < 2:
            continue
        restore, output = _follow(nodes, node.input[1])
        if restore is None or restore.op not in _RESTORES or len(restore.input) < 2:
            continue
        key = read_text(restore.input[1], output)
        if key is None:
            continue
        keys[_split(node.input[0])[0]] = key
        part = read_text(restore.input[2], output) if len(restore.input) > 2 else None
        whole = _read_whole(part) if part else None
        if whole is not None:
            wholes[key] = whole
    return keys, wholes


def _find_ancestors(nodes: Mapping[str, Any], starts: list[str]) -> set[str]:
    seen = set(starts)
    queue = list(starts)
    for name in queue:
        for given in nodes[name].input:
            above = _split(given)[0]
            if above in nodes and above not in seen:
                seen.add(above)
                queue.append(above)
    return seen


def _follow(nodes: Mapping[str, Any], given: str) -> tuple[Any | None, int]:
    """Return the node, and the number of its output, that an input comes from, through what passes it on."""
    for _ in range(8):
        name, output = _split(given)
        node = nodes.get(name)
        if node is None or node.op not in _PASSES or not node.input:
            return node, output
        given = node.input[0]
    return None, 0


def _split(given: str) -> tuple[str, int]:
    name, _, output = given.lstrip("^").partition(":")
    return name, int(output) if _is_number(output) else 0


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 19


def _read_texts(node: Any | None) -> list[str]:
    """Return the texts of a constant; of one text that stands for several equal ones, as many as its shape says."""
    if node is None or node.op != "Const":
        return []
    tensor = node.attr["value"].tensor
    texts: list[str] = [value.decode("utf-8", "replace") for value in tensor.string_val]
    sizes = [dimension.size for dimension in tensor.tensor_shape.dim]
    if len(texts) == 1 and sizes:
        return texts * min(int(sizes[0]), _MOST_TEXTS)
    return texts


def _read_whole(text: str) -> Shape:
    """Return the whole's shape from how a restore names a slice: `12 4 0,4:-` (saved_tensor_slice_util.cc)."""
    *sizes, _ = text.split(" ")
    return tuple(int(s) for s in sizes) if all(map(_is_number, sizes)) else None


def _read_shape(node: Any) -> Shape:
    if "shape" not in node.attr or node.attr["shape"].shape.unknown_rank:
        return None
    return tuple(d.size if d.size >= 0 else None for d in node.attr["shape"].shape.dim)


def _read_dtype(node: Any) -> str:
    number = node.attr["dtype"].type
    return DTYPE_NAMES.get(number % _REF, f"type {number}")


def _read_slices(meta_graph: Any) -> dict[str, tuple[str, Shape]]:
    """Return variable -> name and shape of the whole, for those that are a slice of a partitioned one."""
    found: dict[str, tuple[str, Shape]] = {}
    for variable in _read_collection(meta_graph, "variables"):
        info = variable.save_slice_info_def
        if info.full_name:
            found[variable.variable_name.partition(":")[0]] = (info.full_name, tuple(info.full_shape))
    return found


def _read_trainable(meta_graph: Any) -> set[str] | None:
    """Return the names of the trainable variables; None where the collection does not say."""
    if "trainable_variables" not in meta_graph.collection_def:
        return None
    return {v.variable_name.partition(":")[0] for v in _read_collection(meta_graph, "trainable_variables")}


def _read_collection(meta_graph: Any, name: str) -> Iterator[Any]:
    for value in meta_graph.collection_def[name].bytes_list.value if name in meta_graph.collection_def else ():
        try:
            yield VariableDef.FromString(value)
        except DecodeError:
            continue


def _unfit(path: str, reason: str) -> CkptMetaError:
    return CkptMetaError(Code.CHECKPOINT_CORRUPT, f"{path} cannot be compared: {reason}.")
