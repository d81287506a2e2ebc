"""What was renamed is found out from shapes and names, and what cannot be told apart is called so."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from objects_by_hand import Object, dense, node, rebuild, save, variable

from tb_ckptmeta.core.compare import compare
from tb_ckptmeta.core.contents import Contents, StoredTensor
from tb_ckptmeta.core.leftovers import find_leftovers, name_closest
from tb_ckptmeta.core.propose import Proposal, propose_renames
from tb_ckptmeta.core.rebuilt import ModelVariable, Rebuilt
from tb_ckptmeta.core.renames import Rename, rename_path
from tb_ckptmeta.core.verdict import MATCH


def named(shapes: dict[str, tuple[int, ...]]) -> tuple[Rebuilt, Contents]:
    """Return the model and the checkpoint of these variables in a tf.Graph."""
    variables = tuple(ModelVariable(name, shape, "float32", True, True) for name, shape in shapes.items())
    tensors = {name: StoredTensor(shape, "float32", 0) for name, shape in shapes.items()}
    return Rebuilt(variables, None, {}, "3"), Contents("name", tensors)


def propose(rebuilt: Rebuilt, contents: Contents) -> Proposal:
    found = compare(rebuilt, contents)
    return propose_renames(rebuilt, contents, found, find_leftovers(rebuilt, contents, found))


def propose_between(saved: Object, model: Object) -> Proposal:
    return propose(rebuild(model), save(node(model=saved)))


def rules(proposal: Proposal) -> list[str]:
    return [str(rename) for rename in proposal.renames]


def block(first: int, second: int) -> Object:
    return node(inner=dense(first, second), outer=dense(second, first))


def test_propose_of_a_renamed_attribute_names_it() -> None:
    proposal = propose_between(node(encoder=block(3, 4), head=dense(3, 5)), node(enc=block(3, 4), head=dense(3, 5)))
    assert (rules(proposal), proposal.status) == (["encoder=enc"], MATCH)
    assert [(row["count"], row["of"]) for row in proposal.rows] == [(4, 4)]


def test_propose_of_siblings_that_are_alike_is_ambiguous_and_renames_nothing() -> None:
    saved, model = node(left=dense(3, 3), right=dense(3, 3)), node(west=dense(3, 3), east=dense(3, 3))
    proposal = propose_between(saved, model)
    assert rules(proposal) == []
    assert {row["from"]: sorted(row["to"]) for row in proposal.ambiguous} == {
        "left": ["east", "west"],
        "right": ["east", "west"],
    }


def test_propose_of_one_of_two_alike_goes_by_what_is_left() -> None:
    saved, model = node(left=dense(3, 3), right=dense(3, 3)), node(left=dense(3, 3), east=dense(3, 3))
    assert rules(propose_between(saved, model)) == ["right=east"]


def test_propose_of_a_scope_with_alike_layers_goes_by_the_whole() -> None:
    saved, model = node(a=node(p=dense(3, 3), q=dense(3, 3))), node(b=node(p=dense(3, 3), q=dense(3, 3)))
    assert rules(propose_between(saved, model)) == ["a=b"]


def listing(*layers: tuple[int, Object]) -> Object:
    return node(_operations=node(**{str(place): layer for place, layer in layers}))


def test_propose_of_shifted_places_moves_every_layer_even_those_that_fit_where_they_are() -> None:
    """By places alone the second layer would restore the third one's weights, and fit."""
    saved = listing((1, dense(6, 8)), (2, dense(8, 8)), (3, dense(8, 8)), (4, dense(8, 3)))
    model = listing((1, dense(6, 8)), (3, dense(8, 8)), (4, dense(8, 8)), (5, dense(8, 3)))
    proposal = propose_between(saved, model)
    assert proposal.status == MATCH
    assert rules(proposal) == [f"/_operations/{n}=/_operations/{n + 1}" for n in (2, 3, 4)]


def test_propose_of_shifted_places_in_one_list_leaves_nested_lists_alone() -> None:
    inner = lambda: listing((1, dense(8, 5)), (2, dense(5, 5)))  # noqa: E731
    saved = listing((1, dense(6, 8)), (2, inner()))
    model = listing((2, dense(6, 8)), (3, inner()))
    proposal = propose_between(saved, model)
    assert proposal.status == MATCH
    assert rules(proposal) == ["/_operations/1=/_operations/2", "/_operations/2=/_operations/3"]


def test_propose_of_one_more_alike_layer_does_not_guess_which() -> None:
    saved = listing((1, dense(8, 8)), (2, dense(8, 8)))
    model = listing((1, dense(8, 8)), (2, dense(8, 8)), (3, dense(8, 8)))
    proposal = propose_between(saved, model)
    assert (rules(proposal), proposal.ambiguous) == ([], [])


def test_propose_never_takes_a_slot_for_its_variable() -> None:
    shapes = {"net/w": (3, 4), "net/b": (4,)}
    rebuilt, _ = named({"tower/w": (3, 4), "tower/b": (4,)})
    slots = {f"{name}/{slot}": shape for name, shape in shapes.items() for slot in ("Adam", "Adam_1")}
    proposal = propose(rebuilt, named({**slots, **shapes})[1])
    assert (rules(proposal), proposal.status) == (["net=tower"], MATCH)


def test_propose_of_another_shape_is_nothing() -> None:
    rebuilt, _ = named({"tower/w": (3, 4)})
    assert rules(propose(rebuilt, named({"net/w": (4, 3)})[1])) == []


@settings(deadline=None)
@given(
    st.lists(st.lists(st.sampled_from("pqrs"), min_size=1, max_size=3), min_size=1, max_size=5, unique_by=tuple),
    st.lists(st.sampled_from("pqrs"), max_size=2).map(tuple),
    st.lists(st.sampled_from("xyz"), min_size=1, max_size=2).map(tuple),
)
def test_propose_mends_any_one_rename_of_variables_that_their_shapes_tell_apart(
    paths: list[list[str]], source: tuple[str, ...], target: tuple[str, ...]
) -> None:
    rename = Rename(source, target)
    shapes = {"/".join(path): (3 + place, 2) for place, path in enumerate(paths)}
    renamed = {"/".join(rename_path([rename], tuple(name.split("/")))): shape for name, shape in shapes.items()}
    if len(renamed) == len(shapes):
        rebuilt, contents = named(renamed)[0], named(shapes)[1]
        if compare(rebuilt, contents).status != MATCH:
            proposal = propose(rebuilt, contents)
            assert proposal.status == MATCH
            assert compare(rebuilt, contents, proposal.renames).status == MATCH


@pytest.mark.parametrize(
    ("saved", "model", "closest"),
    [
        ({"net/a/kernel": (3, 4)}, {"tower/a/kernel": (3, 4)}, "net/a/kernel"),
        ({"net/a/kernel": (3, 4), "net/b/kernel": (3, 4)}, {"tower/b/kernel": (3, 4)}, "net/b/kernel"),
        ({"net/b/kernel": (9, 9)}, {"tower/b/kernel": (3, 4)}, "net/b/kernel"),
        ({"net/b/other": (9, 9)}, {"tower/b/kernel": (3, 4)}, None),
    ],
)
def test_name_closest_prefers_the_shape_and_then_the_name(
    saved: dict[str, tuple[int, ...]], model: dict[str, tuple[int, ...]], closest: str | None
) -> None:
    rebuilt, contents = named(model)[0], named(saved)[1]
    found = compare(rebuilt, contents)
    left = find_leftovers(rebuilt, contents, found)
    assert [row["closest"] for row in name_closest(found.missing, left.model, left.saved)] == [closest]


def test_find_leftovers_leaves_bookkeeping_out() -> None:
    saved = node(model=node(encoder=dense(3, 4)), save_counter=variable(dtype="int64"))
    rebuilt, contents = rebuild(node(enc=dense(3, 4))), save(saved)
    left = find_leftovers(rebuilt, contents, compare(rebuilt, contents))
    assert ["/".join(leftover.path) for leftover in left.saved] == ["encoder/_kernel", "encoder/bias"]
    assert ["/".join(leftover.path) for leftover in left.model] == ["enc/_kernel", "enc/bias"]


def test_compare_under_a_rename_gives_no_key_to_two_variables() -> None:
    rebuilt, contents = named({"dense/kernel": (3, 3), "dense_1/kernel": (3, 3)})
    found = compare(rebuilt, contents, [Rename(("dense",), ("dense_1",))])
    assert found.status != MATCH
    assert (found.binding, [row["name"] for row in found.missing]) == ({1: "dense/kernel"}, ["dense/kernel"])


@pytest.mark.parametrize(("saved", "model"), [("x=1", "y"), ("a/b", "y"), ("a", "b/c"), (" a", "b"), ("a", ".")])
def test_propose_of_what_no_rule_can_say_proposes_nothing(saved: str, model: str) -> None:
    proposal = propose_between(Object({saved: dense(3, 4)}), Object({model: dense(3, 4)}))
    assert rules(proposal) == []
    assert proposal.status != MATCH


def test_find_leftovers_leaves_what_lies_absurdly_deep_without_a_path() -> None:
    deep = variable(3, 3)
    for _ in range(1_000):
        deep = node(next=deep)
    rebuilt, contents = rebuild(node(w=variable(3, 3))), save(deep)
    found = compare(rebuilt, contents)
    assert len(found.unexpected) == 1
    assert find_leftovers(rebuilt, contents, found).saved == []
