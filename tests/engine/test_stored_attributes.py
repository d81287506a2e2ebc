"""What a checkpoint holds of a variable, as attributes of its node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tensorboard.compat.proto import node_def_pb2, types_pb2

from tb_ckptmeta.core.contents import Contents, StoredTensor
from tb_ckptmeta.engine.node_table import make_node, parse_rest
from tb_ckptmeta.engine.stored_attributes import StoredAttributes


def of_no_rank(node: Any) -> None:
    node.attr["checkpoint_shape"].shape.SetInParent()
    node.attr["checkpoint_dtype"].type = types_pb2.DT_INT64


def of_two_ranks(node: Any) -> None:
    for size in (3, 0):
        node.attr["checkpoint_shape"].shape.dim.add(size=size)
    node.attr["checkpoint_dtype"].type = types_pb2.DT_BFLOAT16


def of_a_new_kind(node: Any) -> None:
    node.attr["checkpoint_shape"].shape.dim.add(size=4)
    node.attr["checkpoint_dtype"].s = b"float3"


@pytest.mark.parametrize(
    ("stored", "describe"),
    [
        (StoredTensor((), "int64", 8), of_no_rank),
        (StoredTensor((3, 0), "bfloat16", 0), of_two_ranks),
        (StoredTensor((4,), "float3", 2), of_a_new_kind),
    ],
)
@pytest.mark.parametrize(
    ("key", "written"), [("a/b", b"a/b"), ("gr\xf6\xdfe", b"gr\\xf6\\xdfe"), ("k" * 200, b"k" * 200)]
)
def test_attributes_say_what_is_stored_and_are_in_order(
    stored: StoredTensor, describe: Callable[[Any], None], key: str, written: bytes
) -> None:
    node = node_def_pb2.NodeDef()
    node.attr["checkpoint_key"].s = written
    node.attr["checkpoint_bytes"].i = stored.bytes
    describe(node)
    attributes = StoredAttributes(Contents("name", {key: stored, "other": stored}))
    attributes.write("other")
    assert attributes.write(key) == make_node(node)[3]


def test_variable_that_nothing_restores_says_so() -> None:
    node = parse_rest(StoredAttributes(Contents("name", {})).write(None))
    assert node.attr["checkpoint_key"].s == b"(not in the checkpoint)"
    assert len(node.attr) == 1
