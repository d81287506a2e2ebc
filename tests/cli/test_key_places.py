"""A checkpoint saved with its optimizer: its keys are the optimizer's, and people are shown the model's own paths."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

BUILDERS = ("--builders", Path(__file__).with_name("blocks.py"))

Cli = Callable[..., Any]


def test_verify_shows_where_a_key_is_in_the_model_and_the_optimizers_key_in_brackets(cli: Cli, blocks: Path) -> None:
    prefixes = [blocks / run / "ckpt-1" for run in ("clf", "other")]
    outcome = cli("verify", *prefixes, *BUILDERS, "--builder", "wide")
    assert outcome.status == 1
    assert (
        "    shape       functional/stem/kernel is [4, 7], the checkpoint's model/_operations/1/_kernel "
        "(key: optimizer/_trainable_variables/0) is [4, 6]\n"
    ) in outcome.stdout
    assert (
        "    unexpected  model/_operations/4/a/_kernel  [6, 6] float32 (key: optimizer/_trainable_variables/10)"
    ) in outcome.stdout
    assert "'s optimizer/" not in outcome.stdout


def test_verify_tells_the_trainings_own_from_what_was_saved_beside_the_model(cli: Cli, blocks: Path) -> None:
    outcome = cli("verify", blocks / "clf" / "ckpt-1", *BUILDERS, "--builder", "clf")
    assert outcome.status == 0
    assert outcome.stdout.splitlines() == [
        "ckpt-1  clf  match: 12 of 12 variables bound",
        "    (26 of the training's own: optimizer, counters)",
        "    (2 saved beside the model, and not in this graph: judge 2)",
    ]


def test_export_that_is_refused_lists_the_places_in_the_model(cli: Cli, blocks: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.meta"
    outcome = cli("export", blocks / "other" / "ckpt-1", *BUILDERS, "--builder", "clf", "--output", output)
    assert outcome.status == 1
    assert "unexpected in the checkpoint: model/_operations/4/a/_kernel [6, 6] float32\n" in outcome.stderr
    assert "optimizer/" not in outcome.stderr
