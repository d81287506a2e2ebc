"""Without a builder: what TensorFlow's and Keras' own clients leave beside a checkpoint is found, read and compared."""

from __future__ import annotations

import base64
import json
import marshal
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from training import train_under_both

Cli = Callable[..., Any]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sources") / "runs"
    folder.mkdir()
    train_under_both(Path(__file__).with_name("sources") / "save_sources.py", folder)
    return folder


PARSED = {
    "tf1/model.ckpt-5": ("metagraph", 12),
    "tf1-saved/variables/variables": ("saved_model", 3),
    "exported/variables/variables": ("saved_model", 4),
    "module/variables/variables": ("saved_model", 2),
    "saved/variables/variables": ("saved_model", 4),
}
DESERIALISED = ("fit-3/ckpt-1", "fit-legacy/ckpt-1", "file-3/model.keras", "file-legacy/model.keras")


@pytest.mark.parametrize("path", PARSED)
def test_parsed_source_matches_its_checkpoint_without_tensorflow(
    runs: Path, cli: Cli, quick_tensorflow: dict[str, str], path: str
) -> None:
    kind, variables = PARSED[path]
    outcome = cli("verify", runs / path, "--source", kind, "--json", environment=quick_tensorflow)
    assert outcome.status == 0, outcome.stderr
    (verdict,) = outcome.document["verdicts"]
    assert (verdict["builder"], verdict["status"]) == (None, "match")
    assert (verdict["variables"], verdict["bound"]) == (variables, variables)
    assert "was parsed, not run" in verdict["notes"][0]


@pytest.mark.parametrize("path", DESERIALISED)
def test_keras_configuration_matches_its_checkpoint(runs: Path, cli: Cli, path: str) -> None:
    outcome = cli("verify", runs / path, "--source", "keras_config", "--json")
    assert outcome.status == 0, outcome.stderr
    (verdict,) = outcome.document["verdicts"]
    assert (verdict["builder"], verdict["status"], verdict["bound"]) == (None, "match", 4)
    notes = " ".join(verdict["notes"])
    assert "was deserialised in a worker" in notes
    assert "The configuration in the file was not read" not in notes


@pytest.mark.parametrize("path", ["fit-3/ckpt-1", "file-legacy/model.keras"])
def test_keras_configuration_is_exported_and_checked(runs: Path, cli: Cli, tmp_path: Path, path: str) -> None:
    output = tmp_path / "out.meta"
    outcome = cli("export", runs / path, "--source", "keras_config", "--output", output, "--json")
    assert outcome.status == 0, outcome.stderr
    assert outcome.document["check"]["status"] == "passed"
    assert outcome.document["verdict"]["builder"] is None
    assert output.stat().st_size > 1000


def test_subclassed_model_logs_no_configuration_and_that_is_said(runs: Path, cli: Cli) -> None:
    outcome = cli("verify", runs / "subclassed" / "ckpt-1", "--source", "keras_config", "--json")
    assert outcome.status == 3
    error = outcome.document["verdicts"][0]["error"]
    assert error["code"] == "source_missing"
    assert "none for a subclassed one: register a builder" in error["message"]


def test_checkpoint_of_another_model_does_not_match_the_meta_beside_it(runs: Path, cli: Cli, tmp_path: Path) -> None:
    shutil.copytree(runs / "fit-3", tmp_path / "run")
    shutil.copyfile(runs / "tf1" / "model.ckpt-5.meta", tmp_path / "run" / "ckpt-1.meta")
    outcome = cli("verify", tmp_path / "run" / "ckpt-1", "--source", "metagraph", "--json")
    assert outcome.status == 1
    (verdict,) = outcome.document["verdicts"]
    assert (verdict["status"], verdict["bound"]) == ("mismatch", 0)
    assert [row["key"] for row in verdict["unexpected"]] != []
    # Names that a file has are not the user's to rename.
    assert (verdict["renames"], verdict["renamed_status"]) == ([], None)
    assert not any(row["explained"] for row in (*verdict["missing"], *verdict["unexpected"]))
    # Its object graph tells the training's own from the model's.
    assert all("optimizer" in row["key"] or "save_counter" in row["key"] for row in verdict["bookkeeping"])


@pytest.mark.parametrize(
    ("path", "kind", "told"),
    [
        ("tf1/model.ckpt-5", "metagraph", "import_meta_graph and a Saver's restore take it"),
        ("module/variables/variables", "saved_model", "tf.saved_model.load takes its folder as it is"),
        ("fit-3/ckpt-1", "objects", "there is nothing to export"),
    ],
)
def test_export_of_what_is_a_graph_already_says_what_exists(
    runs: Path, cli: Cli, tmp_path: Path, path: str, kind: str, told: str
) -> None:
    outcome = cli("export", runs / path, "--source", kind, "--output", tmp_path / "out.meta")
    assert outcome.status in (1, 2)
    assert told in outcome.stderr
    assert not (tmp_path / "out.meta").exists()


def test_inspect_prints_the_tree_and_the_sources(runs: Path, cli: Cli, quick_tensorflow: dict[str, str]) -> None:
    outcome = cli("inspect", runs / "fit-3" / "ckpt-1", environment=quick_tensorflow)
    assert outcome.status == 0, outcome.stderr
    assert "(15 variables, 177 parameters, 716 B)" in outcome.stdout
    assert "[4, 8] float32  128 B" in outcome.stdout
    assert "(11 of the training's own" in outcome.stdout
    assert "only when asked for" in outcome.stdout
    document = cli("inspect", runs / "tf1" / "model.ckpt-5", "--json", environment=quick_tensorflow).document
    assert [s["kind"] for s in document["sources"]] == ["metagraph", "objects"]
    assert document["root"]["variables"] == 12


def test_source_and_builder_exclude_each_other(runs: Path, cli: Cli) -> None:
    outcome = cli("verify", runs / "fit-3" / "ckpt-1", "--source", "objects", "--builder", "x")
    assert outcome.status == 2
    assert "not allowed with" in outcome.stderr


# --- Configurations that would run something


def write_hostile(runs: Path, flavour: str, folder: Path, layer: dict[str, Any]) -> Path:
    """Copy a `.keras` file with one layer more in its configuration."""
    folder.mkdir()
    target = folder / "model.keras"
    with zipfile.ZipFile(runs / f"file-{flavour}" / "model.keras") as source, zipfile.ZipFile(target, "w") as archive:
        for name in source.namelist():
            data = source.read(name)
            if name == "config.json":
                config = json.loads(data)
                config["config"]["layers"].append(layer)
                data = json.dumps(config).encode()
            archive.writestr(name, data)
    return target


def make_hostile_layer(kind: str, mark: Path) -> dict[str, Any]:
    lambda_code = compile(f"lambda x: (open({str(mark)!r}, 'w'), x)[1]", "<hostile>", "eval").co_consts[0]
    code = base64.b64encode(marshal.dumps(lambda_code)).decode()
    if kind == "system":
        return {"module": "os", "class_name": "system", "config": {"command": f"touch {mark}"}, "registered_name": None}
    if kind == "lambda":
        function = {"class_name": "__lambda__", "config": {"code": code, "defaults": None, "closure": None}}
        return {"module": "keras.layers", "class_name": "Lambda", "config": {"name": "evil", "function": function}}
    write = {"name": "evil", "function": "io.write_file", "arguments": {"filename": str(mark), "contents": "x"}}
    return {"module": "tf_keras.src.layers.core.tf_op_layer", "class_name": "TFOpLambda", "config": write}


@pytest.mark.parametrize("flavour", ["3", "legacy"])
@pytest.mark.parametrize("kind", ["system", "lambda", "operation"])
def test_configuration_that_would_run_something_is_refused_and_runs_nothing(
    runs: Path, cli: Cli, tmp_path: Path, flavour: str, kind: str
) -> None:
    mark = tmp_path / "it_ran"
    checkpoint = write_hostile(runs, flavour, tmp_path / "run", make_hostile_layer(kind, mark))
    outcome = cli("verify", checkpoint, "--source", "keras_config", "--json")
    assert outcome.status == 3
    error = outcome.document["verdicts"][0]["error"]
    assert error["code"] == "source_refused"
    assert "Nothing of it was run. Register a builder" in error["message"]
    assert not mark.exists()


def test_configuration_with_an_unknown_class_says_which(runs: Path, cli: Cli, tmp_path: Path) -> None:
    layer = {"module": None, "class_name": "NobodysLayer", "config": {"name": "n"}, "registered_name": "NobodysLayer"}
    checkpoint = write_hostile(runs, "3", tmp_path / "run", layer)
    outcome = cli("verify", checkpoint, "--source", "keras_config", "--json")
    error = outcome.document["verdicts"][0]["error"]
    assert error["code"] == "source_unreadable"
    assert "NobodysLayer" in error["message"]
