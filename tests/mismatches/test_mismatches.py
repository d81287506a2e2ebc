"""Every mismatch that people report is diagnosed exactly, and what can be mended gives the values of the training."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

import pytest
from cases import ROWS
from diagnose import Diagnosis, diagnose
from mismatch import Mismatch

from tb_ckptmeta.core.verdict import MATCH


@pytest.fixture(scope="module")
def diagnoses(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Diagnosis]:
    # Made here and not in the threads: the first to ask makes the session's folder anew, and takes away what is there.
    places = {keras: tmp_path_factory.mktemp(f"mismatches-{keras}") for keras in ("3", "legacy")}

    def run(keras: str) -> dict[str, Diagnosis]:
        return diagnose([row for row in ROWS if row.keras == keras], places[keras])

    with ThreadPoolExecutor(2) as pool:
        return {id: found for part in pool.map(run, places) for id, found in part.items()}


def test_there_are_as_many_mismatches_as_were_asked_for() -> None:
    assert len({row.id for row in ROWS}) == len(ROWS) >= 40


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_mismatch_is_diagnosed_exactly(diagnoses: Mapping[str, Diagnosis], row: Mismatch) -> None:
    found = diagnoses[row.id]
    assert not found.broken
    expected = asdict(row)
    assert dict(found.said) == {name: expected[name] for name in found.said}
    assert row.says in found.notes


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_mismatch_is_mended_where_it_can_be(diagnoses: Mapping[str, Diagnosis], row: Mismatch) -> None:
    found = diagnoses[row.id]
    assert found.mended == row.mended
    if (row.mended or row.summary).startswith(MATCH):
        assert found.check == "passed"
        assert found.outcome.get("within"), found.outcome
        assert found.outcome["difference"] <= 1e-6
    else:
        assert not found.outcome
