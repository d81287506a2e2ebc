"""What the training keeps beside the model is told apart from it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from objects_by_hand import VALUE, Object, dense, keys, mlp, names, node, rebuild, save, variable, walk

from tb_ckptmeta.core.compare import compare
from tb_ckptmeta.core.rebuilt import ModelVariable, Rebuilt
from tb_ckptmeta.core.renames import parse_renames
from tb_ckptmeta.core.verdict import MATCH, PARTIAL


def adam(model: Object) -> Object:
    """An optimizer with slot variables, as tf_keras and TensorFlow's own save it."""
    trained = [item for _, item in walk(model) if item.is_variable]
    slots = [(s, v, variable(*(v.shape or ()))) for v in trained for s in ("m", "v")]
    return Object({"iter": variable(dtype="int64"), "learning_rate": variable()}, slots=slots)


def test_compare_with_slots_counters_and_optimizer_calls_them_bookkeeping() -> None:
    model = mlp()
    contents = save(
        node(
            model=model,
            optimizer=adam(model),
            save_counter=variable(dtype="int64"),
            step=variable(dtype="int64"),
        )
    )
    found = compare(rebuild(mlp()), contents)
    assert (found.status, found.unexpected) == (MATCH, [])
    assert len(found.bookkeeping) == 8 + 2 + 2
    assert f"model/hidden/_kernel/.OPTIMIZER_SLOT/optimizer/m{VALUE}" in [row["key"] for row in found.bookkeeping]


def test_compare_of_a_compiled_model_keeps_its_optimizer_and_metrics_out_of_the_model() -> None:
    saved = mlp()
    saved.children |= {
        "optimizer": node(_iterations=variable(dtype="int64"), _momentums=Object({"0": variable(784, 128)})),
        "_loss_tracker": node(total=variable(), count=variable()),
        "_metrics": node(accuracy=node(total=variable(), count=variable())),
        "keras_api": node(metrics=node(total=variable())),
        "_train_counter": variable(dtype="int64"),
    }
    for wrapped in (saved, node(model=saved)):
        found = compare(rebuild(mlp()), save(wrapped))
        assert (found.status, found.unexpected, len(found.bookkeeping)) == (MATCH, [], 8)


def test_compare_tells_what_was_saved_beside_the_model_from_the_trainings_own() -> None:
    model, critic = mlp(), node(judge=dense(3, 1))
    parts = {"critic": critic, "shared": node(same=model, more=variable(3)), "embedding": variable(7, 3)}
    pair = node(model=model, **parts)
    own = {"optimizer": adam(model), "save_counter": variable(dtype="int64"), "step": variable(dtype="int64")}
    # By whatever name: a counter, the best loss so far, a generator, an iterator.
    own |= {"rounds": variable(dtype="int64"), "best": variable(), "rng": node(_state_var=variable(3, dtype="int64"))}
    own |= {"batches": Object(state="ITERATOR_STATE")}
    for saved, above in ((node(**pair.children, **own), ""), (node(nets=pair, **own), "nets/")):
        found = compare(rebuild(mlp()), save(saved))
        assert (found.status, found.unexpected) == (MATCH, [])
        beside = {row["key"].removesuffix(VALUE): row["beside"] for row in found.bookkeeping if "beside" in row}
        assert beside == {
            f"{above}critic/judge/_kernel": f"{above}critic",
            f"{above}critic/judge/bias": f"{above}critic",
            f"{above}shared/more": f"{above}shared",
            f"{above}embedding": f"{above}embedding",
        }
        assert len(found.bookkeeping) == 4 + 8 + 2 + 2 + 4


def test_compare_with_a_model_that_was_compiled_leaves_nothing_of_its_training_over() -> None:
    def compile(model: Object, *, metrics: Object, **more: Object) -> Object:
        rates = {"_iterations": variable(dtype="int64", read=False), "_learning_rate": variable(read=False)}
        model.children |= {"optimizer": node(**rates, **more), "_compile_metrics": node(mean=metrics)}
        return model

    trained = Object({"0": variable(784, 128), "1": variable(784, 128)})
    saved = compile(mlp(), metrics=node(total=variable(), count=variable()), _variables=trained)
    # Not built yet, or built: then its lists have the model's own variables.
    made, built = (compile(mlp(), metrics=node()) for _ in range(2))
    kernel = built.children["hidden"].children["_kernel"]
    built.children["optimizer"].children["_trainable_variables"] = Object({"0": kernel})
    for model in (made, built):
        found = compare(rebuild(model), save(node(model=saved)))
        assert (found.status, found.unexpected, found.variables) == (MATCH, [], 4)
        assert len(found.bookkeeping) == 4


def test_compare_of_a_part_of_the_model_that_counts_steps_as_an_optimizer_does_is_the_models_own() -> None:
    def quantize(**more: Object) -> Object:
        counts = {"iter": variable(dtype="int64"), "decay": variable()}
        return node(hidden=dense(3, 4), quantizer=node(codebook=variable(8, 4), **counts, **more))

    for saved in (quantize(second=variable(4, 4)), node(model=quantize(second=variable(4, 4)))):
        found = compare(rebuild(quantize()), save(saved))
        assert (found.status, [k.rpartition("quantizer/")[2] for k in keys(found.unexpected)]) == (PARTIAL, ["second"])


def test_compare_of_a_model_in_the_place_of_what_names_its_parts_leaves_nothing_of_it_aside() -> None:
    model = replace(rebuild(node(model=node(hidden=dense(3, 4)))), container=True)
    contents = save(node(net=node(hidden=dense(3, 4), more=dense(4, 4))))
    found = compare(model, contents, parse_renames([".=model"]))
    assert (found.status, found.bound) == (PARTIAL, 2)
    assert keys(found.unexpected) == ["net/more/_kernel", "net/more/bias"]


def test_compare_of_named_parts_that_are_all_there_leaves_the_others_aside() -> None:
    def make(**parts: Object) -> Rebuilt:
        return replace(rebuild(node(**parts)), container=True)

    contents = save(node(first=mlp(), second=mlp(), other=node(judge=dense(3, 1)), step=variable(dtype="int64")))
    found = compare(make(second=mlp()), contents)
    assert (found.status, found.bound, found.unexpected) == (MATCH, 4, [])
    assert {row.get("beside") for row in found.bookkeeping} == {"first", "other", None}
    # A part that is not there may have another name now: then what it may be is said.
    found = compare(make(second=mlp(), judge=node(judge=dense(3, 1))), contents)
    assert (found.status, found.bound) == (PARTIAL, 4)
    assert {"other/judge/_kernel", "other/judge/bias"} <= set(keys(found.unexpected))
    # Within a part nothing is left aside.
    found = compare(make(second=node(hidden=dense(784, 128))), contents)
    assert (found.status, keys(found.unexpected)) == (PARTIAL, ["second/digit/_kernel", "second/digit/bias"])


@pytest.mark.parametrize("edge", ["iter", "_iterations", "iterations"])
def test_compare_of_an_optimizer_by_any_name_is_known_by_its_count_of_steps(edge: str) -> None:
    model = mlp()
    model.children["whatever"] = Object({edge: variable(dtype="int64"), "decay": variable()})
    found = compare(rebuild(mlp()), save(model))
    assert (found.status, set(keys(found.bookkeeping))) == (MATCH, {f"whatever/{edge}", "whatever/decay"})


def test_compare_of_a_layer_that_counts_steps_is_no_optimizer() -> None:
    model = mlp()
    model.children["refiner"] = Object({"iterations": variable(dtype="int64"), "kernel": variable(3, 4)})
    found = compare(rebuild(mlp()), save(node(model=model)))
    assert (found.status, keys(found.unexpected)) == (
        PARTIAL,
        ["model/refiner/iterations", "model/refiner/kernel"],
    )


def test_compare_of_an_optimizer_by_any_name_is_known_by_its_slots() -> None:
    model = mlp()
    model.children["whatever"] = Object({"rate": variable()}, slots=adam(model).slots)
    found = compare(rebuild(mlp()), save(model))
    assert (found.status, found.unexpected, len(found.bookkeeping)) == (MATCH, [], 9)


def test_compare_of_a_slot_that_another_edge_leads_to_is_bookkeeping_all_the_same() -> None:
    model = mlp()
    optimizer = adam(model)
    model.children["shadow"] = node(first=optimizer.slots[0][2])
    found = compare(rebuild(mlp()), save(node(model=model, optimizer=optimizer)))
    assert (found.status, found.unexpected) == (MATCH, [])


def test_compare_of_a_layer_called_like_bookkeeping_with_more_than_the_model_has_is_unexpected() -> None:
    saved = node(optimizer=node(_kernel=variable(3, 4), gamma=variable(4)))
    found = compare(rebuild(node(optimizer=node(_kernel=variable(3, 4)))), save(node(model=saved)))
    assert (found.status, keys(found.unexpected), found.bookkeeping) == (PARTIAL, ["model/optimizer/gamma"], [])


@pytest.mark.parametrize("name", ["optimizer", "metrics", "epoch", "step"])
def test_compare_of_a_layer_called_like_bookkeeping_is_the_models_own(name: str) -> None:
    model = node(hidden=dense(3, 4), **{name: dense(4, 4)})
    found = compare(rebuild(model), save(node(model=model)))
    assert (found.status, found.variables, found.bound, found.bookkeeping) == (MATCH, 4, 4, [])


@pytest.mark.parametrize("name", ["epoch", "step", "global_step"])
def test_compare_of_a_layer_called_like_a_counter_that_the_model_lacks_is_unexpected(name: str) -> None:
    saved = node(model=node(hidden=dense(3, 4), **{name: dense(4, 4)}))
    found = compare(rebuild(node(hidden=dense(3, 4))), save(saved))
    assert (found.status, keys(found.unexpected)) == (PARTIAL, [f"model/{name}/_kernel", f"model/{name}/bias"])


def test_compare_of_a_vector_called_like_a_counter_is_unexpected() -> None:
    saved = node(model=node(hidden=dense(3, 4), step=variable(7)))
    found = compare(rebuild(node(hidden=dense(3, 4))), save(saved))
    assert (found.status, keys(found.unexpected)) == (PARTIAL, ["model/step"])


def test_compare_of_a_table_that_the_model_has_is_unexpected_for_no_graph_restores_it() -> None:
    model = node(lookup=Object(state="table-keys"), out=dense(3, 4))
    found = compare(rebuild(model), save(node(model=model)))
    assert (found.status, keys(found.unexpected)) == (PARTIAL, ["model/lookup/.ATTRIBUTES/table-keys"])
    assert "restores variables alone" in found.notes[0]


def test_compare_of_a_layers_written_configuration_is_bookkeeping() -> None:
    model = node(layer=Object(state="OBJECT_CONFIG_JSON"), out=dense(3, 4))
    found = compare(rebuild(model), save(node(model=model)))
    assert (found.status, found.unexpected, len(found.bookkeeping)) == (MATCH, [], 1)


def test_compare_of_two_equal_models_takes_the_one_that_is_called_model() -> None:
    found = compare(rebuild(mlp()), save(node(ema=mlp(), model=mlp())))
    assert (found.status, found.attachment) == (MATCH, ("model",))
    assert "fits 2 places" in found.notes[0]


def test_compare_of_two_equal_models_that_nothing_tells_apart_is_no_match() -> None:
    found = compare(rebuild(mlp()), save(node(online=mlp(), target=mlp())))
    assert (found.status, found.attachment) == (PARTIAL, ("online",))
    assert "fits 2 places" in found.notes[0]
    assert "tf.train.Checkpoint(NAME=model)" in found.notes[0]
    # As the note says: with all of them made, which is called is the builder's word.
    both = node(online=mlp(), target=mlp())
    chosen = compare(rebuild(both), save(node(online=mlp(), target=mlp())))
    assert (chosen.status, chosen.attachment, chosen.notes) == (MATCH, (), [])


def test_compare_of_one_table_with_two_nodes_leaves_the_second_over() -> None:
    table = Object(state="table-keys")
    saved = node(a=Object(state="table-keys"), b=Object(state="table-keys"), out=dense(3, 4))
    found = compare(rebuild(node(a=table, b=table, out=dense(3, 4))), save(saved))
    assert (found.status, keys(found.unexpected)) == (
        PARTIAL,
        ["a/.ATTRIBUTES/table-keys", "b/.ATTRIBUTES/table-keys"],
    )


def test_compare_of_a_table_that_the_model_lacks_is_unexpected() -> None:
    saved = node(lookup=Object(state="table-keys"), out=dense(3, 4))
    found = compare(rebuild(node(out=dense(3, 4))), save(node(model=saved)))
    assert (found.status, keys(found.unexpected)) == (PARTIAL, ["model/lookup/.ATTRIBUTES/table-keys"])


def test_compare_of_what_adapt_counts_words_in_is_bookkeeping() -> None:
    saved = node(lookup=node(token_counts=Object(state="table-keys")), out=dense(3, 4))
    for model in (node(lookup=node(), out=dense(3, 4)), saved):
        found = compare(rebuild(model), save(node(model=saved)))
        assert (found.status, keys(found.bookkeeping)) == (MATCH, ["model/lookup/token_counts/.ATTRIBUTES/table-keys"])


def test_compare_of_variables_that_nothing_tracks_says_that_no_checkpoint_holds_them() -> None:
    rebuilt = rebuild(node(out=dense(3, 4)))
    loose = ModelVariable("block/kernel", (4, 4), "float32", True, True)
    found = compare(replace(rebuilt, variables=(*rebuilt.variables, loose)), save(node(model=node(out=dense(3, 4)))))
    assert (found.status, names(found.missing)) == (PARTIAL, ["block/kernel"])
    (note,) = found.notes
    assert "does not reach 1 variable(s)" in note
    assert "lists or dicts" in note


def test_compare_of_variables_that_are_tracked_and_missing_does_not_blame_the_tracking() -> None:
    found = compare(rebuild(node(out=dense(3, 4), more=dense(4, 4))), save(node(model=node(out=dense(3, 4)))))
    assert (found.status, found.notes) == (PARTIAL, [])
