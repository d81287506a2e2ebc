"""A key is where TensorFlow came by first; people are told where the variable is in the model."""

from __future__ import annotations

import pytest
from objects_by_hand import VALUE, Object, dense, node, rebuild, save, variable

from tb_ckptmeta.core.compare import compare
from tb_ckptmeta.core.contents import Contents, StoredTensor
from tb_ckptmeta.core.leftovers import find_places
from tb_ckptmeta.core.rebuilt import ModelVariable, Rebuilt
from tb_ckptmeta.engine.verify import verify


def train(layers: list[Object], **more: Object) -> Contents:
    """Return a checkpoint of a model with its optimizer, which lists the model's variables less deep than it does."""
    model = node(_operations=Object({str(i): layer for i, layer in enumerate(layers)}))
    listed = [v for layer in layers for v in layer.children.values()]
    mine = node(iterations=variable(dtype="int64"), _trainable_variables=Object(dict(enumerate_names(listed))))
    return save(node(model=model, optimizer=mine, **more))


def enumerate_names(items: list[Object]) -> list[tuple[str, Object]]:
    return [(str(number), item) for number, item in enumerate(items)]


def build(*layers: Object) -> Rebuilt:
    return rebuild(node(_operations=Object({str(i): layer for i, layer in enumerate(layers)})))


def test_verdict_of_keys_that_are_the_optimizers_has_their_places_in_the_model() -> None:
    contents = train([dense(8, 24), dense(24, 24)])
    verdict = verify("id", "clf", {}, build(dense(8, 32)), contents)
    assert {
        row["key"].removesuffix(VALUE): row["place"] for row in (*verdict.unexpected, *verdict.shape_mismatches)
    } == {
        "optimizer/_trainable_variables/0": "model/_operations/0/_kernel",
        "optimizer/_trainable_variables/1": "model/_operations/0/bias",
        "optimizer/_trainable_variables/2": "model/_operations/1/_kernel",
        "optimizer/_trainable_variables/3": "model/_operations/1/bias",
    }


def test_verdict_says_where_the_closest_key_is_in_the_model() -> None:
    (row,) = [
        row
        for row in verify(
            "id", "clf", {}, build(dense(8, 24), dense(2, 2), dense(24, 5)), train([dense(8, 24), dense(24, 5)])
        ).missing
        if row["name"] == "_operations/2/_kernel"
    ]
    assert row["closest"] == "optimizer/_trainable_variables/2" + VALUE
    assert row["closest_place"] == "model/_operations/1/_kernel"


def test_place_is_through_the_model_that_was_compared_where_its_variables_have_several_owners() -> None:
    shared = dense(3, 4)
    contents = save(node(average=node(a=shared), model=node(a=shared, b=dense(4, 4))))
    found = compare(rebuild(node(a=dense(3, 4))), contents)
    places = find_places(contents, found)
    assert found.attachment == ("model",)
    assert places["average/a/_kernel" + VALUE] == "model/a/_kernel"


def test_place_without_an_object_graph_is_the_key_and_of_what_is_the_trainings_alone_too() -> None:
    tensors = {"net/kernel": StoredTensor((3,), "float32", 12), "net/odd": StoredTensor((3,), "float32", 12)}
    named = Rebuilt((ModelVariable("net/kernel", (3,), "float32", True, True),), None, {}, "3")
    by_name = Contents("name", tensors)
    assert find_places(by_name, compare(named, by_name)) == {"net/kernel": "net/kernel", "net/odd": "net/odd"}
    contents = train([dense(8, 24)])
    places = find_places(contents, compare(build(dense(8, 24)), contents))
    assert places["optimizer/iterations" + VALUE] == "optimizer/iterations"


@pytest.mark.parametrize("name", ["model", "net"])
def test_place_of_a_model_by_name_in_a_graph_leads_through_the_model(name: str) -> None:
    """A model that a builder made in a tf.Graph has no objects; the checkpoint has."""
    kernel = variable(3)
    contents = save(
        node(**{name: node(deep=node(kernel=kernel)), "optimizer": node(iter=variable(), _variables=kernel)})
    )
    graph = Rebuilt((ModelVariable("kernel", (3,), "float32", True, True),), None, {}, "3")
    places = find_places(contents, compare(graph, contents))
    assert places["optimizer/_variables" + VALUE] == f"{name}/deep/kernel"
