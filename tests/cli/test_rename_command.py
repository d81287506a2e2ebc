"""`--rename` and `--suggest`, as a person uses them: read what is said, do it, and use what comes of it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tensorboard.compat.proto import meta_graph_pb2
from writing import write_checkpoints

BUILDERS = Path(__file__).parents[1] / "mismatches" / "builders" / "names.py"
NOW = ("--builders", BUILDERS, "--builder", "mlp", "--set", "scope=tower/model_v1")

Cli = Callable[..., Any]


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A checkpoint of the builder `mlp` before its scope was renamed."""
    row = {"id": "3/mlp", "family": "names", "registered": "mlp", "builder": "", "arguments": {}, "how": "saver"}
    report = write_checkpoints([row], [str(BUILDERS)], "3", tmp_path_factory.mktemp("renames") / "written")
    return str(report["3/mlp"]["prefix"])


def test_verify_of_a_renamed_scope_says_what_was_renamed(cli: Cli, prefix: str) -> None:
    outcome = cli("verify", prefix, *NOW)
    assert outcome.status == 1
    assert "renamed?    net -> tower/model_v1, 4 of 4" in outcome.stdout
    assert "explained by these renames" in outcome.stdout


def test_suggest_prints_a_command_that_makes_it_match(cli: Cli, prefix: str) -> None:
    outcome = cli("verify", prefix, *NOW, "--suggest")
    assert outcome.status == 1
    (line,) = [text.strip() for text in outcome.stdout.splitlines() if text.strip().startswith("tb-ckptmeta ")]
    mended = cli(*shlex.split(line)[1:])
    assert (mended.status, mended.stderr) == (0, "")
    assert "match: 4 of 4 variables bound" in mended.stdout


def test_suggest_as_json_gives_the_command_and_the_status_it_would_have(cli: Cli, prefix: str) -> None:
    document = cli("verify", prefix, *NOW, "--suggest", "--json").document
    (suggestion,) = document["suggestions"]
    assert suggestion["status"] == "match"
    assert suggestion["checkpoint"] == document["verdicts"][0]["checkpoint"]
    assert "--rename net=tower/model_v1" in suggestion["command"]


def test_suggest_of_another_model_is_to_ask_which_builder(cli: Cli, prefix: str) -> None:
    outcome = cli("verify", prefix, "--builders", BUILDERS, "--builder", "other", "--suggest")
    assert outcome.status == 1
    assert f"tb-ckptmeta which {prefix} --builders {BUILDERS}" in outcome.stdout


def test_suggest_of_other_shapes_is_to_solve_for_the_integers(cli: Cli, prefix: str) -> None:
    outcome = cli("verify", prefix, "--builders", BUILDERS, "--builder", "mlp", "--set", "units=9", "--suggest")
    assert outcome.status == 1
    (line,) = [text.strip() for text in outcome.stdout.splitlines() if text.strip().startswith("tb-ckptmeta ")]
    assert line.endswith("--set 'units=?' --set 'classes=?'")
    solved = cli(*shlex.split(line)[1:], "--json")
    (verdict,) = solved.document["verdicts"]
    assert (solved.status, verdict["arguments"]["units"], verdict["arguments"]["classes"]) == (0, 8, 3)


def test_suggest_where_renames_do_not_make_it_match_is_to_solve_for_the_integer_first(cli: Cli, blocks: Path) -> None:
    builders = Path(__file__).with_name("blocks.py")
    outcome = cli("verify", blocks / "other" / "ckpt-1", "--builders", builders, "--builder", "clf", "--suggest")
    first, second = [shlex.split(t) for t in outcome.stdout.splitlines() if t.strip().startswith("tb-ckptmeta ")]
    assert "renamed?    /_operations/5 -> /_operations/4" in outcome.stdout  # which leads nowhere
    assert ("--set" in first, "--rename" in first) == (True, False)
    assert ("--set" in second, "--rename" in second) == (False, True)
    solved = cli(*first[1:])
    assert (solved.status, solved.stderr) == (0, "")
    assert "match: 16 of 16 variables bound" in solved.stdout


def test_export_through_a_rename_restores_from_the_original_and_says_so(cli: Cli, prefix: str, tmp_path: Path) -> None:
    output = tmp_path / "model.meta"
    outcome = cli("export", prefix, *NOW, "--rename", "net=tower/model_v1", "--output", output, "--json")
    assert outcome.status == 0, outcome.stderr
    check = outcome.document["check"]
    assert check["status"] == "passed"
    assert "TensorFlow itself does not restore this" in check["note"]
    (row,) = outcome.document["verdict"]["renames"]
    assert (row["from"], row["to"], row["count"], row["applied"]) == ("net", "tower/model_v1", 4, True)
    meta_graph = meta_graph_pb2.MetaGraphDef.FromString(output.read_bytes())
    provenance = json.loads(meta_graph.collection_def["tb_ckptmeta"].bytes_list.value[0])
    assert provenance["renames"] == ["net=tower/model_v1"]


def test_export_of_a_renamed_scope_without_the_rule_is_refused(cli: Cli, prefix: str, tmp_path: Path) -> None:
    outcome = cli("export", prefix, *NOW, "--output", tmp_path / "model.meta")
    assert outcome.status == 1
    assert "--rename net=tower/model_v1" in outcome.stderr
    assert not (tmp_path / "model.meta").exists()


@pytest.mark.parametrize("rule", ["net", "net=net", "=net"])
def test_rename_that_says_nothing_is_wrong_usage(cli: Cli, prefix: str, rule: str) -> None:
    outcome = cli("verify", prefix, *NOW, "--rename", rule)
    assert outcome.status == 2
    assert "FROM=TO" in outcome.stderr


def test_rename_that_binds_nothing_leaves_the_verdict_and_says_how_many(cli: Cli, prefix: str) -> None:
    outcome = cli("verify", prefix, *NOW, "--rename", "nothing=tower")
    assert outcome.status == 1
    assert "renamed     nothing -> tower, 0 of 0" in outcome.stdout
