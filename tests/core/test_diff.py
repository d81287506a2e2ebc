"""How two sides differ: which variable is which, what is told apart, and how far each moved."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from objects_by_hand import Object, dense, node, save, variable

from tb_ckptmeta.core.contents import Contents, StoredTensor
from tb_ckptmeta.core.diff import Diff, add_values, diff_sides
from tb_ckptmeta.core.rebuilt import ModelVariable, Rebuilt
from tb_ckptmeta.core.side import (
    METAGRAPH,
    Side,
    Variable,
    describe_builder,
    describe_checkpoint,
    make_who,
    mark_bookkeeping,
)

VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"


def side(saved: Object | Contents, name: str = "ckpt-1") -> Side:
    contents = saved if isinstance(saved, Contents) else save(saved)
    return describe_checkpoint(contents, name, f"id of {name}", f"/runs/{name}")


def named(**tensors: tuple[int, ...]) -> Contents:
    """A name-based checkpoint; `__` stands for `/`."""
    held = {k.replace("__", "/"): StoredTensor(shape, "float32", 0) for k, shape in tensors.items()}
    return Contents("name", held)


def metagraph(**variables: Variable) -> Side:
    held = mark_bookkeeping({k.replace("__", "/"): v for k, v in variables.items()})
    return Side(make_who(METAGRAPH, "model.meta", path="/runs/model.meta", variables=len(held)), held)


def built(*variables: ModelVariable, objects: Object | None = None, operations: dict[str, int] | None = None) -> Side:
    contents = None if objects is None else save(objects)
    owners: dict[int, int] = {}
    if contents is not None and contents.objects is not None:
        held = [i for i, n in enumerate(contents.objects.nodes) if n.keys]
        owners = {n: i for i, n in enumerate(held)}
    rebuilt = Rebuilt(variables, None if contents is None else contents.objects, owners, "3")
    return describe_builder(rebuilt, "mlp", {"units": 3}, operations or {})


def keys(rows: Any) -> list[str]:
    return [row["key"] for row in rows]


def counts(found: Diff) -> dict[str, int]:
    return {name: len(rows) for name, rows in found.lists() if rows}


MODEL = {"hidden": dense(4, 3), "scores": dense(3, 2)}


def adam(*variables: Object) -> Object:
    """An optimizer of Keras 3: its lists hold its own variables, and the model's."""
    own = {str(i + 1): variable(*(v.shape or ())) for i, v in enumerate(variables)}
    return node(
        iterations=variable(dtype="int64"),
        learning_rate=variable(),
        _variables=node(**{"0": variable(dtype="int64"), **own}),
        _trainable_variables=node(**{str(i): v for i, v in enumerate(variables)}),
    )


def variables_of(model: Object) -> list[Object]:
    return [v for layer in model.children.values() for v in layer.children.values()]


# --- two checkpoints with object graphs


def test_diff_of_one_checkpoint_with_itself_finds_nothing() -> None:
    one = side(node(model=node(**MODEL)))
    found = diff_sides(one, one)
    assert (counts(found), found.differs, found.same) == ({}, False, 4)
    assert found.as_json()["moved"] is None


def test_diff_of_a_checkpoint_whose_optimizer_was_saved_first_pairs_the_model_by_its_objects() -> None:
    model = node(**MODEL)
    # As TensorFlow names it: the optimizer's list of variables is as short a path, and comes first.
    later = save(node(optimizer=adam(*variables_of(model)), model=model))
    assert f"optimizer/_trainable_variables/0{VALUE}" in later.tensors
    found = diff_sides(side(node(model=model)), side(later, "ckpt-2"))
    assert (keys(found.removed), found.reshaped, found.same) == ([], [], 4)
    assert {row["bookkeeping"] for row in found.added} == {True}
    assert {p.key: p.key_b for p in found.pairs}[f"model/hidden/_kernel{VALUE}"].startswith("optimizer/")
    assert any("4 variable(s) have another key in b" in note for note in found.notes)


def test_diff_names_a_variable_by_its_path_through_the_model_and_by_its_key() -> None:
    model = node(**MODEL)
    saved = side(node(optimizer=adam(*variables_of(model)), model=model))
    found = diff_sides(saved, side(node(model=node(hidden=MODEL["hidden"]))))
    assert [(r["path"], r["key"]) for r in found.removed if not r["bookkeeping"]] == [
        ("model/scores/_kernel", f"optimizer/_trainable_variables/2{VALUE}"),
        ("model/scores/bias", f"optimizer/_trainable_variables/3{VALUE}"),
    ]


def test_diff_of_a_model_with_another_layer_follows_names_and_not_the_optimizers_list() -> None:
    before = node(**MODEL)
    after = node(first=dense(4, 4), **MODEL)
    a = side(node(optimizer=adam(*variables_of(before)), model=before))
    b = side(node(optimizer=adam(*variables_of(after)), model=after))
    found = diff_sides(a, b)
    assert [r["path"] for r in found.added if not r["bookkeeping"]] == ["model/first/_kernel", "model/first/bias"]
    assert [r for r in (*found.reshaped, *found.removed) if not r["bookkeeping"]] == []
    assert not any("compared from there" in note for note in found.notes)  # nor did it have to look elsewhere


@pytest.mark.parametrize(
    ("one", "other", "places"),
    [
        (node(model=node(**MODEL)), node(**MODEL), "at model in a and at its root in b"),
        (node(**MODEL), node(net=node(**MODEL)), "at its root in a and at net in b"),
        (node(model=node(**MODEL)), node(net=node(**MODEL)), "at model in a and at net in b"),
    ],
)
def test_diff_of_a_model_saved_at_another_place_compares_from_there(one: Object, other: Object, places: str) -> None:
    found = diff_sides(side(one), side(other))
    assert (counts(found), found.same) == ({}, 4)
    assert any(places in note for note in found.notes)


def test_diff_pairs_slots_by_their_optimizer_and_variable() -> None:
    kernel, other = variable(4, 3), variable(4, 3)
    first, second = variable(4, 3), variable(4, 3)
    optimizer = Object({"iter": variable(dtype="int64")}, slots=[("m", kernel, first), ("m", other, second)])
    saved = save(node(model=node(kernel=kernel, other=other), optimizer=optimizer))
    less = Object({"iter": variable(dtype="int64")}, slots=[("m", other, second)])
    found = diff_sides(side(saved), side(node(model=node(kernel=kernel, other=other), optimizer=less)))
    assert keys(found.removed) == ["model/kernel/.OPTIMIZER_SLOT/optimizer/m" + VALUE]
    assert (found.removed[0]["bookkeeping"], found.added, found.same) == (True, [], 4)


def test_diff_pairs_slots_of_variables_that_have_another_key() -> None:
    kernel, slot = variable(4, 3), variable(4, 3)
    optimizer = Object({"iter": variable(dtype="int64")}, slots=[("m", kernel, slot)])
    parts = {"model": node(dense=node(kernel=kernel)), "optimizer": optimizer}
    a, b = save(node(**parts)), save(node(**parts, best=kernel))  # by a shorter path
    assert f"best/.OPTIMIZER_SLOT/optimizer/m{VALUE}" in b.tensors
    found = diff_sides(side(a), side(b))
    assert (counts(found), found.same) == ({}, 3)


def test_diff_tells_reshaped_from_retyped_and_lists_the_models_own_first() -> None:
    step = variable(dtype="int64")
    a = side(node(_optimizer=node(iterations=step), z=node(w=variable(2, 3), v=variable(5))))
    b = side(node(_optimizer=node(iterations=variable(1)), z=node(w=variable(3, 3), v=variable(5, dtype="float16"))))
    found = diff_sides(a, b)
    assert [(r["key"], r["a"], r["b"], r["bookkeeping"]) for r in found.reshaped] == [
        (f"z/w{VALUE}", [2, 3], [3, 3], False),
        (f"_optimizer/iterations{VALUE}", [], [1], True),
    ]
    assert [(r["a"], r["b"]) for r in found.retyped] == [("float32", "float16"), ("int64", "float32")]
    assert [p.key for p in found.pairs] == [f"z/v{VALUE}"]
    assert found.same == 0


# --- names


def test_diff_of_name_based_checkpoints_goes_by_key_and_tells_slots_and_counters() -> None:
    a = side(named(net__kernel=(4, 3), net__bias=(3,)))
    b = side(named(net__kernel=(4, 3), net__kernel__Adam=(4, 3), beta1_power=(), global_step=(), net__scale=(3,)))
    found = diff_sides(a, b)
    assert [(r["key"], r["bookkeeping"]) for r in found.added] == [
        ("net/scale", False),
        ("beta1_power", True),
        ("global_step", True),
        ("net/kernel/Adam", True),
    ]
    assert (keys(found.removed), found.same) == (["net/bias"], 1)


def test_diff_of_what_has_no_key_in_common_says_so() -> None:
    found = diff_sides(side(node(model=node(**MODEL))), side(named(kernel=(4, 3)), "ckpt-2"))
    (note,) = found.notes
    assert note.startswith("The two have no key in common: the checkpoint ckpt-1 (of the format 'object') and ")


def test_diff_of_a_checkpoint_and_a_meta_takes_an_unknown_dimension_for_what_the_checkpoint_has() -> None:
    a = side(named(kernel=(4, 3), bias=(3,)))
    b = metagraph(kernel=Variable((None, 3), "float32", trainable=True), scale=Variable(None, "float32"))
    found = diff_sides(a, b)
    assert (keys(found.added), keys(found.removed), found.reshaped) == (["scale"], ["bias"], [])
    assert found.as_json()["added"] == [
        {"key": "scale", "path": None, "bookkeeping": False, "shape": None, "dtype": "float32"}
    ]


# --- builders


def test_diff_of_two_builders_compares_shape_dtype_trainable_and_operations() -> None:
    a = built(
        ModelVariable("hidden/kernel", (4, None), "float32", True, True),
        ModelVariable("hidden/bias", (3,), "float32", True, True),
        ModelVariable("scale", (3,), "float32", True, True),
        operations={"MatMul": 1, "Relu": 1},
    )
    b = built(
        ModelVariable("hidden/kernel", (4, 3), "float32", True, True),
        ModelVariable("hidden/bias", (3,), "float32", False, True),
        ModelVariable("scale", (3,), "float16", True, True),
        operations={"MatMul": 1, "Gelu": 2},
    )
    found = diff_sides(a, b)
    # Of builders an unknown dimension is another one than a known.
    assert [(r["key"], r["a"], r["b"]) for r in found.reshaped] == [("hidden/kernel", [4, None], [4, 3])]
    assert [(r["key"], r["a"], r["b"]) for r in found.trainable] == [("hidden/bias", True, False)]
    assert keys(found.retyped) == ["scale"]
    assert found.operations == [{"operation": "Gelu", "a": 0, "b": 2}, {"operation": "Relu", "a": 1, "b": 0}]
    assert found.same == 0


def test_diff_of_a_builder_and_a_meta_goes_by_the_variables_names() -> None:
    meta = Variable((3,), "float32", trainable=True, path="scale")
    a, b = built(ModelVariable("scale", (3,), "float32", True, True)), metagraph(model__s=meta)
    for one, other in ((a, b), (b, a)):
        found = diff_sides(one, other)
        assert (counts(found), found.same, found.differs) == ({}, 1, False)


def test_diff_of_a_builder_and_a_whole_graph_does_not_count_operations() -> None:
    weights = ModelVariable("w", (3,), "float32", True, True)
    a = built(weights, operations={"Relu": 1})
    b = metagraph(w=Variable((3,), "float32", trainable=True))
    savers = {"Relu": 1, "RestoreV2": 1}
    assert diff_sides(a, replace(b, operations=savers, forward=False)).differs is False
    assert diff_sides(a, replace(b, operations=savers)).operations == [{"operation": "RestoreV2", "a": 0, "b": 1}]


def test_diff_of_builders_whose_operations_alone_differ_differs() -> None:
    weights = ModelVariable("w", (3,), "float32", True, True)
    found = diff_sides(built(weights, operations={"Relu": 1}), built(weights, operations={"Tanh": 1}))
    assert (counts(found), found.differs, found.same) == ({}, True, 1)


def test_diff_of_builders_pairs_renamed_variables_by_their_place() -> None:
    objects = node(hidden=node(kernel=variable(4, 3)), scores=node(kernel=variable(3, 2)))
    a = built(
        ModelVariable("hidden/kernel", (4, 3), "float32", True, True),
        ModelVariable("scores/kernel", (3, 2), "float32", True, True),
        objects=objects,
    )
    b = built(
        ModelVariable("hidden/kernel", (4, 3), "float32", True, True),
        ModelVariable("logits/kernel", (3, 2), "float32", True, True),
        objects=objects,
    )
    found = diff_sides(a, b)
    assert (counts(found), found.same) == ({}, 2)
    assert found.notes == ["1 variable(s) have another name in b: they were paired by their place in the model."]


# --- values

STILL = {"l2": 0.0, "norm": 2.0, "max_abs": 0.0, "nan": [0, 0], "inf": [0, 0], "differ": 0}


def test_values_order_what_broke_first_then_what_moved_farthest() -> None:
    one = side(named(a=(3,), b=(3,), c=(3,), d=(3,), e=(3,), global_step=()))
    found = add_values(
        diff_sides(one, one),
        {
            "a": {**STILL, "l2": 1.0, "differ": 1},
            "b": {**STILL, "l2": 4.0, "differ": 3},
            "c": {**STILL, "norm": 0.0, "l2": 0.1, "differ": 1},
            "d": {**STILL, "nan": [0, 2], "differ": 2},
            "e": STILL,
            "global_step": {**STILL, "l2": 900.0, "differ": 1},
        },
    )
    assert found.moved is not None
    assert [(r["key"], r["relative_l2"]) for r in found.moved] == [
        ("d", 0.0),
        ("c", None),
        ("b", 2.0),
        ("a", 0.5),
        ("global_step", 450.0),
    ]
    assert found.moved[0]["nan"] == {"a": 0, "b": 2}
    assert (found.same, found.same_bookkeeping, found.differs) == (1, 0, True)
    json.dumps(found.as_json(), allow_nan=False)


def test_values_that_are_the_same_differ_in_nothing_and_not_numbers_are_noted() -> None:
    one = side(named(a=(3,), b=(3,)))
    found = add_values(diff_sides(one, one), {"a": STILL, "b": {**STILL, "nan": [1, 1]}})
    assert (found.moved, found.differs, found.same) == ([], False, 2)
    assert found.notes == ["NaN or infinities in both, the same ones: b"]


def test_values_that_were_not_compared_are_noted_and_not_called_the_same() -> None:
    one = side(named(a=(3,), b=(3,)))
    found = add_values(diff_sides(one, one), {"a": {"skipped": "for it is text in slices"}, "b": STILL})
    assert found.same == 1
    assert found.notes == ["Not compared, for it is text in slices: a"]
    assert [(r["key"], r["reason"]) for r in found.not_compared] == [("a", "for it is text in slices")]


def test_values_whose_lengths_no_number_holds_are_null() -> None:
    one = side(named(a=(3,)))
    found = add_values(diff_sides(one, one), {"a": {**STILL, "l2": None, "max_abs": None, "differ": 1}})
    assert found.moved is not None
    assert (found.moved[0]["relative_l2"], found.moved[0]["max_abs"]) == (None, None)
