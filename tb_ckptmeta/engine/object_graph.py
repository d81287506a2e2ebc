"""A reader of the object graph that a V2 checkpoint stores as a string. Runs in the caller's process."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from tensorboard.compat.proto.trackable_object_graph_pb2 import TrackableObjectGraph

from tb_ckptmeta.core.contents import ObjectGraph, ObjectNode, StoredTensor
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.engine.checkpoint_file import corrupt_error, open_file
from tb_ckptmeta.engine.sstable import MalformedError, crc32c, decode_varint, unmask_crc
from tb_ckptmeta.engine.stored_messages import parse_message

_LARGEST_OBJECT_GRAPH = 1 << 29


def read_object_graph(path: str, entry: Any, size: int | None = None) -> Any:
    """Read the object graph, a string scalar, from the shard `path`, where `entry` says.

    `size`: the shard's, where it is known.

    That is its length, the length's checksum, its bytes (tensor_bundle.cc).

    Raises:
        CkptMetaError: CHECKPOINT_CORRUPT, CHECKPOINT_INCOMPLETE (the shard is gone), CHECKPOINT_UNREADABLE.
    """
    if entry.size > _LARGEST_OBJECT_GRAPH:
        raise corrupt_error(path, f"its object graph claims {entry.size} bytes")
    with open_file(path, Code.CHECKPOINT_INCOMPLETE, size) as file:
        file.seek(entry.offset)
        stored = file.read(entry.size)
    try:
        length, at = decode_varint(stored, 0)
        start = at + 4
        if start + length != len(stored):
            raise MalformedError("is corrupt: the length of its object graph is wrong")
        # The checksum covers the length as a fixed 4-byte number, not as the varint that is stored.
        if crc32c(length.to_bytes(4, "little") + stored[at:]) != unmask_crc(entry.crc32c):
            raise MalformedError("is corrupt: the checksum of its object graph does not match")
    except MalformedError as error:
        raise CkptMetaError(Code.CHECKPOINT_CORRUPT, f"The shard {path} {error}.") from None
    return parse_message(TrackableObjectGraph, stored[start:], path, "the object graph")


def convert_object_graph(graph: Any, tensors: Mapping[str, StoredTensor], index: str) -> tuple[ObjectGraph, list[str]]:
    """Return the object graph, whose every key is one of `tensors`, and notes on the keys that are not.

    Raises:
        CkptMetaError: CHECKPOINT_CORRUPT, a graph without a root or with references to nodes that it does not have.
    """
    count = len(graph.nodes)
    if not count:
        raise corrupt_error(index, "its object graph has no root")
    nodes = []
    derived: dict[str, list[tuple[str, str]]] | None = None
    absent = []
    for number, node in enumerate(graph.nodes):
        children = {child.local_name: child.node_id for child in node.children}
        slots = tuple(
            [(s.slot_name, s.original_variable_node_id, s.slot_variable_node_id) for s in node.slot_variables]
        )
        for target in (*children.values(), *[end for _, *ends in slots for end in ends]):
            if not 0 <= target < count:
                raise corrupt_error(
                    index, f"node {number} of its object graph refers to node {target}, and there are {count}"
                )
        keys = {}
        for attribute in node.attributes:
            key = attribute.checkpoint_key
            if key in tensors:
                keys[attribute.name] = key
                continue
            if derived is None:
                derived = _group_derived_keys(tensors)
            # Each group is handed out once, so that a crafted graph cannot ask for it a million times.
            group = derived.pop(key, None)
            if group is None:
                absent.append(key)
            else:
                keys.update((attribute.name + suffix, name) for name, suffix in group)
        nodes.append(ObjectNode(children, keys, slots))
    notes = []
    if absent:
        shown = ", ".join(absent[:5]) + (", …" if len(absent) > 5 else "")
        notes.append(f"The object graph names keys that the checkpoint does not hold ({len(absent)}): {shown}")
    return ObjectGraph(tuple(nodes)), notes


def _group_derived_keys(tensors: Mapping[str, StoredTensor]) -> dict[str, list[tuple[str, str]]]:
    """Group keys like `x/table-keys`, `x/table-values` and `x/ITERATOR_STATE` by what precedes their suffix.

    A lookup table or an iterator has one attribute, `x/table`, and stores its tensors under such keys.
    """
    groups = defaultdict(list)
    for name in tensors:
        cut = max(name.rfind("-"), name.rfind("_"))
        if cut > name.rfind("/"):
            groups[name[:cut]].append((name, name[cut:]))
    return dict(groups)
