"""Which keys a `.meta` restores its variables from: real savers, and files that are none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tensorboard.compat.proto.meta_graph_pb2 import MetaGraphDef

from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.side import Side, Variable
from tb_ckptmeta.engine.metagraph import read_metagraph

tf = pytest.importorskip("tensorflow")
v1 = tf.compat.v1


def make(
    folder: Path, make_saver: Callable[[dict[str, Any]], Any], *, resource: bool = True, text: bool = False
) -> Side:
    """Write the `.meta` of a graph with the variables kernel, scale (not trainable) and global_step, and read it."""
    with tf.Graph().as_default() as graph:
        variables = {
            "kernel": v1.get_variable("net/kernel", [4, 3], use_resource=resource),
            "scale": v1.get_variable("scale", [3], tf.float16, trainable=False, use_resource=resource),
            "step": v1.get_variable("global_step", [], tf.int64, trainable=False, use_resource=resource),
        }
        path = folder / ("model.pbtxt" if text else "model.meta")
        saver = make_saver(variables)
        v1.train.export_meta_graph(
            str(path), graph=graph, saver_def=None if saver is None else saver.as_saver_def(), as_text=text
        )
    return read_metagraph(str(path), path.name)


PLAIN = {
    "global_step": Variable((), "int64", bookkeeping=True, trainable=False),
    "net/kernel": Variable((4, 3), "float32", trainable=True),
    "scale": Variable((3,), "float16", trainable=False),
}


@pytest.mark.parametrize("options", [{}, {"sharded": True}, {"write_version": v1.train.SaverDef.V1}])
@pytest.mark.parametrize("resource", [True, False])
@pytest.mark.parametrize("text", [True, False])
def test_meta_of_a_saver_names_its_variables(tmp_path: Path, options: Any, resource: bool, text: bool) -> None:
    found = make(tmp_path, lambda _: v1.train.Saver(**options), resource=resource, text=text)
    assert found.variables == PLAIN
    assert (found.notes, found.who["variables"], found.who["kind"]) == ((), 3, "metagraph")
    assert found.operations["VarHandleOp" if resource else "VariableV2"] == 3


def test_meta_without_a_saver_goes_by_the_variables_names(tmp_path: Path) -> None:
    assert make(tmp_path, lambda _: None).variables == PLAIN


def test_meta_of_a_saver_with_keys_of_its_own_goes_by_those(tmp_path: Path) -> None:
    key = "optimizer/_trainable_variables/0/.ATTRIBUTES/VARIABLE_VALUE"
    found = make(tmp_path, lambda v: v1.train.Saver({key: v["kernel"], "other": v["scale"], "s": v["step"]}))
    assert {k: v.shape for k, v in found.variables.items()} == {key: (4, 3), "other": (3,), "s": ()}
    assert (found.variables[key].trainable, found.variables[key].path) == (True, "net/kernel")


def test_meta_of_a_saver_that_leaves_a_variable_out_says_so(tmp_path: Path) -> None:
    found = make(tmp_path, lambda v: v1.train.Saver({"kernel": v["kernel"]}))
    assert set(found.variables) == {"kernel", "scale", "global_step"}
    assert found.notes == ("Its saver does not restore 2 variable(s): scale, global_step.",)


def test_meta_of_two_savers_goes_by_the_one_that_it_is_restored_with(tmp_path: Path) -> None:
    def make_two(variables: dict[str, Any]) -> Any:
        v1.train.Saver({"wrong": variables["kernel"]})
        return v1.train.Saver({"right": variables["kernel"]})

    assert "right" in make(tmp_path, make_two).variables
    assert "wrong" not in make(tmp_path, make_two).variables


# --- what is no `.meta`, or none that TensorFlow writes


@pytest.mark.parametrize("name", ["model.meta", "model.pbtxt"])
@pytest.mark.parametrize("content", [b"", b"\xff" * 50, b"text { of: something else", b"{" * 10_000])
def test_file_that_is_no_meta_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CkptMetaError, match=f"{name} cannot be compared: it is no MetaGraphDef") as caught:
        read_metagraph(str(tmp_path / name), name)
    assert caught.value.code is Code.CHECKPOINT_CORRUPT


def test_file_that_would_fill_memory_is_refused_unparsed(tmp_path: Path) -> None:
    with (tmp_path / "model.pbtxt").open("wb") as file:
        file.truncate((64 << 20) + 1)
    with pytest.raises(CkptMetaError, match="it has more than 64 MiB"):
        read_metagraph(str(tmp_path / "model.pbtxt"), "model.pbtxt")


def test_meta_that_is_made_to_mislead_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    meta_graph = MetaGraphDef()
    nodes = meta_graph.graph_def.node
    for name, op, inputs in (
        ("one", "Identity", ["other"]),
        ("other", "Identity", ["one"]),  # in a circle
        ("v", "VarHandleOp", []),
        ("w", "VarHandleOp", []),
        ("assign", "AssignVariableOp", ["v", "one"]),
        ("assign_1", "AssignVariableOp", ["w", f"restore:{'9' * 5_000}"]),
        ("assign_2", "AssignVariableOp", ["w"]),
        ("restore", "RestoreV2", ["prefix", "names", "slices"]),
        ("names", "Const", []),
        ("slices", "Const", []),
    ):
        nodes.add(name=name, op=op).input.extend(inputs)
    for name, text, size in (("names", b"\xffkey", 1 << 62), ("slices", b"\xc2\xb2 9 0,3", -1)):
        (node,) = (n for n in nodes if n.name == name)
        node.attr["value"].tensor.string_val.append(text)
        node.attr["value"].tensor.tensor_shape.dim.add(size=size)
    meta_graph.saver_def.restore_op_name = "nowhere"
    meta_graph.collection_def["variables"].bytes_list.value.append(b"\xff\xff")
    (tmp_path / "model.meta").write_bytes(meta_graph.SerializeToString())
    found = read_metagraph(str(tmp_path / "model.meta"), "model.meta")
    assert {k: v.shape for k, v in found.variables.items()} == {"\ufffdkey": None, "v": None}
