"""What rebuilds with some values of an argument say of the right one; the builder's law is known here."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tb_ckptmeta.core.arguments import Parameter
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.solve import (
    COUNT,
    Reading,
    check_unknown,
    describe_conflict,
    describe_evidence,
    follows,
    merge,
    propose,
    split_unknown,
)

SLOPES = st.integers(-50, 50).filter(bool)


def reading(**gaps: int) -> Reading:
    """A reading of variables, each of one dimension; `count` is the number of variables."""
    found = {(name, 0): size for name, size in gaps.items() if name != "count"}
    stored = {name: (f"net/{name}", (7,)) for name, _ in found}
    shapes = tuple(f"{size}" for size in gaps.values()) + ("of more",) * abs(gaps.get("count", 0))
    return Reading(not any(gaps.values()), 0, {**found, COUNT: gaps.get("count", 0)}, stored, shapes, 12)


@given(
    slope=SLOPES,
    offset=st.integers(-1000, 1000),
    value=st.integers(0, 10**6),
    probes=st.sets(st.integers(0, 10**4), min_size=2, max_size=4),
)
def test_propose_of_an_affine_law_is_its_value_at_once(slope: int, offset: int, value: int, probes: set[int]) -> None:
    assume(value not in probes)
    target = slope * value + offset
    seen = {probe: reading(kernel=slope * probe + offset - target) for probe in probes}
    (proposal,) = propose(seen)
    assert (proposal.value, proposal.exact, proposal.gaps) == (value, True, (("kernel", 0),))


@given(value=st.integers(3, 3000), first=st.sampled_from([8, 16, 32, 64]))
def test_propose_of_a_square_is_reached_in_few_steps(value: int, first: int) -> None:
    seen = {probe: reading(kernel=probe**2 - value**2) for probe in (first, 2 * first)}
    for _ in range(16):
        if any(r.fits for r in seen.values()):
            break
        guess = propose(seen)[0].value
        assert guess not in seen
        seen[guess] = reading(kernel=guess**2 - value**2)
    assert value in seen


@given(slope=st.integers(2, 50), value=st.integers(100, 10**6))
def test_propose_of_a_dimension_between_two_values_is_not_exact(slope: int, value: int) -> None:
    seen = {probe: reading(kernel=slope * (probe - value) - 1) for probe in (8, 16)}
    assert not any(p.exact for p in propose(seen))


def test_propose_follows_the_majority_and_keeps_the_others() -> None:
    seen = {u: reading(a=u - 128, b=u - 128, c=2 * u - 192, d=3) for u in (8, 16)}
    assert [(p.value, [key for key, _ in p.gaps]) for p in propose(seen)] == [(128, ["a", "b"]), (96, ["c"])]
    assert describe_conflict("units", propose(seen), seen[8]) == (
        "no value of units fits: net/a says 128, net/c says 96"
    )


def test_propose_where_the_number_of_variables_follows_goes_by_it_alone() -> None:
    seen = {n: reading(count=2 * n - 10, a=n - 300, b=n - 300) for n in (2, 4)}
    assert [(p.value, p.gaps) for p in propose(seen)] == [(5, (COUNT,))]


def test_propose_where_what_is_left_over_follows_but_the_number_of_variables_does_not_goes_by_shapes() -> None:
    seen = {u: replace(reading(count=-26 if u != 40 else 0, a=u - 40), shapes=(str(u),)) for u in (16, 32, 40)}
    assert [(p.value, p.gaps) for p in propose(seen)] == [(40, (("a", 0),))]
    assert describe_evidence(seen, 40) == "from net/a [7]"


def test_propose_where_nothing_follows_the_argument_is_nothing() -> None:
    seen = {n: reading(a=3, count=1) for n in (2, 4)}
    assert propose(seen) == []
    assert not follows(seen)


def test_propose_names_no_negative_value() -> None:
    assert propose({n: reading(a=n + 3) for n in (2, 4)}) == []


def test_evidence_names_what_tells_and_how_much_agrees() -> None:
    seen = {u: reading(a=u - 128, b=u - 128, c=0) for u in (64, 128)}
    assert describe_evidence(seen, 128) == "from net/a [7], 2 variables agree"
    deep = {n: reading(count=2 * n - 10) for n in (2, 5)}
    assert describe_evidence(deep, 5) == "from the number of variables, 12"


PARAMETERS = (
    Parameter("units", "int", False, 128),
    Parameter("name", "str", False, "x"),
    Parameter("rate", "float", False, 0.5),
    Parameter("deep", "bool", False, True),
    Parameter("size"),
)


def test_split_unknown_leaves_a_string_its_question_mark() -> None:
    texts = {"units": "?", "name": "?", "rate": "?", "size": "?", "deep": "true"}
    assert split_unknown(PARAMETERS, texts) == (["units", "size"], {"name": "?", "rate": "?", "deep": "true"})


@pytest.mark.parametrize(
    ("name", "said"),
    [("rate", "rate is no integer"), ("deep", "deep is no integer"), ("name", "name is no"), ("x", "no parameter 'x'")],
)
def test_check_unknown_refuses_what_cannot_be_solved_for(name: str, said: str) -> None:
    with pytest.raises(CkptMetaError, match=said) as caught:
        check_unknown("mlp", PARAMETERS, ["units", name])
    assert caught.value.code is Code.INVALID_ARGUMENTS
    check_unknown("mlp", (*PARAMETERS, Parameter("rest", required=False, open=True)), ["units", "x"])


def test_check_unknown_refuses_more_than_can_be_tried() -> None:
    parameters = (Parameter("rest", required=False, open=True),)
    with pytest.raises(CkptMetaError, match="at most 8 arguments are solved for at a time, not 9"):
        check_unknown("mlp", parameters, [f"n{i}" for i in range(9)])


def test_merge_has_the_order_of_the_signature() -> None:
    assert list(merge({"size": 1, "x": 2}, {"units": 3}, PARAMETERS)) == ["units", "size", "x"]
