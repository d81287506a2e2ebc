"""What a batch says of itself at its end, by its status and in words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tb_ckptmeta.cli.batch_summary import Summary, print_summary
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.engine.batch_results import Outcome

GOOD = Outcome("/runs/a", "a", "mlp", "match", "match: 4 of 4 variables bound", None, "f", "d")
NO = replace(GOOD, prefix="/runs/b", title="b", status="mismatch", summary="mismatch: 1 of 4 variables bound")
FAILED = replace(GOOD, status="error", code="builder_failed", summary="error: It raised.")
ALL_WELL = Summary(Path("/v.jsonl"), [GOOD], [], 0, 0, ())
BROKEN = CkptMetaError(Code.MODULE_FAILED, "my.py raised.")


@pytest.mark.parametrize(
    ("summary", "status"),
    [
        (ALL_WELL, 0),
        (replace(ALL_WELL, outcomes=[GOOD, NO]), 1),
        (replace(ALL_WELL, outcomes=[GOOD, FAILED]), 3),
        (replace(ALL_WELL, unconfirmed=[GOOD]), 3),
        (replace(ALL_WELL, problems=(BROKEN,)), 3),
        (replace(ALL_WELL, lost=1), 3),
    ],
)
def test_status_says_the_worst(summary: Summary, status: int) -> None:
    assert summary.status == status


def test_lines_that_nobody_can_confirm_are_named_and_not_counted(capsys: pytest.CaptureFixture[str]) -> None:
    summary = replace(ALL_WELL, unconfirmed=[NO, replace(GOOD, builder="wide")], earlier=1)
    print_summary(summary)
    assert capsys.readouterr().out.splitlines() == [
        "BUILDER  CHECKPOINTS  MATCH  PARTIAL  MISMATCH  ERROR",
        "mlp      1            1      0        0         0",
        "1 checkpoint in /v.jsonl, 1 of them from before.",
        "2 more lines from before stay unconfirmed: the builder is not there now (mlp, wide).",
        "  b  mlp  mismatch: 1 of 4 variables bound",
        "  a  wide  match: 4 of 4 variables bound",
    ]
    document = summary.as_json()
    assert (document["checkpoints"], document["statuses"]["match"]) == (3, 1)
    assert [row["prefix"] for row in document["unconfirmed"]] == ["/runs/b", "/runs/a"]
    print_summary(replace(ALL_WELL, outcomes=[], unconfirmed=[GOOD]))
    assert capsys.readouterr().out.splitlines()[0] == "0 checkpoints in /v.jsonl."
