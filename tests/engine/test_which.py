"""Arguments are found from real checkpoints, by real rebuilds; and which builder a checkpoint is of."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from reading import COMPARABLE

from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.verdict import MATCH
from tb_ckptmeta.engine.solve import Solution
from tb_ckptmeta.engine.which import Ranking
from tb_ckptmeta.engine.workspace import Workspace, open_workspace


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, sample: Callable[[str], Path]) -> Path:
    folder = tmp_path_factory.mktemp("solvable")
    command = [sys.executable, str(sample("save_solvable")), str(folder)]
    ended = subprocess.run(command, env={**os.environ, **COMPARABLE}, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return folder


@pytest.fixture(scope="module")
def workspace(runs: Path, sample: Callable[[str], Path]) -> Iterator[Workspace]:
    with open_workspace(str(runs), builders=[str(sample("solvable"))]) as opened:
        yield opened


Solve = Callable[..., Solution]


@pytest.fixture(scope="module")
def solve(workspace: Workspace) -> Solve:
    """`solve("mlp", "mlp", "units", depth=5)`: run, builder, the unknown arguments, the known ones."""

    def ask(run: str, builder: str, *unknown: str, **known: Any) -> Solution:
        listed = {c.run if c.run != "." else c.name: c for c in workspace.list_checkpoints(workspace.registry.read())}
        return workspace.solve(listed[run], builder, known, unknown)

    return ask


@pytest.mark.parametrize(
    ("run", "builder", "known", "solved", "evidence"),
    [
        ("mlp", "mlp", {"depth": 5}, {"units": 128}, "units = 128 (from net/hidden_0/kernel [20, 128], 11 variables"),
        ("mlp", "mlp", {"units": 128}, {"depth": 5}, "depth = 5 (from the number of variables, 12)"),
        ("shallow", "mlp", {"rate": 0.5}, {"units": 7, "depth": 1}, "depth = 1 (from the number of variables, 4)"),
        ("mlp.weights.h5", "mlp", {}, {"units": 48, "depth": 3}, "units = 48"),
        ("words", "words", {}, {"vocabulary": 5000}, "vocabulary = 5000 (from net/words/embeddings [5002, 24])"),
        ("attention", "attention", {}, {"units": 96, "heads": 8}, "heads = 8"),
        ("square", "square", {}, {"side": 50}, "side = 50 (from"),
        ("scoped", "scoped", {}, {"units": 40, "depth": 6}, "units = 40 (from layer0/kernel [12, 40]"),
    ],
)
def test_solve_finds_what_the_checkpoint_determines(
    solve: Solve, run: str, builder: str, known: dict[str, Any], solved: dict[str, int], evidence: str
) -> None:
    solution = solve(run, builder, *solved, **known)
    assert solution.determined, solution.reason
    assert solution.arguments == {**known, **solved}
    assert evidence in solution.reason
    assert solution.verdict is not None
    assert (solution.verdict.status, dict(solution.verdict.arguments)) == (MATCH, {**known, **solved})
    assert solution.verdict.bound == solution.verdict.variables > 0
    assert solution.note in solution.verdict.notes


@pytest.mark.parametrize(
    ("run", "builder", "unknown", "known", "reason"),
    [
        ("words", "words", "seed", {"vocabulary": 5000}, "any value of seed fits: it does not change any variable"),
        ("fused", "fused", "heads", {"units": 96}, "any value of heads fits: it does not change any variable"),
        ("half", "half", "units", {}, "2 values of units match: 256, 257"),
        ("twins", "twins", "units", {}, "no value of units fits: net/second/kernel says 96, net/first/kernel says 128"),
        ("mlp", "mlp", "depth", {"units": 12}, "depth = 5 (from the number of variables, 12) is not enough"),
        ("mlp", "mlp", "units", {}, "is not enough; perhaps its depth had no default value, either"),
        ("mlp", "words", "vocabulary", {}, "what vocabulary changes is bound to nothing in the checkpoint"),
        ("mlp", "fails", "units", {}, "the builder cannot be run with units = 8 and "),
    ],
)
def test_solve_says_what_the_checkpoint_does_not_determine(
    solve: Solve, run: str, builder: str, unknown: str, known: dict[str, Any], reason: str
) -> None:
    solution = solve(run, builder, unknown, **known)
    assert not solution.determined
    assert reason in solution.reason
    assert unknown not in solution.arguments
    assert (solution.verdict is None) == (builder == "fails")


def test_solve_of_a_builder_that_fails_with_every_value_says_what_it_said(solve: Solve) -> None:
    assert "ValueError: there is no recipe for " in solve("mlp", "fails", "units").reason


@pytest.mark.parametrize(
    ("unknown", "known", "said"),
    [
        (["rate"], {}, "rate is no integer"),
        (["width"], {}, "there is no parameter 'width'"),
        (["units"], {"wide": 1}, "there is no parameter 'wide'"),
    ],
)
def test_solve_asked_wrongly_raises_before_anything_runs(
    solve: Solve, unknown: list[str], known: dict[str, Any], said: str
) -> None:
    with pytest.raises(CkptMetaError, match=said) as caught:
        solve("mlp", "mlp", *unknown, **known)
    assert caught.value.code is Code.INVALID_ARGUMENTS


# --- Which builder


@pytest.fixture(scope="module")
def rankings(workspace: Workspace) -> Callable[[str], Ranking]:
    def rank(run: str) -> Ranking:
        (checkpoint,) = [c for c in workspace.list_checkpoints(workspace.registry.read()) if c.run == run]
        return workspace.rank_builders(checkpoint)

    return rank


def test_which_proposes_the_one_match_by_arguments_that_were_solved_for(rankings: Callable[[str], Ranking]) -> None:
    ranking = rankings("words")
    document = ranking.as_json()
    assert set(document) == {"checkpoint", "candidates", "proposed", "reason"}
    assert set(document["proposed"]) == {"builder", "arguments", "reason"}
    keys = {"builder", "arguments", "status", "variables", "bound", "missing", "unexpected", "reason", "error"}
    assert all(set(c) == keys for c in document["candidates"])
    assert (document["proposed"]["builder"], document["proposed"]["arguments"]) == ("words", {"vocabulary": 5000})
    assert ranking.reason.startswith(
        "The only one of 10 builders that matches: 3 of 3 variables bound, with vocabulary"
    )
    first, *others = document["candidates"]
    assert (first["builder"], first["status"], first["bound"]) == ("words", "match", 3)
    bound = [c["bound"] for c in others if c["status"] != "error"]
    assert bound == sorted(bound, reverse=True)
    # What could not be compared comes last, and says why.
    assert [(c["builder"], c["error"]["code"]) for c in others[-2:]] == [
        ("fails", "not_determined"),
        ("named", "invalid_arguments"),
    ]
    assert "needs name" in others[-1]["error"]["message"]


def test_which_shows_a_match_that_more_than_one_value_has_and_proposes_none(
    rankings: Callable[[str], Ranking],
) -> None:
    ranking = rankings("half")
    assert ranking.proposed is None
    assert (ranking.candidates[0].builder, ranking.candidates[0].verdict.status) == ("half", MATCH)
    assert "half alone matches" in ranking.reason
    assert "2 values of units match: 256, 257" in ranking.reason
