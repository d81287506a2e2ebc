"""Keras' own files, from the file to an export that gives the original's outputs with a checkpoint of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from exporting import open_exporter
from reading import COMPARABLE
from training import train_under_both

HERE = Path(__file__).parent
MODELS = {  # model -> how many variables its graph reads
    "3/functional": 12,
    "3/listed": 10,
    "3/recurrent": 9,
    "3/half": 2,
    "3/adapted": 4,
    "legacy/functional": 12,
    "legacy/listed": 10,
    "legacy/recurrent": 9,
}
FILES = {"cp-002.weights.h5": ("keras-weights", 2), "epoch_2.keras": ("keras", 2)}
every_model = pytest.mark.parametrize("model", MODELS)
every_file = pytest.mark.parametrize("file", FILES)


@dataclass(frozen=True)
class Trained:
    """What the script wrote."""

    folder: Path

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    @property
    def builders(self) -> Path:
        return self.folder / "source" / "keras_files.py"

    @property
    def exports(self) -> Path:
        return self.folder / "exports"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Train every model, one process for each Keras."""
    found = Trained(tmp_path_factory.mktemp("keras_files"))
    found.runs.mkdir()
    found.exports.mkdir()
    shutil.copytree(HERE / "kinds", found.builders.parent)

    train_under_both(found.builders.with_name("save_keras_files.py"), found.runs)
    for path in (*found.runs.rglob("epoch_1.keras"), *found.runs.rglob("cp-001.weights.h5")):
        path.unlink()
    return found


@pytest.fixture(scope="module")
def listed(trained: Trained, cli: Any) -> dict[str, dict[str, Any]]:
    """Every file as `scan --inspect` lists it, by its path below the logdir."""
    outcome = cli("scan", trained.runs, "--inspect", "--json", "--builders", trained.builders)
    assert (outcome.status, outcome.stderr) == (0, "")
    return {os.path.relpath(c["prefix"], trained.runs): c for c in outcome.document["checkpoints"]}


@pytest.fixture(scope="module")
def verdicts(trained: Trained, listed: dict[str, Any], cli: Any) -> dict[str, dict[str, Any]]:
    """The verdict of every file, by its path below the logdir: one command."""
    outcome = cli("verify", trained.runs, "--builders", trained.builders, "--json")
    assert (outcome.status, outcome.stderr) == (1, "")
    paths = {c["id"]: path for path, c in listed.items()}
    return {paths[v["checkpoint"]]: v for v in outcome.document["verdicts"]}


def verify(cli: Any, trained: Trained, path: str, builder: str) -> dict[str, Any]:
    outcome = cli("verify", trained.runs / path, "--builders", trained.builders, "--builder", builder, "--json")
    (verdict,) = outcome.document["verdicts"]
    assert isinstance(verdict, dict)
    return verdict


# --- verdicts


@every_model
@every_file
def test_scan_of_a_keras_file_lists_it_complete(listed: dict[str, Any], model: str, file: str) -> None:
    found = listed[f"{model}/{file}"]
    assert (found["run"], found["name"]) == (model, file)
    assert (found["format"], found["step"]) == FILES[file]
    assert (found["state"], found["problem"]) == ("complete", "")


@every_model
@every_file
def test_verify_of_a_keras_file_says_match(verdicts: dict[str, Any], model: str, file: str) -> None:
    verdict = verdicts[f"{model}/{file}"]
    assert (verdict["status"], verdict["bound"], verdict["variables"]) == ("match", MODELS[model], MODELS[model])
    assert (verdict["missing"], verdict["unexpected"]) == ([], [])
    assert {"optimizer"} <= {row["key"].partition("/")[0] for row in verdict["bookkeeping"]}


@pytest.mark.parametrize("model", [m for m in MODELS if m.startswith("3/")])
def test_verify_of_the_backup_of_an_interrupted_training_says_match(verdicts: dict[str, Any], model: str) -> None:
    verdict = verdicts[f"{model}/backup/latest.weights.h5"]
    assert (verdict["status"], verdict["bound"]) == ("match", MODELS[model])


@pytest.mark.parametrize("flavour", ["3", "legacy"])
@every_file
def test_verify_of_a_layer_that_changes_what_it_loads_proves_nothing(
    verdicts: dict[str, Any], flavour: str, file: str
) -> None:
    verdict = verdicts[f"{flavour}/turned/{file}"]
    assert (verdict["status"], verdict["bound"], verdict["variables"]) == ("partial", 2, 3)
    assert [row["name"].rpartition("/")[2] for row in verdict["missing"]] == ["kernel"]
    assert [row["key"] for row in verdict["unexpected"]] == ["layers/turned/vars/0"]
    (note,) = [n for n in verdict["notes"] if "array" in n]
    assert "the array layers/turned/vars/0 is not loaded as it is, but changed first" in note
    assert "0x" not in note


@every_file
def test_verify_of_a_layer_that_computes_values_as_it_loads_tells_of_them(verdicts: dict[str, Any], file: str) -> None:
    verdict = verdicts[f"3/adapter/{file}"]
    assert verdict["status"] == "partial"
    assert [row["name"].rpartition("/")[2] for row in verdict["missing"]] == ["lora_kernel_a", "lora_kernel_b"]
    assert sum("a value that its layer computes" in note for note in verdict["notes"]) == 2


def test_verify_of_a_model_with_more_layers_lists_what_is_missing(trained: Trained, cli: Any) -> None:
    verdict = verify(cli, trained, "3/listed/epoch_2.keras", "deeper")
    assert (verdict["status"], verdict["bound"], verdict["variables"]) == ("partial", 10, 12)
    assert [row["shape"] for row in verdict["missing"]] == [[4, 4], [4]]


def test_verify_of_a_model_of_other_shapes_names_both(trained: Trained, cli: Any) -> None:
    verdict = verify(cli, trained, "3/listed/epoch_2.keras", "narrower")
    assert verdict["status"] == "mismatch"
    (kernel, bias) = sorted(verdict["shape_mismatches"], key=lambda row: -len(row["model"]))
    assert (kernel["model"], kernel["checkpoint"], bias["model"], bias["checkpoint"]) == ([4, 1], [4, 2], [1], [2])


def test_verify_of_what_is_no_keras_model_says_so(trained: Trained, cli: Any) -> None:
    verdict = verify(cli, trained, "3/listed/epoch_2.keras", "module")
    assert (verdict["status"], verdict["error"]["code"]) == ("error", "unsupported_model")
    assert "which only a Keras model loads" in verdict["error"]["message"]


# --- exports


ASKED = {  # output -> model, file, format
    "a.meta": ("3/functional", "epoch_2.keras", "metagraph"),
    "b": ("3/listed", "cp-002.weights.h5", "checkpoint"),
    "c": ("3/half", "epoch_2.keras", "checkpoint"),
    "d": ("3/adapted", "cp-002.weights.h5", "checkpoint"),
    "e": ("legacy/recurrent", "epoch_2.keras", "checkpoint"),
    "f": ("legacy/listed", "cp-002.weights.h5", "checkpoint"),
    "g": ("3/recurrent", "epoch_2.keras", "saved_model"),
    "h.pb": ("3/functional", "cp-002.weights.h5", "frozen"),
}
every_export = pytest.mark.parametrize("output", ASKED)


def export(cli: Any, trained: Trained, path: str, *options: object) -> Any:
    return cli("export", trained.runs / path, "--builders", trained.builders, "--json", *options)


@pytest.fixture(scope="module")
def exported(trained: Trained) -> dict[str, Any]:
    with open_exporter(trained.builders) as exporter:
        rows = [
            (trained.runs / model / file, trained.exports / output, "--format", format)
            for output, (model, file, format) in ASKED.items()
        ]
        documents = exporter.export_all(rows)
        # What `adapt` found is the file's, whatever the builder has adapted to.
        other = ("--builder", "adapted otherwise")
        exporter.export(trained.runs / "3" / "adapted" / "epoch_2.keras", trained.exports / "other.meta", *other)
    return dict(zip(ASKED, documents, strict=True))


@every_export
def test_export_of_a_keras_file_is_checked_against_kerass_own_loading(exported: dict[str, Any], output: str) -> None:
    keras = "tf_keras" if ASKED[output][0].startswith("legacy") else "keras"
    check = exported[output]["check"]
    assert (check["status"], check["reference"]) == ("passed", f"{keras}.Model.load_weights")
    assert check["note"].startswith("It ran without oneDNN's kernels" if ASKED[output][2] == "frozen" else "")
    assert bool(check["note"]) == (ASKED[output][2] == "frozen")


@every_export
def test_export_of_a_keras_file_leaves_nothing_but_what_was_asked_for(
    trained: Trained, exported: dict[str, Any], output: str
) -> None:
    stem, format = output.partition(".")[0], ASKED[output][2]
    files = sorted(p.relative_to(trained.exports).as_posix() for p in _list_files(trained.exports, stem))
    if format in ("metagraph", "checkpoint"):
        assert files == [f"{stem}.data-00000-of-00001", f"{stem}.index", f"{stem}.meta"]
    elif format == "saved_model":
        variables = [f"{stem}/variables/variables.{e}" for e in ("data-00000-of-00001", "index")]
        assert files == [f"{stem}/saved_model.pb", *variables]
    else:
        assert files == [output]


def _list_files(folder: Path, stem: str) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.name.partition(".")[0] == stem:
            yield from (p for p in (path, *path.rglob("*")) if p.is_file())


def test_import_of_a_keras_files_export_gives_the_originals_outputs(trained: Trained, exported: dict[str, Any]) -> None:
    rows = [
        {
            "meta": str(trained.exports / f"{output.partition('.')[0]}.meta"),
            "prefix": str(trained.exports / output.partition(".")[0]),
            "expected": str(trained.folder / "expected" / f"{model.replace('/', '-')}.npz"),
            "initialize": False,
        }
        for output, (model, _, format) in {**ASKED, "other.meta": ("3/adapted", "", "metagraph")}.items()
        if format in ("metagraph", "checkpoint")
    ]
    request = trained.folder / "request.json"
    request.write_text(
        json.dumps({"inputs": str(trained.folder / "inputs.npy"), "exports": rows, "hidden": ["keras_files"]})
    )
    ended = subprocess.run(
        [sys.executable, "-I", str(HERE / "roundtrip" / "import_exports.py"), str(request)],
        cwd=trained.exports,
        env={**os.environ, **COMPARABLE},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    report = json.loads(ended.stdout)
    assert (report["foreign"], report["importable"]) == ([], [])
    for row, found in zip(rows, report["exports"], strict=True):
        bound = 0.05 if "half" in row["expected"] else 1e-5  # bfloat16 has three digits
        assert max(found["restored"].values()) <= bound, row
        assert max(found["frozen"].values()) <= bound, row
        assert found["uninitialized"] == []


@pytest.mark.parametrize(
    ("path", "options", "status", "says"),
    [
        ("3/turned/epoch_2.keras", (), 1, "2 of 3 variables bound, 1 missing"),
        ("3/functional/epoch_2.keras", ("--format", "metagraph-text"), 2, "from which no MetaGraphDef restores"),
    ],
)
def test_export_of_a_keras_file_that_would_be_wrong_is_refused(
    trained: Trained, cli: Any, tmp_path: Path, path: str, options: tuple[str, ...], status: int, says: str
) -> None:
    outcome = export(cli, trained, path, "--output", tmp_path / "no.meta", *options)
    assert outcome.status == status
    assert says in outcome.stderr
    assert list(tmp_path.iterdir()) == []
