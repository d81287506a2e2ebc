"""Read a `.meta` or a `saved_model.pb`, and make of it what a rebuild would have found out.

Runs in the caller's process. Nothing is imported into TensorFlow, and nothing runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError
from tensorboard.compat.proto import meta_graph_pb2, variable_pb2

from tb_ckptmeta.core.contents import DTYPE_NAMES
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.rebuilt import ModelVariable, Rebuilt
from tb_ckptmeta.engine.attribute_fields import read_attributes
from tb_ckptmeta.engine.bound_message import parse_bounded
from tb_ckptmeta.engine.checkpoint_file import open_file
from tb_ckptmeta.engine.collection import collection_paused
from tb_ckptmeta.engine.inline_functions import MOST_NODES, inline_functions, parse_tensor
from tb_ckptmeta.engine.node_table import Apart, NodeTable, parse_rest, read_graph, tabulate, write_again
from tb_ckptmeta.engine.restored import VARIABLES, find_ancestors, find_restored
from tb_ckptmeta.engine.silent_attributes import drop_values
from tb_ckptmeta.engine.sstable import MalformedError
from tb_ckptmeta.engine.wire import LENGTH, split_fields

MOST_BYTES = 128 << 20
_MOST_FIELDS = 4_000_000
_LONGEST_NAME = 2000
_MOST_SCOPE_BYTES = 256 << 20
_SCOPE_BYTES = 500
"""What a scope takes beyond the characters of its name when a graph is drawn."""
_MOST_PARTS = 100
_MOST_DIGITS = 19
"""What a file may take, and what it may hold: more than the graph of any model that is trained."""

_SIGNATURE = "serving_default"
_INTERNAL = "__saved_model_"
_SERVE = "serve"
_REFERENCE_TYPES = 100  # types.proto: a reference to a type is its number and 100


class Graph(NamedTuple):
    """What a source says: facts about its variables, and its graph, as a table and as a serialized GraphDef.

    Nothing of it is the file's name or place: the notes are to follow the source's title.
    """

    rebuilt: Rebuilt
    table: NodeTable
    written: bytes


def read_source_file(path: str) -> bytes:
    """Read a `.meta` or a `saved_model.pb` as it is.

    Raises:
        CkptMetaError: SOURCE_UNREADABLE, where it is too large; SOURCE_MISSING, CHECKPOINT_UNREADABLE.
    """
    with open_file(path, Code.SOURCE_MISSING) as file:
        data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise _unreadable(path, f"it is larger than {MOST_BYTES >> 20} MiB")
    return data


def parse_metagraph(data: bytes, path: str) -> Graph:
    """Parse a `.meta`, called `path` where it is refused. Its whole graph is kept: a training's, unless it is signed.

    Raises:
        CkptMetaError: SOURCE_UNREADABLE.
    """
    with collection_paused():
        meta, data = _split_metagraph(data, path)
        table, apart = _read_graph(data, path)
        rebuilt, _ = _describe(meta, table, {name for name, _ in _find_outputs(meta)})
        drop_values(table)
        return Graph(rebuilt, table, write_again(table, data, apart))


def parse_saved_model(data: bytes, path: str) -> Graph:
    """Parse a `saved_model.pb`: what its signature needs, the functions that it calls put in place of the calls.

    Raises:
        CkptMetaError: as `parse_metagraph`.
    """
    metas = [_parse(part, path) for part in _split_saved_model(data, path)]
    if not metas:
        raise _unreadable(path, "there is no MetaGraphDef in it")
    meta = next((m for m in metas if _SERVE in m.meta_info_def.tags), metas[0])
    _require_shown([node.name for node in meta.graph_def.node], meta.graph_def.library, path)
    flat, alias = inline_functions(meta.graph_def, path)
    table = tabulate(flat)
    _require_few_scopes([name for name, _, _, _ in table.nodes], path)  # a function's are within those of its calls
    outputs = {alias.get(tensor, tensor)[0] for tensor in _find_outputs(meta)}
    rebuilt, kept = _describe(meta, table, outputs, alias)
    if outputs:
        _cut(table, kept)
    drop_values(table)
    return Graph(rebuilt, table, table.serialize())


def _describe(
    meta: Any,
    table: NodeTable,
    outputs: set[str],
    alias: Mapping[tuple[str, int], tuple[str, int]] | None = None,
) -> tuple[Rebuilt, set[str]]:
    """Return what a graph says of its variables, and the nodes that its signature needs."""
    nodes = {node[0]: node for node in table.nodes}
    restored = find_restored(nodes, meta.saver_def, alias or {})
    needed = find_ancestors(nodes, outputs & nodes.keys(), waits=False)
    groups: dict[str, list[str]] = {}
    for name, op, _, _ in nodes.values():
        if op in VARIABLES:
            groups.setdefault(restored[name].key if name in restored else name, []).append(name)
    trainable = _list_collection(meta, "trainable_variables")
    local = _list_collection(meta, "local_variables") - _list_collection(meta, "variables")
    # There are far fewer shapes than variables.
    read_shape, read_dtype = lru_cache(maxsize=None)(_read_shape), lru_cache(maxsize=None)(_read_dtype)
    variables = []
    for key, names in groups.items():
        attributes = read_attributes(nodes[names[0]][3])
        sliced = restored[names[0]].slice if names[0] in restored else ""
        read = any(n in needed for n in names) if needed else names[0] in restored or names[0] not in local
        if not read and names[0] not in restored:
            continue  # a copy that neither the signature nor the restore operation knows: Keras' export has them
        parts = tuple(names) if [key] != names else ()
        shape = _read_whole(sliced) if sliced else read_shape(attributes.get(b"shape"))
        dtype = read_dtype(attributes.get(b"dtype"))
        variables.append(ModelVariable(key, shape, dtype, any(n in trainable for n in names), read, parts))
    version = meta.meta_info_def.tensorflow_version
    if restored:
        bound = "which key restores a variable, its own restore operation says"
    else:
        bound = "it has no restore operation: variables were compared by their names"
    notes = (f"was parsed, not run; {bound}.",)
    rebuilt = Rebuilt(tuple(variables), None, {}, "", versions={"tensorflow": version} if version else {}, notes=notes)
    # An input that the outputs do not need stays: clients feed it.
    return rebuilt, needed | {n for s in _list_signatures(meta) for n in _list_inputs(s)}


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


def _read_shape(field: bytes | None) -> tuple[int | None, ...] | None:
    if field is None:
        return None
    shape = parse_rest((field,)).attr["shape"].shape
    return None if shape.unknown_rank else tuple(None if d.size < 0 else d.size for d in shape.dim)


def _read_whole(sliced: str) -> tuple[int, ...]:
    """Return the whole's shape of a slice, `20 4 0,10:0,4`."""
    return tuple(int(n) for n in sliced.split(" ")[:-1] if n.isascii() and n.isdigit() and len(n) <= _MOST_DIGITS)


def _read_dtype(field: bytes | None) -> str:
    number = 0 if field is None else parse_rest((field,)).attr["dtype"].type
    return DTYPE_NAMES.get(number % _REFERENCE_TYPES, str(number))


def _cut(table: NodeTable, kept: set[str]) -> None:
    """Leave the nodes that are kept, which wait for no other."""
    table.nodes = [
        (name, op, tuple(i for i in inputs if not i.startswith("^") or i[1:] in kept), rest)
        for name, op, inputs, rest in table.nodes
        if name in kept
    ]


def _split_saved_model(data: bytes, path: str) -> list[bytes]:
    """Return the MetaGraphDefs of a SavedModel: `int64 saved_model_schema_version = 1; repeated … meta_graphs = 2`."""
    try:
        parts = [(begin, end) for tag, _, begin, end in split_fields(data) if tag == (2 << 3 | LENGTH)]
    except MalformedError:
        raise _unreadable(path, "it is no SavedModel") from None
    if len(parts) > _MOST_PARTS:
        raise _unreadable(path, f"it has more than {_MOST_PARTS} MetaGraphDefs")
    return [data[begin:end] for begin, end in parts]


def _split_metagraph(data: bytes, path: str) -> tuple[Any, bytes]:
    """Return a MetaGraphDef without its graph (`GraphDef graph_def = 2`), and that as it is written."""
    graph, others = [], bytearray()
    try:
        for tag, start, begin, end in split_fields(data):
            if tag == (2 << 3 | LENGTH):
                graph.append(data[begin:end])
                if len(graph) > _MOST_PARTS:
                    raise MalformedError(f"has a graph in more than {_MOST_PARTS} parts")
            else:
                others += data[start:end]
    except MalformedError as error:
        raise _unreadable(path, f"it is no MetaGraphDef: it {error}") from None
    return _parse(bytes(others), path), b"".join(graph)


def _read_graph(data: bytes, path: str) -> tuple[NodeTable, list[Apart]]:
    try:
        table, apart = read_graph(data, _MOST_FIELDS, MOST_NODES)
    except MalformedError as error:
        raise _unreadable(path, f"it {error}") from None
    _require_shown([name for name, _, _, _ in table.nodes], table.other.library, path)
    return table, apart


def _parse(data: bytes, path: str) -> Any:
    try:
        return parse_bounded(meta_graph_pb2.MetaGraphDef, data, _MOST_FIELDS)
    except MalformedError as error:
        raise _unreadable(path, f"it {error}") from None


def _require_shown(names: Sequence[str], library: Any, path: str) -> None:
    """Refuse a graph that is empty, or that no dashboard could show."""
    if not names:
        raise _unreadable(path, "its graph is empty")
    bodies = [[node.name for node in function.node_def] for function in library.function]
    if max(map(len, chain(names, *bodies))) > _LONGEST_NAME:
        raise _unreadable(path, f"an operation's name has more than {_LONGEST_NAME} characters")
    if len(names) > MOST_NODES:
        raise _unreadable(path, f"its graph has more than {MOST_NODES} operations")
    for body in (names, *bodies):
        _require_few_scopes(body, path)


def _require_few_scopes(names: Sequence[str], path: str) -> None:
    """Refuse names of which each is in many scopes: those are as many names, each nearly as long."""
    if not names:
        return
    joined = "".join(names)
    width = 1 if joined.isascii() else 4  # bytes of a character, at most
    if joined.count("/") * (width * max(map(len, names)) + _SCOPE_BYTES) <= _MOST_SCOPE_BYTES:
        return  # there cannot be so many
    scopes: set[str] = set()
    taken = 0
    for name in names:
        at = name.rfind("/")
        while at > 0 and (scope := name[:at]) not in scopes:
            scopes.add(scope)
            taken += width * at + _SCOPE_BYTES
            if taken > _MOST_SCOPE_BYTES:
                raise _unreadable(path, f"its scopes would take more than {_MOST_SCOPE_BYTES >> 20} MiB")
            at = name.rfind("/", 0, at)


def _unreadable(path: str, reason: str) -> CkptMetaError:
    return CkptMetaError(Code.SOURCE_UNREADABLE, f"{path} cannot be shown: {reason}.")
