"""What a checkpoint holds, as a tree: each object once, references elsewhere, and the training's own marked."""

from __future__ import annotations

from typing import Any

from tb_ckptmeta.core import tree
from tb_ckptmeta.core.contents import Contents, ObjectGraph, ObjectNode, StoredTensor
from tb_ckptmeta.core.tree import Tree, TreeNode, make_tree

VALUE = "VARIABLE_VALUE"


def make_contents(*nodes: tuple[dict[str, int], str | None], slots: dict[int, Any] | None = None) -> Contents:
    """Contents of nodes (edges, key), each variable a float32 of shape [2, 3]."""
    objects = [
        ObjectNode(edges, {VALUE: key} if key else {}, tuple((slots or {}).get(i, ())))
        for i, (edges, key) in enumerate(nodes)
    ]
    tensors = {key: StoredTensor((2, 3), "float32", 24) for _, key in nodes if key}
    return Contents("object", tensors, ObjectGraph(tuple(objects)))


def list_rows(made: Tree) -> list[tuple[str, str | None]]:
    """(path, key or what it refers to) of every row below the root."""
    rows = [n for n in made.root.walk() if n.path]
    return [(n.path, n.key if n.same_as is None else f"-> {n.same_as}") for n in rows]


def find(made: Tree, path: str) -> TreeNode:
    (node,) = [n for n in made.root.walk() if n.path == path]
    return node


def test_tree_of_a_shared_object_shows_it_at_its_shortest_path_and_refers_to_it_elsewhere() -> None:
    contents = make_contents(({"deep": 1, "near": 3}, None), ({"layer": 2}, None), ({"near": 3}, "a"), ({}, "b"))
    rows = dict(list_rows(make_tree(contents, "ckpt")))
    assert rows["near"] == "b"
    assert rows["deep/layer/near"] == "-> near"
    assert rows["deep/layer/VARIABLE_VALUE"] == "a"


def test_tree_of_a_cycle_ends() -> None:
    contents = make_contents(({"model": 1}, None), ({"layer": 2}, None), ({"owner": 1, "w": 3}, None), ({}, "w"))
    assert list_rows(make_tree(contents, "ckpt")) == [
        ("model", None),
        ("model/layer", None),
        ("model/layer/owner", "-> model"),
        ("model/layer/w", "w"),
    ]


def test_tree_adds_up_each_variable_once_and_its_bytes() -> None:
    contents = make_contents(({"a": 1, "b": 2}, None), ({"w": 3}, None), ({"w": 3, "v": 4}, None), ({}, "w"), ({}, "v"))
    made = make_tree(contents, "ckpt")
    assert (made.root.variables, made.root.parameters, made.root.bytes) == (2, 12, 48)
    assert (find(made, "a").variables, find(made, "b").variables) == (1, 1)
    assert made.left_out == 0


def test_tree_shows_a_variable_in_the_model_though_the_optimizer_has_a_shorter_path_to_it() -> None:
    optimizer = ({"_trainable_variables": 2}, None)
    contents = make_contents(
        ({"optimizer": 1, "model": 3}, None),
        optimizer,
        ({"0": 5}, None),
        ({"layers": 4}, None),
        ({"deep": 6}, None),
        ({}, "kernel"),
        ({"kernel": 5}, None),
    )
    rows = dict(list_rows(make_tree(contents, "ckpt")))
    assert rows["model/layers/deep/kernel"] == "kernel"
    # The optimizer has no variable of its own: nothing is left to say of it.
    assert "optimizer" not in rows


def test_tree_marks_the_optimizer_and_names_its_slots_after_their_variables() -> None:
    contents = make_contents(
        ({"model": 1, "optimizer": 3}, None),
        ({"w": 2}, None),
        ({}, f"model/w/.ATTRIBUTES/{VALUE}"),
        ({}, None),
        ({}, "slot"),
        slots={3: [("m", 2, 4)]},
    )
    made = make_tree(contents, "ckpt")
    assert find(made, "optimizer/m of model.w").bookkeeping
    assert find(made, "optimizer").bookkeeping
    assert not find(made, "model/w").bookkeeping


def test_tree_of_names_splits_them_and_marks_slots_and_counters() -> None:
    tensors = {k: StoredTensor((4,), "float32", 16) for k in ("net/a/bias", "net/a/bias/Adam", "net/b")}
    tensors["global_step"] = StoredTensor((), "int64", 8)
    made = make_tree(Contents("name", tensors), "ckpt")
    own = {n.key for n in made.root.walk() if n.key and n.bookkeeping}
    assert own == {"net/a/bias/Adam", "global_step"}
    assert find(made, "net").variables == 3
    assert made.root.bytes == 56


def test_tree_larger_than_anybody_reads_says_how_much_it_leaves_out(monkeypatch: Any) -> None:
    monkeypatch.setattr(tree, "MOST_NODES", 10)
    tensors = {f"v{i}": StoredTensor((), "float32", 4) for i in range(30)}
    made = make_tree(Contents("name", tensors), "ckpt")
    assert (made.root.variables, made.left_out) == (10, 20)


def test_tree_deeper_than_any_model_is_cut() -> None:
    nodes: list[tuple[dict[str, int], str | None]] = [({"n": i + 1}, None) for i in range(500)]
    made = make_tree(make_contents(*nodes, ({}, "w")), "ckpt")
    assert made.left_out == 1
    assert made.as_json()["root"]["variables"] == 0
