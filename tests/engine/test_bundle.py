"""V2 checkpoints of every kind that TensorFlow writes, and indexes that it never would."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stored import (
    VALUE,
    Entry,
    Graph,
    agrees_with_tensorflow,
    any_bytes,
    changes,
    entries_of,
    objects_agree_with_tensorflow,
    raised,
    reads_or_raises,
    save_merged,
    table_of,
    tf,
)
from tensorflow.core.framework import versions_pb2
from tensorflow.core.protobuf import saver_pb2, tensor_bundle_pb2

from tb_ckptmeta.core.contents import DTYPE_NAMES, OBJECT_GRAPH_KEY, Contents, StoredTensor
from tb_ckptmeta.core.errors import Code
from tb_ckptmeta.engine.bundle import read_contents, shard_paths

tf1 = tf.compat.v1


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


def test_read_contents_of_ten_thousand_variables_agrees(tmp_path: Path) -> None:
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
    contents = read_contents(prefix)
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


# --- What is corrupt


def test_read_contents_with_the_index_truncated_anywhere_raises_corrupt(objects: str) -> None:
    path = Path(objects + ".index")
    data = path.read_bytes()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        code, message = raised(objects)
        assert code is Code.CHECKPOINT_CORRUPT
        assert str(path) in message


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


# --- Any bytes whatever


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
