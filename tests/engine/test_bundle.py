from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tb_ckptmeta.core.contents import DTYPE_NAMES, OBJECT_GRAPH_KEY, Contents, StoredTensor
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.engine import bundle
from tb_ckptmeta.engine.bundle import read_contents, shard_paths
from tb_ckptmeta.engine.sstable import Table, crc32c

tf = pytest.importorskip("tensorflow")
tf1 = tf.compat.v1

from tensorflow.core.framework import versions_pb2  # noqa: E402
from tensorflow.core.protobuf import (  # noqa: E402
    saver_pb2,
    tensor_bundle_pb2,
    trackable_object_graph_pb2,
)
from tensorflow.core.util import saved_tensor_slice_pb2  # noqa: E402

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


@pytest.fixture
def save_names(tmp_path: Path) -> Callable[..., str]:
    """Save a V1 graph's variables, given as name -> value, by a `Saver`."""

    def save(values: dict[str, Any], folder: str = "names", **options: Any) -> str:
        (tmp_path / folder).mkdir()
        with tf.Graph().as_default(), tf1.Session() as session:
            variables = {name: tf1.Variable(value) for name, value in values.items()}
            session.run([variable.initializer for variable in variables.values()])
            saver = tf1.train.Saver(variables, **options)
            return str(saver.save(session, str(tmp_path / folder / "ckpt"), write_meta_graph=False))

    return save


@pytest.fixture
def objects(tmp_path: Path) -> str:
    """The prefix of a small object-based checkpoint."""
    module = tf.Module()
    module.kernel = tf.Variable(tf.zeros([2, 3]))
    module.bias = tf.Variable([1, 2, 3])
    return str(tf.train.Checkpoint(model=module).write(str(tmp_path / "ckpt")))


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


# --- What TensorFlow writes


def test_read_contents_of_a_keras_model_and_its_optimizer_agrees_with_tensorflow(tmp_path: Path) -> None:
    keras = tf.keras
    model = keras.Sequential([keras.layers.Input([4]), keras.layers.Dense(3), keras.layers.BatchNormalization()])
    model.compile("adam", "mse")
    model.fit(np.zeros([2, 4]), np.zeros([2, 3]), verbose=0)
    prefix = tf.train.Checkpoint(model=model, optimizer=model.optimizer).save(str(tmp_path / "ckpt"))

    contents = read_contents(prefix)

    assert contents.format == "object"
    assert agrees_with_tensorflow(contents, prefix)
    assert objects_agree_with_tensorflow(contents, prefix)
    assert contents.tensors["save_counter" + VALUE] == StoredTensor((), "int64", 8)
    assert contents.notes == ()
    assert Contents.from_json(contents.as_json()).tensors == contents.tensors


def test_read_contents_of_legacy_optimizer_slots_gives_their_references(tmp_path: Path) -> None:
    with tf.Graph().as_default(), tf1.Session() as session:
        module = tf.Module()
        module.kernel = tf.Variable(tf.ones([2, 3]))
        optimizer = tf1.train.MomentumOptimizer(0.1, 0.9)
        step = optimizer.minimize(tf.reduce_sum(module.kernel**2), var_list=[module.kernel])
        checkpoint = tf1.train.Checkpoint(model=module, optimizer=optimizer)
        session.run(tf1.global_variables_initializer())
        session.run(step)
        prefix = checkpoint.save(str(tmp_path / "ckpt"), session=session)

    contents = read_contents(prefix)

    assert agrees_with_tensorflow(contents, prefix)
    assert objects_agree_with_tensorflow(contents, prefix)
    assert contents.objects is not None
    [(name, variable, slot)] = [slot for node in contents.objects.nodes for slot in node.slots]
    assert name == "momentum"
    assert contents.objects.nodes[variable].keys == {"VARIABLE_VALUE": "model/kernel" + VALUE}
    assert contents.objects.nodes[slot].keys == {
        "VARIABLE_VALUE": "model/kernel/.OPTIMIZER_SLOT/optimizer/momentum" + VALUE
    }


def test_read_contents_of_a_written_module_agrees_with_tensorflow(objects: str) -> None:
    contents = read_contents(objects)
    assert contents.format == "object"
    assert contents.tensors == {
        "model/bias" + VALUE: StoredTensor((3,), "int32", 12),
        "model/kernel" + VALUE: StoredTensor((2, 3), "float32", 24),
    }
    assert agrees_with_tensorflow(contents, objects)
    assert objects_agree_with_tensorflow(contents, objects)
    assert contents.fingerprint == hashlib.sha256(Path(objects + ".index").read_bytes()).hexdigest()


def test_read_contents_of_a_saved_model_s_variables_agrees_with_tensorflow(tmp_path: Path) -> None:
    module = tf.Module()
    module.kernel = tf.Variable(tf.zeros([2, 3]))
    tf.saved_model.save(module, str(tmp_path))
    prefix = str(tmp_path / "variables" / "variables")
    contents = read_contents(prefix)
    assert agrees_with_tensorflow(contents, prefix)
    assert objects_agree_with_tensorflow(contents, prefix)


def test_read_contents_of_tables_and_iterators_gives_the_keys_they_really_have(tmp_path: Path) -> None:
    table = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, -1)
    table.insert(["a"], [1])
    iterator = iter(tf.data.Dataset.range(5))
    prefix = tf.train.Checkpoint(table=table, iterator=iterator).write(str(tmp_path / "ckpt"))

    contents = read_contents(prefix)

    assert agrees_with_tensorflow(contents, prefix)
    assert contents.objects is not None
    assert {key for node in contents.objects.nodes for key in node.keys.items()} == {
        ("table-keys", "table/.ATTRIBUTES/table-keys"),
        ("table-values", "table/.ATTRIBUTES/table-values"),
        ("ITERATOR_STATE", "iterator/.ATTRIBUTES/ITERATOR_STATE"),
    }
    assert contents.notes == ()


def test_read_contents_of_a_saver_s_checkpoint_agrees_with_tensorflow(save_names: Callable[..., str]) -> None:
    prefix = save_names(
        {
            "net/kernel": np.zeros([3, 4], np.float32),
            "global_step": np.int64(7),
            "empty": np.zeros([0, 5], np.float32),
            "größe/重み/🙂": np.zeros([2], np.float64),
        }
    )
    contents = read_contents(prefix)
    assert (contents.format, contents.objects) == ("name", None)
    assert agrees_with_tensorflow(contents, prefix)
    assert contents.tensors["empty"] == StoredTensor((0, 5), "float32", 0)
    assert contents.tensors["größe/重み/🙂"].shape == (2,)


# All but resources, which nothing stores, and variants, which have a test of their own.
@pytest.mark.parametrize("number", sorted(set(DTYPE_NAMES) - {20, 21}))
def test_read_contents_of_each_dtype_agrees_with_tensorflow(tmp_path: Path, number: int) -> None:
    try:
        dtype = tf.dtypes.as_dtype(number)
    except TypeError:
        pytest.skip(f"This TensorFlow has no {DTYPE_NAMES[number]}")
    if dtype == tf.string:
        value = tf.constant([[b"a", b"", b"x" * 300]])
    elif dtype.is_quantized:
        value = tf.bitcast(tf.zeros([1, 3], {1: tf.int8, 2: tf.int16, 4: tf.int32}[dtype.size]), dtype)
    else:
        value = tf.constant(np.zeros([1, 3], dtype.as_numpy_dtype))
    prefix = str(tmp_path / "ckpt")
    tf.raw_ops.SaveV2(prefix=prefix, tensor_names=["x"], shape_and_slices=[""], tensors=[value])
    contents = read_contents(prefix)
    assert agrees_with_tensorflow(contents, prefix)
    assert contents.tensors["x"] == StoredTensor((1, 3), dtype.name, os.path.getsize(shard_paths(prefix, 1)[0]))


def test_read_contents_of_a_variant_gives_its_size(tmp_path: Path) -> None:
    prefix = str(tmp_path / "ckpt")
    variant = tf.raw_ops.CompressElement(components=[tf.zeros([100])])
    tf.raw_ops.SaveV2(prefix=prefix, tensor_names=["x"], shape_and_slices=[""], tensors=[variant])
    size = os.path.getsize(shard_paths(prefix, 1)[0])
    assert read_contents(prefix).tensors == {"x": StoredTensor((), "variant", size)}


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


def test_read_contents_of_merged_shards_agrees_with_tensorflow(tmp_path: Path) -> None:
    prefix = save_merged(
        tmp_path,
        [{f"host{n}/kernel": (np.zeros([n + 1, 5], np.float32), "")} for n in range(3)],
    )
    paths = shard_paths(prefix, 3)
    assert sorted(str(p) for p in tmp_path.glob("ckpt.data*")) == list(paths)
    assert paths[2] == f"{prefix}.data-00002-of-00003"
    assert agrees_with_tensorflow(read_contents(prefix), prefix)


def test_read_contents_of_a_sharded_object_checkpoint_agrees_with_tensorflow(tmp_path: Path) -> None:
    module = tf.Module()
    module.kernels = [tf.Variable(tf.zeros([50, n])) for n in range(1, 6)]
    options = tf.train.CheckpointOptions(
        experimental_sharding_callback=tf.train.experimental.MaxShardSizePolicy(max_shard_size=700)
    )
    prefix = tf.train.Checkpoint(model=module).write(str(tmp_path / "ckpt"), options=options)
    assert len(list(tmp_path.glob("ckpt.data*"))) > 2
    assert any(key.startswith(b"\0") for key in entries_of(prefix + ".index"))  # Large tensors are sliced.
    contents = read_contents(prefix)
    assert agrees_with_tensorflow(contents, prefix)
    assert objects_agree_with_tensorflow(contents, prefix)


def test_read_contents_of_partitioned_variables_gives_one_key_of_the_full_shape(tmp_path: Path) -> None:
    prefix = str(tmp_path / "ckpt")
    with tf.Graph().as_default(), tf1.Session() as session:
        tf1.get_variable("embedding", [10, 7], partitioner=tf1.fixed_size_partitioner(3), use_resource=False)
        tf1.get_variable("whole", [2], use_resource=False)
        session.run(tf1.global_variables_initializer())
        tf1.train.Saver().save(session, prefix, write_meta_graph=False)
    contents = read_contents(prefix)
    assert contents.tensors == {
        "embedding": StoredTensor((10, 7), "float32", 280),
        "whole": StoredTensor((2,), "float32", 8),
    }
    assert agrees_with_tensorflow(contents, prefix)


def test_read_contents_of_slices_in_several_shards_sums_their_bytes(tmp_path: Path) -> None:
    half = np.zeros([3, 4], np.float32)
    prefix = save_merged(
        tmp_path, [{"größe": (half, "6 4 0,3:-")}, {"größe": (half, "6 4 3,3:-"), "b": (np.zeros(2), "")}]
    )
    contents = read_contents(prefix)
    assert contents.tensors["größe"] == StoredTensor((6, 4), "float32", 96)
    assert agrees_with_tensorflow(contents, prefix)


def test_read_contents_of_one_partition_alone_gives_its_bytes(tmp_path: Path) -> None:
    prefix = str(tmp_path / "ckpt")
    tf.raw_ops.SaveV2(prefix=prefix, tensor_names=["t"], shape_and_slices=["6 4 0,2:-"], tensors=[tf.zeros([2, 4])])
    assert read_contents(prefix).tensors == {"t": StoredTensor((6, 4), "float32", 32)}


def test_read_contents_of_ten_thousand_variables_is_fast_and_agrees(tmp_path: Path) -> None:
    prefix = str(tmp_path / "ckpt")
    names = [f"model/layers/{n}/kernel" for n in range(10_000)]
    graph = Graph(nodes=[{"children": [{"node_id": n, "local_name": str(n)} for n in range(1, 10_001)]}])
    for name in names:
        graph.nodes.add().attributes.add(name="VARIABLE_VALUE", full_name=name, checkpoint_key=name + VALUE)
    tf.raw_ops.SaveV2(  # As `Checkpoint.write` does, without the 10 s that it takes to make the variables.
        prefix=prefix,
        tensor_names=[name + VALUE for name in names] + [OBJECT_GRAPH_KEY],
        shape_and_slices=[""] * 10_001,
        tensors=[tf.zeros([3, 5])] * 10_000 + [tf.constant(graph.SerializeToString())],
    )
    started = time.perf_counter()
    contents = read_contents(prefix)
    assert time.perf_counter() - started < 1.5  # Typically 0.2 s; the rest is for a busy machine.
    assert len(contents.tensors) == 10_000
    assert agrees_with_tensorflow(contents, prefix)
    assert objects_agree_with_tensorflow(contents, prefix)


def test_read_contents_of_two_steps_gives_two_fingerprints(save_names: Callable[..., str]) -> None:
    for version in (saver_pb2.SaverDef.V2, saver_pb2.SaverDef.V1):
        found = [
            read_contents(save_names({"w": np.array([value], np.float32)}, f"{version}-{value}", write_version=version))
            for value in (1, 2)
        ]
        again = read_contents(save_names({"w": np.array([1], np.float32)}, f"{version}-again", write_version=version))
        assert found[0].tensors == found[1].tensors
        assert found[0].fingerprint != found[1].fingerprint
        assert found[0].fingerprint == again.fingerprint


# --- V1


def test_read_contents_of_a_v1_checkpoint_agrees_with_tensorflow(save_names: Callable[..., str]) -> None:
    prefix = save_names(
        {
            "net/kernel": np.zeros([30, 40], np.float32),
            "net/größe": np.zeros([0], np.float64),
            "step": np.int64(3),
            "flag": np.array([True]),
            "half": np.zeros([3], np.float16),
            "big": np.zeros([600, 600], np.float32),
        },
        write_version=saver_pb2.SaverDef.V1,
    )
    assert os.path.isfile(prefix)
    contents = read_contents(prefix)
    assert (contents.format, contents.objects) == ("v1", None)
    assert agrees_with_tensorflow(contents, prefix)


@pytest.fixture
def v1_shards(tmp_path: Path) -> str:
    """The prefix of a V1 checkpoint in two files, with a tensor that has a slice in each."""
    for shard in range(2):
        tf.raw_ops.SaveSlices(
            filename=str(tmp_path / f"ckpt-{shard:05d}-of-00002"),
            tensor_names=["table", f"only/{shard}", f"text/{shard}"],
            shapes_and_slices=[f"6 4 {3 * shard},3:-", "", ""],
            data=[tf.zeros([3, 4]), tf.zeros([2]), tf.constant(["text"])],
        )
    return str(tmp_path / "ckpt")


def test_read_contents_of_v1_shards_joins_their_slices(v1_shards: str) -> None:
    contents = read_contents(v1_shards)
    assert contents.format == "v1"
    assert contents.tensors["table"] == StoredTensor((6, 4), "float32", 96)
    assert contents.tensors["text/0"] == StoredTensor((1,), "string", 0)
    assert agrees_with_tensorflow(contents, v1_shards + "-?????-of-00002")
    assert read_contents(v1_shards + "-?????-of-00002") == contents


def test_read_contents_of_v1_with_a_missing_shard_raises_incomplete(v1_shards: str) -> None:
    os.remove(v1_shards + "-00001-of-00002")
    code, message = raised(v1_shards)
    assert code is Code.CHECKPOINT_INCOMPLETE
    assert f"{v1_shards}-00001-of-00002 is missing" in message


def test_read_contents_of_v1_shards_of_two_counts_wants_one_named(v1_shards: str) -> None:
    Path(v1_shards + "-00000-of-00001").write_bytes(Path(v1_shards + "-00000-of-00002").read_bytes())
    code, message = raised(v1_shards)
    assert code is Code.UNSUPPORTED_CHECKPOINT
    assert "ckpt-?????-of-00001" in message
    assert len(read_contents(v1_shards + "-?????-of-00002").tensors) == 5


def v1_metadata(**fields: Any) -> bytes:
    tensor = saved_tensor_slice_pb2.SavedSliceMeta(name="w", type=1)
    tensor.shape.dim.add(size=4)
    tensor.slice.add().extent.add(start=1, length=2)
    meta = saved_tensor_slice_pb2.SavedTensorSliceMeta(tensor=[tensor])
    change = fields.get("change")
    if change:
        change(meta)
    return bytes(saved_tensor_slice_pb2.SavedTensorSlices(meta=meta).SerializeToString())


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({}, "holds no entries"),
        ({b"": b""}, "without the metadata of a V1 checkpoint"),
        ({b"a": v1_metadata()}, "without the metadata of a V1 checkpoint"),
        ({b"": b"\xff\xff"}, "not a SavedTensorSlices"),
        ({b"": v1_metadata().replace(b"\x01w", b"\x01\xff")}, "not UTF-8"),
        ({b"": v1_metadata(change=lambda m: m.tensor[0].slice[0].extent[0].ClearField("start"))}, None),
        ({b"": v1_metadata(change=lambda m: m.tensor[0].slice[0].extent.add())}, "has 2 dimensions"),
        ({b"": v1_metadata(change=lambda m: m.tensor[0].slice.add().extent.add(length=5))}, "outside"),
        ({b"": v1_metadata(change=lambda m: m.tensor[0].slice.add().extent.add(start=-1))}, "outside"),
        ({b"": v1_metadata(change=lambda m: m.tensor.add(name="w", type=2))}, "another shape or type"),
    ],
)
def test_read_contents_of_crafted_v1_metadata_raises_corrupt(
    tmp_path: Path, entries: dict[bytes, bytes], message: str | None
) -> None:
    (tmp_path / "ckpt").write_bytes(table_of(entries))
    if message is None:
        assert read_contents(str(tmp_path / "ckpt")).tensors["w"] == StoredTensor((4,), "float32", 8)
        return
    code, text = raised(str(tmp_path / "ckpt"))
    assert code is Code.CHECKPOINT_CORRUPT
    assert message in text


def test_read_contents_of_v1_truncated_anywhere_raises_corrupt(save_names: Callable[..., str]) -> None:
    path = Path(save_names({"w": np.array([1, 2], np.float32)}, write_version=saver_pb2.SaverDef.V1))
    data = path.read_bytes()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        code, message = raised(str(path))
        assert code is Code.CHECKPOINT_CORRUPT
        assert str(path) in message


# --- What is read, and what is not


def test_read_contents_never_imports_tensorflow(objects: str, save_names: Callable[..., str]) -> None:
    old = save_names({"w": np.array([1], np.float32)}, write_version=saver_pb2.SaverDef.V1)
    code = (
        "import sys\n"
        "from tb_ckptmeta.engine.bundle import read_contents\n"
        "print([read_contents(p).format for p in sys.argv[1:]])\n"
        "print([m for m in sys.modules if m.split('.')[0] in ('tensorflow', 'keras', 'numpy')])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, objects, old], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines() == ["['object', 'v1']", "[]"]


@pytest.fixture
def bytes_read(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Path -> bytes that the reader has read of it."""
    counts: dict[str, int] = {}

    class CountingFile(io.BufferedReader):
        def read(self, size: int | None = -1, /) -> bytes:
            data = super().read(size)
            counts[self.name] = counts.get(self.name, 0) + len(data)
            return data

    def open_counting(path: str, mode: str) -> BinaryIO:
        return CountingFile(io.FileIO(path, mode))

    monkeypatch.setattr(bundle, "open", open_counting, raising=False)
    return counts


def test_read_contents_reads_the_object_graph_alone_from_the_shards(tmp_path: Path, bytes_read: dict[str, int]) -> None:
    module = tf.Module()
    module.kernel = tf.Variable(tf.zeros([1000, 1000]))
    prefix = tf.train.Checkpoint(model=module).write(str(tmp_path / "ckpt"))
    read_contents(prefix)
    graph = Entry.FromString(entries_of(prefix + ".index")[OBJECT_GRAPH_KEY.encode()])
    assert bytes_read == {
        prefix + ".index": os.path.getsize(prefix + ".index"),
        shard_paths(prefix, 1)[0]: graph.size,
    }


def test_read_contents_of_v1_reads_the_metadata_alone(
    save_names: Callable[..., str], bytes_read: dict[str, int]
) -> None:
    prefix = save_names(
        {f"w{n}": np.zeros([1000, 1000], np.float32) for n in range(3)}, write_version=saver_pb2.SaverDef.V1
    )
    assert len(read_contents(prefix).tensors) == 3
    assert bytes_read[prefix] < 10_000


def test_read_contents_of_a_ten_gigabyte_shard_is_instant(objects: str) -> None:
    os.truncate(shard_paths(objects, 1)[0], 10 << 30)
    rewrite_object_graph(objects, Graph(nodes=[{}]).SerializeToString())
    started = time.perf_counter()
    contents = read_contents(objects)
    assert time.perf_counter() - started < 0.5
    assert contents.objects is not None
    assert len(contents.objects.nodes) == 1


# --- What is missing


def test_read_contents_of_nothing_raises_missing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name in ("ckpt", "no/ckpt", "file/ckpt", "", "zero\0byte", "zero\0byte/ckpt"):
        prefix = str(tmp_path / name)
        code, message = raised(prefix)
        assert code is Code.CHECKPOINT_MISSING
        assert prefix in message


def test_read_contents_without_the_index_raises_missing(objects: str) -> None:
    os.remove(objects + ".index")
    assert raised(objects)[0] is Code.CHECKPOINT_MISSING


def test_read_contents_without_a_shard_raises_incomplete_and_names_it(tmp_path: Path) -> None:
    prefix = save_merged(tmp_path, [{"a": (np.zeros(2), "")}, {"b": (np.zeros(2), "")}])
    first, second = shard_paths(prefix, 2)
    os.remove(second)
    assert raised(prefix) == (
        Code.CHECKPOINT_INCOMPLETE,
        f"The checkpoint {prefix} is incomplete: its shard {second} is missing.",
    )
    os.remove(first)
    assert f"its shard {first} is missing, and 1 more with it." in raised(prefix)[1]


def test_read_contents_with_a_shard_cut_short_raises_corrupt_and_names_the_key(objects: str) -> None:
    shard = shard_paths(objects, 1)[0]
    size = os.path.getsize(shard)
    os.truncate(shard, size - 1)
    code, message = raised(objects)
    assert code is Code.CHECKPOINT_CORRUPT
    assert (
        message == f"The shard {shard} is truncated: it has {size - 1} bytes, {size} are needed for"
        f" {last_key(objects)}."
    )


def last_key(prefix: str) -> str:
    entries = {k: Entry.FromString(v) for k, v in entries_of(prefix + ".index").items() if k}
    return max(entries, key=lambda key: entries[key].offset).decode()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (PermissionError(13, "Permission denied"), Code.CHECKPOINT_UNREADABLE),
        (OSError(5, "Input/output error"), Code.CHECKPOINT_UNREADABLE),
        (FileNotFoundError(2, "No such file or directory"), Code.CHECKPOINT_MISSING),
    ],
)
def test_read_contents_when_the_index_cannot_be_opened_says_why(
    objects: str, monkeypatch: pytest.MonkeyPatch, error: OSError, code: Code
) -> None:
    def refuse(path: str, mode: str) -> BinaryIO:
        raise error

    monkeypatch.setattr(bundle, "open", refuse, raising=False)
    assert raised(objects)[0] is code


def test_read_contents_when_the_folder_may_not_be_entered_raises_unreadable(
    objects: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str) -> os.stat_result:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", refuse)
        found = raised(objects)
    assert found == (Code.CHECKPOINT_UNREADABLE, f"{objects}.index cannot be read: Permission denied.")


# --- What is corrupt


def test_read_contents_with_the_index_truncated_anywhere_raises_corrupt(objects: str) -> None:
    path = Path(objects + ".index")
    data = path.read_bytes()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        code, message = raised(objects)
        assert code is Code.CHECKPOINT_CORRUPT
        assert str(path) in message


def test_read_contents_with_a_bit_of_the_object_graph_flipped_raises_corrupt(objects: str) -> None:
    shard = Path(shard_paths(objects, 1)[0])
    data = shard.read_bytes()
    graph = Entry.FromString(entries_of(objects + ".index")[OBJECT_GRAPH_KEY.encode()])
    for position in range(8 * graph.offset, 8 * (graph.offset + graph.size), 5):
        flipped = bytearray(data)
        flipped[position // 8] ^= 1 << position % 8
        shard.write_bytes(flipped)
        code, message = raised(objects)
        assert code is Code.CHECKPOINT_CORRUPT
        assert f"The shard {shard} is corrupt: " in message


def header(**fields: Any) -> bytes:
    return bytes(tensor_bundle_pb2.BundleHeaderProto(**{"num_shards": 1, **fields}).SerializeToString())


def entry(**fields: Any) -> bytes:
    shape = {"dim": [{"size": size} for size in fields.pop("shape", [2])]}
    return bytes(Entry(**{"dtype": 1, "shape": shape, "size": 8, **fields}).SerializeToString())


SLICES = [{"extent": [{"length": 1}]}]


@pytest.mark.parametrize(
    ("entries", "code", "message"),
    [
        ({}, Code.CHECKPOINT_CORRUPT, "it holds no entries"),
        ({b"w": entry()}, Code.CHECKPOINT_CORRUPT, "it has no header"),
        ({b"": b"\xff"}, Code.CHECKPOINT_CORRUPT, "the header in it is not a BundleHeaderProto"),
        ({b"": header(endianness=1)}, Code.UNSUPPORTED_CHECKPOINT, "big-endian"),
        (
            {b"": header(version=versions_pb2.VersionDef(min_consumer=2))},
            Code.UNSUPPORTED_CHECKPOINT,
            "readers of version 2",
        ),
        ({b"": header(num_shards=-1)}, Code.CHECKPOINT_CORRUPT, "claims -1 shards"),
        ({b"": header(num_shards=1 << 30)}, Code.CHECKPOINT_CORRUPT, "shards"),
        ({b"": header(), b"w": b"\xff"}, Code.CHECKPOINT_CORRUPT, "not a BundleEntryProto"),
        ({b"": header(), b"\xff\xfe": entry()}, Code.CHECKPOINT_CORRUPT, "not UTF-8"),
        ({b"": header(), b"w": entry(dtype=0)}, Code.UNSUPPORTED_CHECKPOINT, "type number 0"),
        ({b"": header(), b"w": entry(dtype=99)}, Code.UNSUPPORTED_CHECKPOINT, "type number 99"),
        ({b"": header(), b"w": entry(size=9)}, Code.CHECKPOINT_CORRUPT, "w takes 9 bytes"),
        ({b"": header(), b"w": entry(size=-1, dtype=7)}, Code.CHECKPOINT_CORRUPT, "w takes -1 bytes"),
        ({b"": header(), b"w": entry(shape=[-1])}, Code.CHECKPOINT_CORRUPT, "w has no valid shape"),
        ({b"": header(), b"w": entry(shape=[1 << 62] * 3)}, Code.CHECKPOINT_CORRUPT, "no valid shape"),
        ({b"": header(), b"w": entry(shape=[1] * 255)}, Code.CHECKPOINT_CORRUPT, "no valid shape"),
        ({b"": header(), b"w": entry(offset=-1)}, Code.CHECKPOINT_CORRUPT, "lies at byte -1"),
        ({b"": header(), b"w": entry(shard_id=1)}, Code.CHECKPOINT_CORRUPT, "of shard 1 of 1"),
        ({b"": header(), b"w": entry(shard_id=-1)}, Code.CHECKPOINT_CORRUPT, "of shard -1 of 1"),
        ({b"": header(), b"w": entry(offset=1 << 40)}, Code.CHECKPOINT_CORRUPT, "truncated"),
        (
            {b"": header(), b"w": entry(slices=SLICES)},
            Code.CHECKPOINT_CORRUPT,
            "the slices of w are not in it",
        ),
        ({b"": header(), b"\0w\0\1\1": entry()}, Code.CHECKPOINT_CORRUPT, "0 slices by its own entry"),
        ({b"": header(), b"\0w": entry()}, Code.CHECKPOINT_CORRUPT, "malformed key of a slice"),
        ({b"": header(), b"\0w\0\1": entry(slices=SLICES)}, Code.CHECKPOINT_CORRUPT, "sliced itself"),
        (
            {b"": header(), b"w": entry(slices=SLICES * 2), b"\0w\0\1": entry()},
            Code.CHECKPOINT_CORRUPT,
            "w has 2 slices by its own entry, and 1 are held",
        ),
        ({b"": header(), OBJECT_GRAPH_KEY.encode(): entry()}, Code.CHECKPOINT_CORRUPT, "not a scalar string"),
        (
            {b"": header(), OBJECT_GRAPH_KEY.encode(): entry(dtype=7, shape=[], size=0)},
            Code.CHECKPOINT_CORRUPT,
            "is corrupt",
        ),
        (
            {b"": header(), OBJECT_GRAPH_KEY.encode(): entry(dtype=7, shape=[], slices=SLICES)},
            Code.CHECKPOINT_CORRUPT,
            "is not a scalar string",
        ),
    ],
)
def test_read_contents_of_a_crafted_index_raises_and_names_the_fault(
    tmp_path: Path, entries: dict[bytes, bytes], code: Code, message: str
) -> None:
    prefix = str(tmp_path / "ckpt")
    Path(prefix + ".index").write_bytes(table_of(entries))
    Path(shard_paths(prefix, 1)[0]).write_bytes(bytes(64))
    found, text = raised(prefix)
    assert (found, message in text) == (code, True), text
    assert prefix in text


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (Graph(), "has no root"),
        (
            Graph(nodes=[{"children": [{"node_id": 1, "local_name": "x"}]}]),
            "refers to node 1, and there are 1",
        ),
        (Graph(nodes=[{"children": [{"node_id": -1, "local_name": "x"}]}]), "refers to node -1"),
        (Graph(nodes=[{"slot_variables": [{"original_variable_node_id": 9}]}]), "refers to node 9"),
        (Graph(nodes=[{"slot_variables": [{"slot_variable_node_id": 9}]}]), "refers to node 9"),
    ],
)
def test_read_contents_of_a_crafted_object_graph_raises_corrupt(objects: str, graph: Any, message: str) -> None:
    rewrite_object_graph(objects, graph.SerializeToString())
    code, text = raised(objects)
    assert code is Code.CHECKPOINT_CORRUPT
    assert message in text


def test_read_contents_of_an_object_graph_that_is_no_protobuf_raises_corrupt(objects: str) -> None:
    rewrite_object_graph(objects, b"\xff\xff")
    assert "the object graph in it is not a TrackableObjectGraph" in raised(objects)[1]


def test_read_contents_of_an_object_graph_that_claims_a_gigabyte_reads_nothing(objects: str) -> None:
    os.truncate(shard_paths(objects, 1)[0], 4 << 30)
    rewrite_object_graph(objects, b"", offset=0, size=1 << 30)
    assert "its object graph claims 1073741824 bytes" in raised(objects)[1]


def test_read_contents_of_an_object_graph_with_unknown_keys_notes_them(objects: str) -> None:
    known = "model/bias" + VALUE
    attributes = [{"name": "a", "checkpoint_key": known}, {"name": "b", "checkpoint_key": "gone" + VALUE}]
    rewrite_object_graph(objects, Graph(nodes=[{"attributes": attributes}]).SerializeToString())
    contents = read_contents(objects)
    assert contents.objects is not None
    assert contents.objects.nodes[0].keys == {"a": known}
    assert contents.notes == ("The object graph names keys that the checkpoint does not hold (1): gone" + VALUE,)


# --- Any bytes whatever

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


@given(st.data())
@any_bytes
def test_read_contents_of_any_index_bytes_raises_nothing_else(objects: str, data: st.DataObject) -> None:
    path = Path(objects + ".index")
    original = path.read_bytes()
    try:
        path.write_bytes(data.draw(st.one_of(changes(original), st.binary(max_size=300))))
        assert reads_or_raises(objects)
    finally:
        path.write_bytes(original)


@given(st.data())
@any_bytes
def test_read_contents_of_any_entries_with_valid_checksums_raises_nothing_else(
    objects: str, data: st.DataObject
) -> None:
    path = Path(objects + ".index")
    original = path.read_bytes()
    entries = entries_of(str(path))
    try:
        for key in data.draw(st.sets(st.sampled_from(sorted(entries)), min_size=1)):
            value = entries.pop(key)
            entries[data.draw(st.one_of(st.just(key), changes(key)))] = data.draw(changes(value))
        path.write_bytes(table_of(entries))
        assert reads_or_raises(objects)
    finally:
        path.write_bytes(original)


@given(st.data())
@any_bytes
def test_read_contents_of_any_object_graph_with_valid_checksums_raises_nothing_else(
    objects: str, data: st.DataObject
) -> None:
    serialized = tf.train.load_checkpoint(objects).get_tensor(OBJECT_GRAPH_KEY)
    path, shard = Path(objects + ".index"), Path(shard_paths(objects, 1)[0])
    before = path.read_bytes(), shard.read_bytes()
    try:
        rewrite_object_graph(objects, data.draw(changes(serialized)))
        assert reads_or_raises(objects)
    finally:
        path.write_bytes(before[0])
        shard.write_bytes(before[1])


@given(st.data())
@any_bytes
def test_read_contents_of_any_v1_metadata_with_valid_checksums_raises_nothing_else(
    tmp_path: Path, data: st.DataObject
) -> None:
    path = tmp_path / "ckpt"
    path.write_bytes(table_of({b"": data.draw(changes(v1_metadata()))}))
    assert reads_or_raises(str(path))
