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


def test_each_reason_of_a_builder_is_told_once_and_mismatches_come_first(capsys: pytest.CaptureFixture[str]) -> None:
    hung = replace(FAILED, builder="late", summary="error: Builder 'late' was still at work after 5 s.")
    titles = [f"late/ckpt-{n}" for n in range(150)]
    outcomes = [replace(hung, prefix=f"/runs/{t}", title=t) for t in titles]
    for title in ("mlp/ckpt-1", "mlp/ckpt-10"):
        name = title.rpartition("/")[2]
        said = f"error: Checkpoint {name} is incomplete: no /runs/{title}.data."
        outcomes.append(replace(FAILED, prefix=f"/runs/{title}", title=title, summary=said))
    outcomes += [
        replace(hung, builder="other"),
        NO,
        replace(NO, title="c", prefix="/runs/c", status="partial", summary="partial: 3 of 4 variables bound"),
        GOOD,
    ]
    print_summary(replace(ALL_WELL, outcomes=outcomes))
    assert [line for line in capsys.readouterr().out.splitlines() if line.startswith("  ")] == [
        "  b  mlp  mismatch: 1 of 4 variables bound",
        "  c  mlp  partial: 3 of 4 variables bound",
        "  150: late/ckpt-0, late/ckpt-1, late/ckpt-2, …  late  error: Builder 'late' was still at work after 5 s.",
        "  2: mlp/ckpt-1, mlp/ckpt-10  mlp  error: Checkpoint ckpt-1 is incomplete: no /runs/mlp/ckpt-1.data.",
        "  a  other  error: Builder 'late' was still at work after 5 s.",
    ]
    many = [replace(FAILED, builder=f"b{n}") for n in range(22) for _ in range(2)]
    print_summary(replace(ALL_WELL, outcomes=many))
    assert "  … and 4 more, for 2 other reasons (--json lists all)" in capsys.readouterr().out.splitlines()
