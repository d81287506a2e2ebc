"""The object graphs of checkpoints, as TensorFlow writes them and as it never would."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

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
    rewrite_object_graph,
    tf,
)

from tb_ckptmeta.core.contents import OBJECT_GRAPH_KEY
from tb_ckptmeta.core.errors import Code
from tb_ckptmeta.engine.bundle import read_contents, shard_paths

tf1 = tf.compat.v1


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


def test_read_contents_of_a_ten_gigabyte_shard_reads_the_object_graph_alone(
    objects: str, bytes_read: dict[str, int]
) -> None:
    os.truncate(shard_paths(objects, 1)[0], 10 << 30)
    rewrite_object_graph(objects, Graph(nodes=[{}]).SerializeToString())
    bytes_read.clear()
    contents = read_contents(objects)
    assert contents.objects is not None
    assert len(contents.objects.nodes) == 1
    assert bytes_read[shard_paths(objects, 1)[0]] < 100


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
