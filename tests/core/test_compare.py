"""Which variable is which key: comparisons of object graphs built by hand, and of names."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from objects_by_hand import VALUE, Object, bound_keys, dense, keys, mlp, names, node, rebuild, save, variable

from tb_ckptmeta.core.compare import compare
from tb_ckptmeta.core.contents import Contents, ObjectGraph, ObjectNode, StoredTensor
from tb_ckptmeta.core.legacy import KERAS_3, LEGACY, find_keras
from tb_ckptmeta.core.rebuilt import ModelVariable, Rebuilt
from tb_ckptmeta.core.verdict import MATCH, MISMATCH, PARTIAL

# --- where the model sits


@pytest.mark.parametrize(
    ("wrap", "attachment"),
    [
        (lambda m: m, ()),
        (lambda m: node(model=m), ("model",)),
        (lambda m: node(net=m), ("net",)),
        (lambda m: node(other=node(), agent=node(policy=m)), ("agent", "policy")),
        (lambda m: node(a=node(b=node(c=m))), ("a", "b", "c")),
    ],
)
def test_compare_of_a_model_at_any_depth_finds_where_it_sits(wrap: Any, attachment: tuple[str, ...]) -> None:
    found = compare(rebuild(mlp()), save(wrap(mlp())))
    assert (found.status, found.attachment, found.variables, found.bound) == (MATCH, attachment, 4, 4)
    assert not found.unexpected
    assert not found.bookkeeping


def test_compare_of_a_model_deeper_than_is_looked_binds_nothing() -> None:
    found = compare(rebuild(mlp()), save(node(a=node(b=node(c=node(d=mlp()))))))
    assert (found.status, found.bound, len(found.missing)) == (MISMATCH, 0, 4)


def test_compare_with_a_smaller_relative_beside_takes_the_place_that_binds_most() -> None:
    saved = node(teacher=node(hidden=dense(784, 64)), student=mlp())
    found = compare(rebuild(mlp()), save(saved))
    assert (found.status, found.attachment) == (MATCH, ("student",))
    assert keys(found.bookkeeping) == ["teacher/hidden/_kernel", "teacher/hidden/bias"]


def test_compare_with_a_relative_of_other_shapes_beside_takes_the_place_that_agrees() -> None:
    saved = node(small=node(hidden=dense(784, 64), digit=dense(64, 10)), large=mlp())
    assert compare(rebuild(mlp()), save(saved)).attachment == ("large",)


def test_compare_with_a_twin_beside_takes_the_first_and_says_so() -> None:
    found = compare(rebuild(mlp()), save(node(online=mlp(), target=mlp())))
    assert (found.status, found.attachment) == (PARTIAL, ("online",))
    (note,) = found.notes
    assert "online" in note
    assert "target" in note


def test_compare_of_one_object_under_two_names_finds_no_twin() -> None:
    model = mlp()
    found = compare(rebuild(mlp()), save(node(model=model, best=model)))
    assert (found.status, found.attachment, found.notes) == (MATCH, ("model",), [])


# --- keys are no names


def test_compare_with_optimizer_first_keys_binds_by_edges() -> None:
    model = mlp()
    trained = [model.children[layer].children[v] for layer in ("hidden", "digit") for v in ("_kernel", "bias")]
    optimizer = node(
        iterations=variable(dtype="int64"),
        _trainable_variables=Object({str(i): v for i, v in enumerate(trained)}),
    )
    contents = save(node(optimizer=optimizer, model=model))
    assert f"optimizer/_trainable_variables/0{VALUE}" in contents.tensors
    rebuilt = rebuild(mlp())
    found = compare(rebuilt, contents)
    assert found.status == MATCH
    assert bound_keys(found, rebuilt) == {
        "hidden/_kernel": "optimizer/_trainable_variables/0",
        "hidden/bias": "optimizer/_trainable_variables/1",
        "digit/_kernel": "optimizer/_trainable_variables/2",
        "digit/bias": "optimizer/_trainable_variables/3",
    }
    assert keys(found.bookkeeping) == ["optimizer/iterations"]


def test_compare_of_swapped_keys_of_equal_shapes_goes_by_edges() -> None:
    contents = save(node(a=variable(2), b=variable(2)))
    assert contents.objects is not None
    root, a, b = contents.objects.nodes
    swapped = ObjectGraph((root, ObjectNode({}, b.keys), ObjectNode({}, a.keys)))
    rebuilt = rebuild(node(a=variable(2), b=variable(2)))
    found = compare(rebuilt, Contents("object", contents.tensors, swapped))
    assert bound_keys(found, rebuilt) == {"a": "b", "b": "a"}


def test_compare_of_a_cycle_of_objects_ends() -> None:
    model = mlp()
    model.children["hidden"].children["parent"] = model
    again = mlp()
    again.children["hidden"].children["parent"] = again
    assert compare(rebuild(model), save(node(model=again))).status == MATCH


# --- shared objects


def test_compare_of_a_shared_variable_saved_shared_matches() -> None:
    def tied() -> Object:
        shared = variable(10, 4)
        return node(encoder=node(w=shared), decoder=node(w=shared))

    found = compare(rebuild(tied()), save(node(model=tied())))
    assert (found.status, found.variables, found.bound) == (MATCH, 1, 1)


def test_compare_of_two_objects_with_one_node_leaves_the_second_missing() -> None:
    shared = variable(10, 4)
    contents = save(node(model=node(a=node(w=shared), b=node(w=shared))))
    found = compare(rebuild(node(a=node(w=variable(10, 4)), b=node(w=variable(10, 4)))), contents)
    # TensorFlow restores the first alone, and calls it inconsistent references.
    assert (found.status, found.variables, found.bound) == (PARTIAL, 2, 1)
    assert names(found.missing) == ["b/w"]
    assert not found.unexpected


def test_compare_of_one_object_with_two_nodes_leaves_the_second_over() -> None:
    contents = save(node(model=node(a=node(w=variable(10, 4)), b=node(w=variable(10, 4)))))
    shared = variable(10, 4)
    found = compare(rebuild(node(a=node(w=shared), b=node(w=shared))), contents)
    assert (found.status, found.variables, found.bound) == (PARTIAL, 1, 1)
    assert keys(found.unexpected) == ["model/b/w"]
    assert not found.missing


def test_compare_of_one_layer_with_two_nodes_leaves_the_second_over() -> None:
    shared = dense(3, 3)
    contents = save(node(a=dense(3, 3), b=dense(3, 3)))
    found = compare(rebuild(node(a=shared, b=shared)), contents)
    assert (found.status, keys(found.unexpected)) == (PARTIAL, ["b/_kernel", "b/bias"])


# --- what does not agree


def test_compare_of_another_shape_is_a_mismatch_that_names_both() -> None:
    found = compare(rebuild(node(hidden=dense(784, 64))), save(node(model=node(hidden=dense(784, 128)))))
    assert (found.status, found.bound) == (MISMATCH, 0)
    assert found.shape_mismatches == [
        {
            "name": "hidden/_kernel",
            "key": f"model/hidden/_kernel{VALUE}",
            "model": [784, 64],
            "checkpoint": [784, 128],
        },
        {"name": "hidden/bias", "key": f"model/hidden/bias{VALUE}", "model": [64], "checkpoint": [128]},
    ]
    assert not found.missing
    assert not found.unexpected


def test_compare_of_another_rank_is_a_mismatch() -> None:
    found = compare(rebuild(node(w=variable(4))), save(node(w=variable(4, 1))))
    assert (found.status, len(found.shape_mismatches)) == (MISMATCH, 1)


def test_compare_of_another_dtype_is_a_mismatch_that_names_both() -> None:
    found = compare(rebuild(node(w=variable(4, dtype="float16"))), save(node(w=variable(4))))
    assert found.status == MISMATCH
    assert found.dtype_mismatches == [{"name": "w", "key": f"w{VALUE}", "model": "float16", "checkpoint": "float32"}]
    assert (found.shape_mismatches, found.bound) == ([], 0)


@pytest.mark.parametrize("shape", [None, (None, 10), (None, None)])
def test_compare_of_a_variable_with_open_dimensions_takes_what_fits(shape: Any) -> None:
    contents = save(node(w=variable(4, 10)))
    rebuilt = rebuild(node(w=variable(4, 10)))
    opened = Rebuilt((ModelVariable("w", shape, "float32", True, True),), rebuilt.objects, rebuilt.owners, "3")
    assert compare(opened, contents).status == MATCH


def test_compare_of_a_variable_with_open_dimensions_refuses_what_does_not_fit() -> None:
    rebuilt = rebuild(node(w=variable(4, 10)))
    opened = Rebuilt((ModelVariable("w", (None, 11), "float32", True, True),), rebuilt.objects, rebuilt.owners, "3")
    found = compare(opened, save(node(w=variable(4, 10))))
    assert found.shape_mismatches[0]["model"] == [None, 11]


def test_compare_of_a_layer_that_the_checkpoint_lacks_is_partial_and_lists_it() -> None:
    found = compare(rebuild(mlp()), save(node(model=node(hidden=dense(784, 128)))))
    assert (found.status, found.variables, found.bound) == (PARTIAL, 4, 2)
    assert found.missing == [
        {"name": "digit/_kernel", "shape": [128, 10], "dtype": "float32"},
        {"name": "digit/bias", "shape": [10], "dtype": "float32"},
    ]


def test_compare_of_a_layer_that_the_model_lacks_is_partial_and_lists_it() -> None:
    found = compare(rebuild(node(hidden=dense(784, 128))), save(node(model=mlp())))
    assert (found.status, found.variables, found.bound) == (PARTIAL, 2, 2)
    assert found.unexpected == [
        {"key": f"model/digit/_kernel{VALUE}", "shape": [128, 10], "dtype": "float32"},
        {"key": f"model/digit/bias{VALUE}", "shape": [10], "dtype": "float32"},
    ]


def test_compare_of_a_renamed_layer_lists_both_sides() -> None:
    found = compare(rebuild(mlp()), save(node(model=node(hidden=dense(784, 128), out=dense(128, 10)))))
    assert found.status == PARTIAL
    assert names(found.missing) == ["digit/_kernel", "digit/bias"]
    assert keys(found.unexpected) == ["model/out/_kernel", "model/out/bias"]


def test_compare_of_a_stranger_binds_nothing_and_is_a_mismatch() -> None:
    found = compare(rebuild(mlp()), save(node(model=node(encoder=dense(3, 4)), save_counter=variable(dtype="int64"))))
    assert (found.status, found.bound, len(found.missing)) == (MISMATCH, 0, 4)
    # The only child of the root that looks like a model is what it was compared with.
    assert (found.attachment, keys(found.unexpected)) == (("model",), ["model/encoder/_kernel", "model/encoder/bias"])
    assert keys(found.bookkeeping) == ["save_counter"]


def test_compare_of_a_variable_that_no_graph_reads_and_nothing_holds_is_a_note() -> None:
    model = mlp()
    model.children["head"] = node(w=variable(3, read=False))
    found = compare(rebuild(model), save(node(model=mlp())))
    assert (found.status, found.variables, found.bound, found.missing) == (MATCH, 4, 4, [])
    (note,) = found.notes
    assert "does not read" in note
    assert "head/w" in note


def test_compare_of_a_variable_that_no_graph_reads_and_the_checkpoint_holds_is_bound_and_not_counted() -> None:
    model = mlp()
    model.children["head"] = node(w=variable(3, read=False))
    found = compare(rebuild(model), save(node(model=model)))
    assert (found.status, found.variables, found.bound) == (MATCH, 4, 4)
    assert len(found.binding) == 5
    assert ["the graph does not read them: head/w" in note for note in found.notes] == [True]


def test_compare_of_a_graph_that_reads_no_variable_of_its_model_says_so() -> None:
    model = node(w=variable(3, read=False))
    found = compare(rebuild(model), save(model))
    assert "The outputs depend on none of the model's variables" in found.notes[-1]


def test_compare_of_a_variable_that_no_graph_reads_of_another_shape_is_a_mismatch() -> None:
    model, saved = mlp(), mlp()
    model.children["head"] = node(w=variable(3, read=False))
    saved.children["head"] = node(w=variable(4))
    assert compare(rebuild(model), save(saved)).status == MISMATCH


def test_compare_of_a_model_without_variables_says_so() -> None:
    found = compare(rebuild(node(flatten=node())), save(node(model=node(flatten=node()))))
    assert (found.status, found.variables) == (MATCH, 0)
    assert "nothing to restore" in found.notes[0]


def test_compare_of_a_model_with_an_empty_checkpoint_is_partial() -> None:
    found = compare(rebuild(mlp()), save(node()))
    assert (found.status, found.bound, len(found.missing)) == (PARTIAL, 0, 4)


def test_compare_takes_over_the_notes_of_both_sides() -> None:
    rebuilt, contents = rebuild(mlp()), save(mlp())
    found = compare(
        Rebuilt(rebuilt.variables, rebuilt.objects, rebuilt.owners, "3", notes=("from the rebuild",)),
        Contents("object", contents.tensors, contents.objects, "", ("from the index",)),
    )
    assert found.notes == ["from the rebuild", "from the index"]


# --- by name


def named(*variables: tuple[str, tuple[int, ...]], read: bool = True) -> Rebuilt:
    return Rebuilt(tuple(ModelVariable(n, s, "float32", True, read) for n, s in variables), None, {}, "legacy")


def stored(**tensors: tuple[int, ...]) -> Contents:
    return Contents("name", {n.replace("__", "/"): StoredTensor(s, "float32", 0) for n, s in tensors.items()})


TWO = (("dense/kernel", (784, 10)), ("dense/bias", (10,)))


def test_compare_by_name_of_equal_names_matches() -> None:
    found = compare(named(*TWO), stored(dense__kernel=(784, 10), dense__bias=(10,)))
    assert (found.status, found.bound, found.attachment) == (MATCH, 2, None)
    assert found.binding == {0: "dense/kernel", 1: "dense/bias"}


def test_compare_by_name_calls_slots_and_counters_bookkeeping() -> None:
    kept = {
        "dense__kernel__Adam": (784, 10),
        "dense__kernel__Adam_1": (784, 10),
        "dense__bias__Momentum": (10,),
        "dense__bias__ExponentialMovingAverage": (10,),
        "training__Adam__dense__kernel__m": (784, 10),
        "global_step": (),
        "beta1_power": (),
        "beta2_power_1": (),
        "scope__beta1_power": (),
        "save_counter": (),
    }
    found = compare(named(*TWO), stored(dense__kernel=(784, 10), dense__bias=(10,), **kept))
    assert (found.status, found.unexpected) == (MATCH, [])
    assert {row["key"] for row in found.bookkeeping} == {k.replace("__", "/") for k in kept}


@pytest.mark.parametrize(
    ("key", "shape"),
    [("dense/kernel/Adam", (784, 11)), ("dense/kernel/Adam", (784,)), ("dense2/kernel", (784, 10)), ("step", ())],
)
def test_compare_by_name_of_what_no_variable_owns_is_unexpected(key: str, shape: tuple[int, ...]) -> None:
    contents = stored(dense__kernel=(784, 10), dense__bias=(10,))
    found = compare(named(*TWO), Contents("name", {**contents.tensors, key: StoredTensor(shape, "float32", 0)}))
    assert (found.status, keys(found.unexpected), found.bookkeeping) == (PARTIAL, [key], [])


def test_compare_by_name_with_a_name_missing_is_partial() -> None:
    found = compare(named(*TWO), stored(dense__kernel=(784, 10)))
    assert (found.status, names(found.missing)) == (PARTIAL, ["dense/bias"])


def test_compare_by_name_of_another_shape_is_a_mismatch() -> None:
    found = compare(named(*TWO), stored(dense__kernel=(784, 11), dense__bias=(10,)))
    assert (found.status, names(found.shape_mismatches), found.bound) == (MISMATCH, ["dense/kernel"], 1)


def test_compare_by_name_of_other_names_is_a_mismatch() -> None:
    found = compare(named(*TWO), stored(tower__dense__kernel=(784, 10), tower__dense__bias=(10,)))
    assert (found.status, found.bound, len(found.missing)) == (MISMATCH, 0, 2)


def test_compare_by_name_is_case_sensitive() -> None:
    assert compare(named(("Dense/kernel", (2,))), stored(dense__kernel=(2,))).status == MISMATCH


def test_compare_of_a_graph_with_an_object_based_checkpoint_goes_by_name_and_says_so() -> None:
    found = compare(named(("w", (2,))), save(node(w=variable(2))))
    assert found.status == MISMATCH
    assert "graph=False" in found.notes[0]


def test_compare_of_an_eager_model_with_a_name_based_checkpoint_goes_by_name_and_says_so() -> None:
    found = compare(rebuild(node(w=variable(2))), stored(w=(2,)))
    assert found.status == MATCH
    assert "graph=True" in found.notes[0]


# --- laws

EDGE = st.sampled_from(["a", "b", "c"])
SHAPE = st.sampled_from([(), (2,), (2, 3), (3, 2)])
DTYPE = st.sampled_from(["float32", "int64"])


@st.composite
def trees(draw: st.DrawFn) -> Object:
    """Return an object graph with sharing and cycles; edges may lead to any object."""
    count = draw(st.integers(1, 7))
    objects = [
        Object(shape=draw(SHAPE), dtype=draw(DTYPE), read=draw(st.booleans())) if draw(st.booleans()) else Object()
        for _ in range(count)
    ]
    objects.insert(0, Object())
    for item in objects:
        if not item.is_variable:
            for name in draw(st.lists(EDGE, max_size=3, unique=True)):
                item.children[name] = objects[draw(st.integers(0, count))]
    return objects[0]


def agrees(rebuilt: Rebuilt, contents: Contents, index: int, key: str) -> bool:
    tensor, mine = contents.tensors[key], rebuilt.variables[index]
    return (tensor.shape, tensor.dtype) == (mine.shape, mine.dtype)


def check_laws(rebuilt: Rebuilt, contents: Contents) -> None:
    found = compare(rebuilt, contents)
    read = [i for i, v in enumerate(rebuilt.variables) if v.read]
    assert found.variables == len(read)
    assert found.bound == sum(i in found.binding and agrees(rebuilt, contents, i, found.binding[i]) for i in read)
    # No key restores two variables, and what is bound is held.
    assert len(set(found.binding.values())) == len(found.binding)
    assert set(found.binding.values()) <= set(contents.tensors)
    # Every read variable is in one place of the verdict, every key in at most one.
    wrong = {r["name"] for r in [*found.shape_mismatches, *found.dtype_mismatches]}
    assert sorted([rebuilt.variables[i].name for i in read if i not in found.binding]) == sorted(names(found.missing))
    lists = [*[r["key"] for r in found.unexpected], *[r["key"] for r in found.bookkeeping], *found.binding.values()]
    assert len(lists) == len(set(lists))
    disagree = [i for i, key in found.binding.items() if not agrees(rebuilt, contents, i, key)]
    assert len(wrong) == len(disagree)
    if found.status == MATCH:
        assert found.bound == found.variables
        assert [found.missing, found.unexpected, found.shape_mismatches, found.dtype_mismatches] == [[], [], [], []]
    if found.status == PARTIAL:
        assert not wrong
        assert found.missing or found.unexpected
    if wrong:
        assert found.status == MISMATCH


@settings(max_examples=400, deadline=None)
@given(trees(), trees())
def test_compare_of_any_two_graphs_never_matches_unless_all_is_bound(model: Object, saved: Object) -> None:
    check_laws(rebuild(model), save(saved))
    check_laws(rebuild(model), save(node(model=saved, optimizer=node(iterations=variable(dtype="int64")))))


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(EDGE, st.tuples(SHAPE, DTYPE), max_size=3),
    st.dictionaries(st.sampled_from(["a", "b", "c", "a/m", "global_step"]), st.tuples(SHAPE, DTYPE), max_size=4),
)
def test_compare_of_any_names_never_matches_unless_all_is_bound(
    model: dict[str, tuple[tuple[int, ...], str]], saved: dict[str, tuple[tuple[int, ...], str]]
) -> None:
    variables = tuple(ModelVariable(n, s, d, True, True) for n, (s, d) in model.items())
    contents = Contents("name", {n: StoredTensor(s, d, 0) for n, (s, d) in saved.items()})
    check_laws(Rebuilt(variables, None, {}, "legacy"), contents)


@settings(max_examples=300, deadline=None)
@given(trees(), st.lists(st.sampled_from(["model", "net", "agent"]), max_size=3))
def test_compare_of_any_model_with_its_own_checkpoint_matches(model: Object, path: list[str]) -> None:
    saved = model
    for name in path:
        saved = node(**{name: saved})
    found = compare(rebuild(model), save(saved))
    assert (found.status, found.bound) == (MATCH, found.variables)


# --- the list of variables that Keras exports


def exported(*shapes: tuple[int, ...], copies: bool = True) -> Contents:
    """Return what `Model.export` writes of a model with variables of these shapes."""
    variables = [variable(*shape) for shape in shapes]
    listed = {str(i): v for i, v in enumerate(variables)}
    archive = node(variables=node(**listed), trainable_variables=node(**listed), non_trainable_variables=node())
    if copies:
        archive.children["_all_variables"] = node(**{str(i): variable(*s) for i, s in enumerate(reversed(shapes))})
    return save(archive)


def test_compare_with_an_export_of_keras_goes_by_the_places_in_the_models_list() -> None:
    # Walked nearest first, the model's variables do not stand in the order of its list.
    model = rebuild(node(a=node(kernel=variable(2, 3)), bias=variable(4)))
    model = replace(model, listed=tuple(names_of(model).index(n) for n in ("a/kernel", "bias")))
    found = compare(model, exported((2, 3), (4,)))
    assert bound_keys(found, model) == {"a/kernel": "variables/0", "bias": "variables/1"}
    assert (found.status, found.bound, found.attachment, found.listed) == ("match", 2, ("variables",), True)
    assert keys(found.bookkeeping) == ["_all_variables/0", "_all_variables/1"]


def test_compare_with_an_export_of_another_length_is_partial_and_lists_what_is_over() -> None:
    model = rebuild(node(kernel=variable(2, 3), bias=variable(4)))
    model = replace(model, listed=(0, 1))
    found = compare(model, exported((2, 3), (4,), (5,)))
    assert (found.status, keys(found.unexpected)) == ("partial", ["variables/2"])
    found = compare(model, exported((2, 3)))
    assert (found.status, names(found.missing)) == ("partial", ["bias"])


def test_compare_with_an_export_of_other_shapes_is_a_mismatch() -> None:
    model = rebuild(node(kernel=variable(2, 3), bias=variable(4)))
    found = compare(replace(model, listed=(0, 1)), exported((4,), (2, 3)))
    assert found.status == "mismatch"
    assert [row["key"] for row in found.shape_mismatches] == ["variables/0" + VALUE, "variables/1" + VALUE]


def test_compare_with_an_export_passes_over_what_the_list_has_and_no_graph_reads() -> None:
    model = rebuild(node(kernel=variable(2, 3)))
    found = compare(replace(model, listed=(None, 0)), exported((1,), (2, 3), copies=False))
    assert (found.status, bound_keys(found, model)) == ("match", {"kernel": "variables/1"})
    assert keys(found.bookkeeping) == ["variables/0"]


def names_of(model: Rebuilt) -> list[str]:
    return [v.name for v in model.variables]


def test_find_keras_goes_by_what_no_attribute_can_be_called() -> None:
    layer = node(_layers=node(**{"0": node(kernel=variable(3, 3))}), _kernel=variable(3, 3))
    assert find_keras(save(Object({"layer_with_weights-0": layer}))) == LEGACY
    assert find_keras(save(Object({"_operations": layer}))) == KERAS_3
