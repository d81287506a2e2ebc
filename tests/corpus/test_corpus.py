"""Every model of the corpus is exported exactly, or refused for the reason that its row says.

A slice runs with the other tests; `make corpus` (marker `corpus`) runs all, prints the table and writes docs/models.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from carry_out import Outcome, carry_out, find_clients
from rows import ROWS
from table import describe, put_into_page

PAGE = Path(__file__).parents[2] / "docs" / "models.md"
_QUICK = {
    "layers/sequential",
    "layers/bidirectional_masking",
    "layers/text_vectorization",
    "traps/layers_in_a_list",
    "traps/adapted_in_training",
    "traps/cached_trace",
    "modules/vocabulary_file",
    "modules/ragged_input",
    "modules/while_loop",
    "tf1/moving_averages",
}
QUICK = [row for row in ROWS if row.keras == "3" and f"{row.family}/{row.name}" in _QUICK]


@pytest.fixture(scope="module")
def quick_outcomes(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Outcome]:
    return carry_out(QUICK, tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Outcome]:
    """The outcomes of the rows that were selected, which are put into the page."""
    chosen = {item.callspec.params["id"] for item in request.session.items if item.get_closest_marker("corpus")}
    rows = [row for row in ROWS if row.id in chosen]
    folder = tmp_path_factory.mktemp("corpus")
    found = carry_out(rows, folder, lambda outcome: print(describe(outcome), flush=True), find_clients())
    PAGE.write_text(put_into_page(PAGE.read_text(encoding="utf-8"), ROWS, found), encoding="utf-8")
    return found


@pytest.mark.parametrize("id", [row.id for row in QUICK])
def test_quick_model_is_exact_or_refused_with_its_reason(quick_outcomes: Mapping[str, Outcome], id: str) -> None:
    assert quick_outcomes[id].find_surprises() == []


@pytest.mark.corpus
@pytest.mark.parametrize("id", [row.id for row in ROWS])
def test_model_is_exact_or_refused_with_its_reason(outcomes: Mapping[str, Outcome], id: str) -> None:
    if outcomes[id].skipped:
        pytest.skip(outcomes[id].skipped)
    assert outcomes[id].find_surprises() == []
