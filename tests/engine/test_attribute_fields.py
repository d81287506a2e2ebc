"""Attributes that are read and written without a message are as protobuf reads and writes them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.compat.proto import node_def_pb2

from tb_ckptmeta.engine.attribute_fields import (
    PLACE_FIELDS,
    read_attributes,
    read_key,
    read_place,
    set_attributes,
    write_place,
    write_text_attribute,
)
from tb_ckptmeta.engine.bound_message import count_fields
from tb_ckptmeta.engine.node_table import make_node, parse_rest

SIZES = [0, 1, 9, 100, 107, 108, 110, 112, 115, 120, 126, 127, 128, 129, 300, 20_000]
"""Some of them around those at which a length takes a byte more: of the text, its list, its value, its attribute."""
KEYS = st.text("abc", max_size=3) | st.sampled_from(["checkpoint_a", "checkpoint_b", "n" * 130])


def fields_of(message: Any) -> tuple[bytes, ...]:
    return make_node(message)[3]


@pytest.mark.parametrize("size", SIZES)
def test_place_of_any_length_is_that_of_protobuf(size: int) -> None:
    node = node_def_pb2.NodeDef()
    node.attr["_class"].list.s.append(b"loc:@" + b"n" * size)
    (field,) = fields_of(node)
    assert write_place(b"n" * size) == field
    assert read_place(field) == b"n" * size
    assert read_key(field) == b"_class"
    assert count_fields(field, node.DESCRIPTOR, 100) == PLACE_FIELDS


@pytest.mark.parametrize("size", SIZES)
def test_text_of_any_length_is_that_of_protobuf(size: int) -> None:
    node = node_def_pb2.NodeDef()
    node.attr["k" * (size % 200)].s = b"\xff" * size
    assert (write_text_attribute(b"k" * (size % 200), b"\xff" * size),) == fields_of(node)


def test_whatever_says_more_than_one_place_or_less_is_none() -> None:
    two, text, other, beside = (node_def_pb2.NodeDef() for _ in range(4))
    two.attr["_class"].list.s.extend([b"loc:@a", b"loc:@b"])
    text.attr["_class"].s = b"loc:@a"
    other.attr["_classes"].list.s.append(b"loc:@a")
    beside.attr["_class"].list.s.append(b"loc:@a")
    beside.attr["_class"].list.i.append(7)
    for node in (two, text, other, beside):
        assert read_place(*fields_of(node)) is None
    assert read_place(write_place(b"a")[:-1]) is None
    assert read_place(b"\x09loc:@abc") is None  # a number, whose bytes happen to be these
    assert read_place(b"") is None


@given(st.dictionaries(KEYS, st.integers(0, 3)), st.dictionaries(KEYS, st.integers(0, 3)), st.booleans())
def test_attributes_are_set_as_protobuf_sets_them(before: dict[str, int], own: dict[str, int], device: bool) -> None:
    node, added = node_def_pb2.NodeDef(device="/cpu:0" if device else ""), node_def_pb2.NodeDef()
    for key, value in before.items():
        node.attr[key].i = value
    for key, value in own.items():
        added.attr[key].i = value
    rest = set_attributes(fields_of(node), fields_of(added))
    for key, value in own.items():
        node.attr[key].i = value
    assert rest == fields_of(node)
    assert parse_rest(rest) == node
    assert read_attributes(rest).keys() == {key.encode() for key in node.attr}
