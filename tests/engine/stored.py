"""Checkpoints as TensorFlow writes and reads them, and as it never would. Shared by the tests of their readers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from tb_ckptmeta.core.contents import OBJECT_GRAPH_KEY, Contents
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.engine.bundle import read_contents, shard_paths
from tb_ckptmeta.engine.sstable import Table, crc32c

tf = pytest.importorskip("tensorflow")

from tensorflow.core.protobuf import tensor_bundle_pb2, trackable_object_graph_pb2  # noqa: E402

Entry = tensor_bundle_pb2.BundleEntryProto
Graph = trackable_object_graph_pb2.TrackableObjectGraph
VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"


def agrees_with_tensorflow(contents: Contents, prefix: str) -> bool:
    """Compare keys, shapes, dtypes and bytes with what TensorFlow says; raise at the first difference."""
    reader = tf.train.load_checkpoint(prefix)
    shapes = reader.get_variable_to_shape_map()
    dtypes = reader.get_variable_to_dtype_map()
    shapes.pop(OBJECT_GRAPH_KEY, None)
    assert {key: list(t.shape) for key, t in contents.tensors.items()} == shapes
    assert {key: t.dtype for key, t in contents.tensors.items()} == {key: dtypes[key].name for key in shapes}
    for key, tensor in contents.tensors.items():
        if tensor.dtype not in ("string", "variant"):
            assert tensor.bytes == np.prod(tensor.shape, dtype=int) * dtypes[key].size
    assert list(contents.tensors) == sorted(contents.tensors)
    return True


def objects_agree_with_tensorflow(contents: Contents, prefix: str) -> bool:
    """Compare the object graph with the one that TensorFlow reads, where every attribute is a variable's."""
    graph = Graph.FromString(tf.train.load_checkpoint(prefix).get_tensor(OBJECT_GRAPH_KEY))
    assert contents.objects is not None
    assert [dict(n.children) for n in contents.objects.nodes] == [
        {c.local_name: c.node_id for c in n.children} for n in graph.nodes
    ]
    assert [dict(n.keys) for n in contents.objects.nodes] == [
        {a.name: a.checkpoint_key for a in n.attributes} for n in graph.nodes
    ]
    assert [n.slots for n in contents.objects.nodes] == [
        tuple((s.slot_name, s.original_variable_node_id, s.slot_variable_node_id) for s in n.slot_variables)
        for n in graph.nodes
    ]
    return True


def save_merged(folder: Path, shards: list[dict[str, tuple[Any, str]]]) -> str:
    """Write each dictionary as a shard, as the hosts of a distributed training do, and merge them."""
    parts = []
    for number, tensors in enumerate(shards):
        parts.append(str(folder / f"part{number}"))
        tf.raw_ops.SaveV2(
            prefix=parts[-1],
            tensor_names=list(tensors),
            shape_and_slices=[spec for _, spec in tensors.values()],
            tensors=[tf.constant(value) for value, _ in tensors.values()],
        )
    prefix = str(folder / "ckpt")
    tf.raw_ops.MergeV2Checkpoints(checkpoint_prefixes=parts, destination_prefix=prefix)
    return prefix


def varint(number: int) -> bytes:
    out = b""
    while number > 0x7F:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def masked(crc: int) -> int:
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def table_of(entries: dict[bytes, bytes]) -> bytes:
    """A table with valid checksums, all entries in one block."""

    def block(entries: dict[bytes, bytes]) -> bytes:
        body = b"".join(b"\0" + varint(len(k)) + varint(len(v)) + k + v for k, v in sorted(entries.items()))
        body += (0).to_bytes(4, "little") + (1).to_bytes(4, "little") + b"\0"
        return body + masked(crc32c(body)).to_bytes(4, "little")

    data = block(entries)
    index = block({b"\xff": varint(0) + varint(len(data) - 5)})
    footer = varint(0) * 2 + varint(len(data)) + varint(len(index) - 5)
    return data + index + footer.ljust(40, b"\0") + 0xDB4775248B80FB57.to_bytes(8, "little")


def entries_of(path: str) -> dict[bytes, bytes]:
    with open(path, "rb") as file:
        return dict(Table(file, path).entries())


def rewrite_index(prefix: str, change: Callable[[dict[bytes, bytes]], None]) -> None:
    """Change the entries of a real index, and write it again with valid checksums."""
    entries = entries_of(prefix + ".index")
    change(entries)
    Path(prefix + ".index").write_bytes(table_of(entries))


def rewrite_object_graph(prefix: str, serialized: bytes, **fields: int) -> None:
    """Replace the object graph of a real checkpoint, with valid checksums; `fields` overrides its entry's."""
    shard = Path(shard_paths(prefix, 1)[0])
    length = len(serialized).to_bytes(4, "little")
    check = masked(crc32c(length)).to_bytes(4, "little")
    stored = varint(len(serialized)) + check + serialized

    def change(entries: dict[bytes, bytes]) -> None:
        entry = Entry.FromString(entries[OBJECT_GRAPH_KEY.encode()])
        entry.offset, entry.size = shard.stat().st_size, len(stored)
        entry.crc32c = masked(crc32c(length + check + serialized))
        for name, value in fields.items():
            setattr(entry, name, value)
        entries[OBJECT_GRAPH_KEY.encode()] = entry.SerializeToString()

    rewrite_index(prefix, change)
    with open(shard, "ab") as file:
        file.write(stored)


def raised(prefix: str) -> tuple[Code, str]:
    with pytest.raises(CkptMetaError) as caught:
        read_contents(prefix)
    return caught.value.code, caught.value.message


# The fixture's files are written anew for each example.
any_bytes = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)


def changes(original: bytes) -> st.SearchStrategy[bytes]:
    """`original` with some bytes replaced, removed or inserted."""
    change = st.tuples(st.integers(0, len(original)), st.integers(0, 4), st.binary(max_size=4))

    def apply(steps: list[tuple[int, int, bytes]]) -> bytes:
        data = original
        for position, removed, added in steps:
            data = data[:position] + added + data[position + removed :]
        return data

    return st.lists(change, min_size=1, max_size=4).map(apply)


def reads_or_raises(prefix: str) -> bool:
    """Read; a `CkptMetaError` of one sentence is as good as contents, and any other exception passes."""
    try:
        read_contents(prefix)
    except CkptMetaError as error:
        return error.message.endswith(".")
    return True
