"""Read a `.meta` or a `saved_model.pb` as messages, and make of it what a rebuild would have found out.

Runs in the caller's process. Nothing is imported into TensorFlow, and nothing runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError
from tensorboard.compat.proto import meta_graph_pb2, variable_pb2

from tb_ckptmeta.core.contents import DTYPE_NAMES
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.rebuilt import ModelVariable, Rebuilt
from tb_ckptmeta.engine.bound_message import parse_bounded
from tb_ckptmeta.engine.checkpoint_file import open_file
from tb_ckptmeta.engine.inline_functions import MOST_NODES, inline_functions, parse_tensor
from tb_ckptmeta.engine.silent_attributes import drop_value
from tb_ckptmeta.engine.sstable import MalformedError, decode_varint

MOST_BYTES = 128 << 20
_MOST_FIELDS = 4_000_000
_LONGEST_NAME = 2000
"""What a file may take, and what it may hold: more than the graph of any model that is trained."""

_VARIABLES = frozenset({"VarHandleOp", "VariableV2", "Variable"})
_ASSIGNS = frozenset({"Assign", "AssignVariableOp"})
_PASSING = frozenset({"Identity", "Reshape", "Cast"})
_RESTORES = frozenset({"RestoreV2", "Restore", "RestoreSlice"})
_SIGNATURE = "serving_default"
_INTERNAL = "__saved_model_"
_SERVE = "serve"
_REFERENCE_TYPES = 100  # types.proto: a reference to a type is its number and 100


class Graph(NamedTuple):
    """What a source says: facts about its variables, and its graph as a serialized GraphDef."""

    rebuilt: Rebuilt
    graph: bytes


class _Restored(NamedTuple):
    """What restores a variable: the checkpoint's key, and the slice of it (`20 4 0,10:0,4`) or an empty text."""

    key: str
    slice: str


def read_metagraph(path: str, title: str) -> Graph:
    """Read a `.meta`. Its whole graph is kept: a training's, unless it has a signature.

    Raises:
        CkptMetaError: SOURCE_UNREADABLE, SOURCE_MISSING, CHECKPOINT_UNREADABLE.
    """
    meta = _parse(_read_file(path), path)
    _require_nodes(meta, path)
    outputs = _find_outputs(meta)
    return _describe(meta, meta.graph_def, {name for name, _ in outputs}, title, whole=True)


def read_saved_model(path: str, title: str) -> Graph:
    """Read a `saved_model.pb`: what its signature needs, the functions that it calls put in place of the calls.

    Raises:
        CkptMetaError: as `read_metagraph`.
    """
    metas = [_parse(part, path) for part in _split_saved_model(_read_file(path), path)]
    if not metas:
        raise _unreadable(path, "there is no MetaGraphDef in it")
    meta = next((m for m in metas if _SERVE in m.meta_info_def.tags), metas[0])
    _require_nodes(meta, path)
    flat, alias = inline_functions(meta.graph_def, path)
    outputs = {alias.get(tensor, tensor)[0] for tensor in _find_outputs(meta)}
    return _describe(meta, flat, outputs, title, whole=not outputs, alias=alias)


def _describe(
    meta: Any,
    graph_def: Any,
    outputs: set[str],
    title: str,
    *,
    whole: bool,
    alias: Mapping[tuple[str, int], tuple[str, int]] | None = None,
) -> Graph:
    nodes = {n.name: n for n in graph_def.node}
    restored = _find_restored(nodes, meta.saver_def, alias or {})
    needed = _find_ancestors(nodes, outputs & nodes.keys(), waits=False)
    groups: dict[str, list[str]] = {}
    for name, node in nodes.items():
        if node.op in _VARIABLES:
            groups.setdefault(restored[name].key if name in restored else name, []).append(name)
    trainable = _list_collection(meta, "trainable_variables")
    local = _list_collection(meta, "local_variables") - _list_collection(meta, "variables")
    variables = []
    for key, names in groups.items():
        first = nodes[names[0]]
        sliced = restored[names[0]].slice if names[0] in restored else ""
        read = any(n in needed for n in names) if needed else names[0] in restored or names[0] not in local
        if not read and names[0] not in restored:
            continue  # a copy that neither the signature nor the restore operation knows: Keras' export has them
        parts = tuple(names) if [key] != names else ()
        shape = _read_whole(sliced) if sliced else _read_shape(first)
        variables.append(ModelVariable(key, shape, _read_dtype(first), any(n in trainable for n in names), read, parts))
    version = meta.meta_info_def.tensorflow_version
    if restored:
        bound = "which key restores a variable, its own restore operation says"
    else:
        bound = "it has no restore operation: variables were compared by their names"
    notes = (f"{title} was parsed, not run; {bound}.",)
    rebuilt = Rebuilt(tuple(variables), None, {}, "", versions={"tensorflow": version} if version else {}, notes=notes)
    # An input that the outputs do not need stays: clients feed it.
    kept = needed | {n for s in _list_signatures(meta) for n in _list_inputs(s)}
    shown = graph_def if whole else _cut(graph_def, kept)
    for node in chain(shown.node, *(function.node_def for function in shown.library.function)):
        drop_value(node)
    return Graph(rebuilt, shown.SerializeToString(deterministic=True))


def _find_restored(
    nodes: Mapping[str, Any], saver: Any, alias: Mapping[tuple[str, int], tuple[str, int]]
) -> dict[str, _Restored]:
    """Return what the graph's own restore operation gives each variable: node -> key and slice.

    Only what that operation waits for counts: a training may have restored parts of other checkpoints.
    """
    operation = parse_tensor(saver.restore_op_name)[0]
    if not operation:
        return {}
    # A function's call returns a tensor that waits for all that it assigns.
    start = alias.get((operation, 0), (operation, 0))[0]
    found: dict[str, _Restored] = {}
    for name in _find_ancestors(nodes, {start} & nodes.keys()):
        node = nodes[name]
        if node.op not in _ASSIGNS or len(node.input) < 2:
            continue
        variable = parse_tensor(node.input[0])[0]
        restored = _trace_restore(nodes, node.input[1])
        if restored is not None and variable in nodes and nodes[variable].op in _VARIABLES:
            found[variable] = restored
    return found


def _trace_restore(nodes: Mapping[str, Any], tensor: str) -> _Restored | None:
    """Follow an assigned value to the restore operation that gives it."""
    for _ in range(8):
        name, number = parse_tensor(tensor)
        node = nodes.get(name)
        if node is None:
            return None
        if node.op in _RESTORES:
            texts = [_read_texts(nodes, i) for i in node.input[1:3]]
            keys = texts[0] if texts else []
            slices = texts[1] if len(texts) > 1 else []
            if number >= len(keys):
                return None
            return _Restored(keys[number], slices[number] if number < len(slices) else "")
        if node.op not in _PASSING or not node.input:
            return None
        tensor = node.input[0]
    return None


def _read_texts(nodes: Mapping[str, Any], tensor: str) -> list[str]:
    node = nodes.get(parse_tensor(tensor)[0])
    if node is None or node.op != "Const":
        return []
    return [t.decode("utf-8", "replace") for t in node.attr["value"].tensor.string_val]


def _find_ancestors(nodes: Mapping[str, Any], names: Iterable[str], *, waits: bool = True) -> set[str]:
    """Return what nodes depend on, themselves included; without `waits`, what they merely wait for is left out.

    `tf.function` lets whatever it returns wait for all that it has read.
    """
    needed: set[str] = set()
    stack = list(names)
    while stack:
        name = stack.pop()
        if name not in needed and name in nodes:
            needed.add(name)
            inputs = nodes[name].input
            stack.extend(parse_tensor(i.lstrip("^"))[0] for i in inputs if waits or not i.startswith("^"))
    return needed


def _list_signatures(meta: Any) -> list[Any]:
    if _SIGNATURE in meta.signature_def:
        return [meta.signature_def[_SIGNATURE]]
    return [meta.signature_def[name] for name in sorted(meta.signature_def) if not name.startswith(_INTERNAL)]


def _find_outputs(meta: Any) -> list[tuple[str, int]]:
    return [t for s in _list_signatures(meta) for info in s.outputs.values() for t in map(parse_tensor, _names(info))]


def _list_inputs(signature: Any) -> list[str]:
    return [parse_tensor(name)[0] for info in signature.inputs.values() for name in _names(info)]


def _names(info: Any) -> list[str]:
    """Return the tensors behind one entry of a signature: several where it is sparse or composite."""
    coo = info.coo_sparse
    components = (c.name for c in info.composite_tensor.components)
    named = (info.name, coo.values_tensor_name, coo.indices_tensor_name, coo.dense_shape_tensor_name, *components)
    return [name for name in named if name]


def _list_collection(meta: Any, name: str) -> set[str]:
    """Return the nodes of the variables in a collection."""
    if name not in meta.collection_def:
        return set()
    found = set()
    for text in meta.collection_def[name].bytes_list.value:
        try:
            found.add(parse_tensor(variable_pb2.VariableDef.FromString(text).variable_name)[0])
        except DecodeError:
            continue
    return found


def _read_shape(node: Any) -> tuple[int | None, ...] | None:
    if "shape" not in node.attr or node.attr["shape"].shape.unknown_rank:
        return None
    return tuple(None if d.size < 0 else d.size for d in node.attr["shape"].shape.dim)


def _read_whole(sliced: str) -> tuple[int, ...]:
    """Return the whole's shape of a slice, `20 4 0,10:0,4`."""
    return tuple(int(n) for n in sliced.split(" ")[:-1] if n.isascii() and n.isdigit())


def _read_dtype(node: Any) -> str:
    number = node.attr["dtype"].type if "dtype" in node.attr else 0
    return DTYPE_NAMES.get(number % _REFERENCE_TYPES, str(number))


def _cut(graph_def: Any, kept: set[str]) -> Any:
    """Return a graph of the nodes that are kept, which wait for no other."""
    cut = type(graph_def)()
    cut.versions.CopyFrom(graph_def.versions)
    cut.library.CopyFrom(graph_def.library)
    for node in graph_def.node:
        if node.name in kept:
            added = cut.node.add()
            added.CopyFrom(node)
            del added.input[:]
            added.input.extend(i for i in node.input if not i.startswith("^") or i[1:] in kept)
    return cut


def _split_saved_model(data: bytes, path: str) -> Iterator[bytes]:
    """Yield the MetaGraphDefs of a SavedModel: `int64 saved_model_schema_version = 1; repeated … meta_graphs = 2`."""
    at = 0
    try:
        while at < len(data):
            tag, at = decode_varint(data, at)
            size, at = decode_varint(data, at)
            if tag == (1 << 3 | 0):
                continue
            if tag & 7 != 2 or at + size > len(data):
                raise MalformedError("is corrupt")
            if tag >> 3 == 2:
                yield data[at : at + size]
            at += size
    except MalformedError:
        raise _unreadable(path, "it is no SavedModel") from None


def _read_file(path: str) -> bytes:
    with open_file(path, Code.SOURCE_MISSING) as file:
        data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise _unreadable(path, f"it is larger than {MOST_BYTES >> 20} MiB")
    return data


def _parse(data: bytes, path: str) -> Any:
    try:
        return parse_bounded(meta_graph_pb2.MetaGraphDef, data, _MOST_FIELDS)
    except MalformedError as error:
        raise _unreadable(path, f"it {error}") from None


def _require_nodes(meta: Any, path: str) -> None:
    if not meta.graph_def.node:
        raise _unreadable(path, "its graph is empty")
    functions = chain.from_iterable(function.node_def for function in meta.graph_def.library.function)
    longest = max((len(node.name) for node in chain(meta.graph_def.node, functions)), default=0)
    if longest > _LONGEST_NAME:
        raise _unreadable(path, f"an operation's name has more than {_LONGEST_NAME} characters")
    if len(meta.graph_def.node) > MOST_NODES:
        raise _unreadable(path, f"its graph has more than {MOST_NODES} operations")


def _unreadable(path: str, reason: str) -> CkptMetaError:
    return CkptMetaError(Code.SOURCE_UNREADABLE, f"{path} cannot be shown: {reason}.")
