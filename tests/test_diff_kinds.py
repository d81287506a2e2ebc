"""Diffs of real checkpoints of every kind, with known distances between them, as the command line tells them."""

from __future__ import annotations

import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from training import train_under_both

from tb_ckptmeta.core.diff import diff_sides
from tb_ckptmeta.core.side import describe_checkpoint
from tb_ckptmeta.engine.bundle import read_contents
from tb_ckptmeta.engine.metagraph import read_metagraph

HERE = Path(__file__).parent
MOVED = 0.5
"""What save_pairs.py adds to every element of hidden's kernel."""


@dataclass(frozen=True)
class Saved:
    """What the script wrote."""

    folder: Path

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    def weights(self, flavour: str) -> dict[str, Any]:
        with np.load(self.folder / f"{flavour}.npz") as file:
            return dict(file)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    found = Saved(tmp_path_factory.mktemp("diffs"))
    found.runs.mkdir()
    shutil.copytree(HERE / "diffs", found.folder / "source")
    train_under_both(found.folder / "source" / "save_pairs.py", found.runs)
    return found


@pytest.fixture(scope="module")
def types(saved: Saved, cli: Any) -> dict[str, Any]:
    """The diff of two checkpoints with a tensor of each type."""
    outcome = cli("diff", saved.runs / "3" / "types-1", saved.runs / "3" / "types-2", "--values", "--json")
    assert (outcome.status, outcome.stderr) == (1, "")
    document = outcome.document
    assert isinstance(document, dict)
    return document


# --- how far each moved

PAIRS = {
    "objects": ("3/objects-1", "3/objects-2"),
    "root-and-sliced-shards": ("3/root-1", "3/shards-2"),
    "legacy-objects": ("legacy/objects-1", "legacy/objects-2"),
    "legacy-weights": ("legacy/weights-1", "legacy/weights-2"),
    "names": ("3/v2-1", "3/v2-2"),
    "v1": ("3/v1-1", "3/v1-2"),
    "v1-and-columns": ("3/v1-1", "3/columns-2"),
    "rows-and-columns": ("3/rows-1", "3/columns-2"),
    "v1-rows-and-rows": ("3/rows-v1-1", "3/rows-2"),
    "keras-weights": ("3/file-1.weights.h5", "3/file-2.weights.h5"),
    "keras-weights-and-keras": ("3/file-1.weights.h5", "3/file-2.keras"),
    "legacy-keras-files": ("legacy/file-1.keras", "legacy/file-2.weights.h5"),
}


@pytest.mark.parametrize("pair", PAIRS)
def test_diff_of_two_steps_tells_what_moved_how_far_and_what_broke(saved: Saved, cli: Any, pair: str) -> None:
    a, b = PAIRS[pair]
    outcome = cli("diff", saved.runs / a, saved.runs / b, "--values", "--json")
    assert (outcome.status, outcome.stderr) == (1, "")
    assert (outcome.left_alive, outcome.left_behind) == ([], [])
    found = outcome.document
    assert [r for n in ("added", "removed", "reshaped", "retyped") for r in found[n] if not r["bookkeeping"]] == []
    bias, kernel = (r for r in found["moved"] if not r["bookkeeping"])
    weights = saved.weights(a.partition("/")[0])
    length = MOVED * math.sqrt(weights["kernel"].size)
    norm = float(np.linalg.norm(weights["kernel"].astype("float64")))
    assert (kernel["shape"], kernel["differ"]) == ([6, 5], 30)
    assert kernel["max_abs"] == pytest.approx(MOVED, rel=1e-6)
    assert kernel["l2"] == pytest.approx(length, rel=1e-6)
    assert kernel["relative_l2"] == pytest.approx(length / norm, rel=1e-6)
    assert (kernel["nan"], kernel["inf"]) == ({"a": 0, "b": 0}, {"a": 0, "b": 0})
    assert (bias["shape"], bias["differ"], bias["max_abs"], bias["relative_l2"]) == ([3], 2, 0.0, 0.0)
    assert (bias["nan"], bias["inf"]) == ({"a": 0, "b": 1}, {"a": 0, "b": 1})


@pytest.mark.parametrize(
    ("name", "differ", "max_abs", "relative"),
    [
        ("half", 1, 1.0, 1 / math.sqrt(5)),
        ("brain", 1, 2.0, 2 / math.sqrt(5)),
        ("eight", 1, 6.0, 6 / math.sqrt(5)),
        ("double", 1, 2e300, math.sqrt(2)),
        ("long", 1, 1.0, 2.0**-62),
        ("unsigned", 2, 2.0**64, math.sqrt(2)),
        ("short", 1, 255.0, 255 / math.hypot(128, 127)),
        ("truth", 1, 1.0, 1.0),
        ("complex", 1, 5.0, 5 / math.sqrt(26)),
        ("cast", 1, 0.5, 0.5 / math.sqrt(5)),
        ("zero", 2, 1.0, None),
        ("scalar", 1, 1.0, 0.5),
        ("text", 1, None, None),
    ],
)
def test_diff_of_every_type_counts_and_measures(
    types: dict[str, Any], name: str, differ: int, max_abs: float | None, relative: float | None
) -> None:
    (row,) = (r for r in types["moved"] if r["key"] == name)
    assert row["differ"] == differ
    assert row["max_abs"] == (None if max_abs is None else pytest.approx(max_abs, rel=1e-12))
    assert row["relative_l2"] == (None if relative is None else pytest.approx(relative, rel=1e-9))


def test_diff_of_every_type_says_what_is_the_same_and_what_is_not_compared(types: dict[str, Any]) -> None:
    assert {r["key"] for r in types["moved"]} & {"same_text", "none", "turned"} == set()
    assert [(r["key"], r["a"], r["b"]) for r in types["retyped"]] == [
        ("cast", "float32", "float16"),
        ("turned", "float32", "string"),
    ]
    assert types["same"] == 2
    assert [row["key"] for row in types["not_compared"]] == ["turned"]
    assert types["notes"] == ["Not compared, for it is text in one and numbers in the other: turned"]


# --- what is there


def test_diff_of_a_checkpoint_and_its_optimizer_saved_first_adds_the_optimizer_alone(saved: Saved, cli: Any) -> None:
    outcome = cli("diff", saved.runs / "3" / "objects-1", saved.runs / "3" / "objects-2")
    assert outcome.status == 1
    lines = outcome.stdout.splitlines()
    assert lines[2] == "no variable of the model differs, 4 the same"
    assert lines[3] == "    (of the training's own, optimizer and counters: 10 added; --json lists them)"
    assert "4 variable(s) have another key in b" in lines[4]


def test_diff_of_a_checkpoint_with_itself_has_status_0(saved: Saved, cli: Any) -> None:
    for name in ("objects-2", "types-1", "file-1.keras"):
        outcome = cli("diff", saved.runs / "3" / name, saved.runs / "3" / name, "--values")
        assert (outcome.status, outcome.stderr) == (0, "")
        assert outcome.stdout.splitlines()[2].startswith("nothing differs, ")


def test_diff_that_cannot_compare_a_value_does_not_say_that_nothing_differs(saved: Saved, cli: Any) -> None:
    outcome = cli("diff", saved.runs / "3" / "text-1", saved.runs / "3" / "text-1", "--values")
    assert outcome.status == 3
    assert outcome.stderr == "tb-ckptmeta: Nothing differs, but the values of 1 variable(s) could not be compared.\n"
    assert outcome.stdout.splitlines()[2:] == [
        "nothing differs that could be compared, 0 the same",
        "    note        Not compared, for it is text in slices: text",
    ]


@pytest.mark.parametrize("checkpoint", ["v2-1", "v1-1", "rows-1", "columns-1", "rows-v1-1"])
@pytest.mark.parametrize("meta", ["v2-2.meta", "v1-2.meta", "rows-1.meta", "columns-2.meta", "rows-v1-1.meta"])
def test_diff_of_a_checkpoint_and_the_meta_of_its_kin_finds_nothing(saved: Saved, checkpoint: str, meta: str) -> None:
    prefix = str(saved.runs / "3" / checkpoint)
    found = diff_sides(
        describe_checkpoint(read_contents(prefix), checkpoint, "", prefix),
        read_metagraph(str(saved.runs / "3" / meta), meta),
    )
    assert (found.differs, found.same, found.same_bookkeeping) == (False, 3, 1)
