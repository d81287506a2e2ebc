"""Every format of an export, read by its clients in a process without the model's source."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from exporting import open_exporter
from reading import COMPARABLE, Outcomes, read_exports

SCRIPTS = Path(__file__).with_name("formats")

PREFIXES = {"dense": "dense/ckpt-1", "words": "words/ckpt-1", "graph": "graph/model.ckpt-1"}
EXPORTS = {
    "dense": ("metagraph", "saved_model", "onnx"),
    "words": ("metagraph", "saved_model", "frozen", "checkpoint"),
    "graph": ("metagraph", "saved_model"),  # of a checkpoint in the V1 format
}
READ_BY = {
    "metagraph": ("import_meta_graph", "freeze_graph", "tf2onnx --checkpoint"),
    "saved_model": ("saved_model_cli", "tf.saved_model.load", "v1.saved_model.load"),
    "frozen": ("import_graph_def",),
    "checkpoint": ("Saver",),
    "onnx": ("onnxruntime",),
}


@dataclass
class Exports:
    """What was trained and exported: `documents` by model and format."""

    folder: Path
    documents: dict[tuple[str, str], Any]

    @property
    def builders(self) -> Path:
        return self.folder / "source" / "models.py"

    def prefix(self, model: str) -> Path:
        return self.folder / "runs" / PREFIXES[model]

    def path(self, model: str, format: str) -> Path:
        return self.folder / "exports" / f"{model}-{format}"


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Exports:
    made = Exports(tmp_path_factory.mktemp("formats"), {})
    (made.folder / "runs").mkdir()
    (made.folder / "exports").mkdir()
    shutil.copytree(SCRIPTS, made.builders.parent)
    train = [sys.executable, "train.py", str(made.folder / "runs")]
    ended = subprocess.run(
        train, cwd=made.builders.parent, env={**os.environ, **COMPARABLE}, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr

    rows = [(model, format) for model, formats in EXPORTS.items() for format in formats]
    with open_exporter(made.builders) as exporter:
        documents = exporter.export_all((made.prefix(m), made.path(m, f), "--format", f) for m, f in rows)
    made.documents.update(zip(rows, documents, strict=True))
    return made


@pytest.fixture(scope="module")
def read(exports: Exports, tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """What the clients say, by model and client; the source is out of their reach."""
    rows = []
    for model, formats in EXPORTS.items():
        document = exports.documents[model, "metagraph"]
        rows.append(
            {
                "id": model,
                "prefix": str(exports.prefix(model)),
                "inputs": str(exports.folder / "runs" / f"{model}-inputs.npz"),
                "outputs": str(exports.folder / "runs" / f"{model}-expected.npz"),
                "exports": {format: str(exports.path(model, format)) for format in formats},
                "tensors": {"inputs": document["inputs"], "outputs": document["outputs"]},
                "tolerance": 1e-6,
                "random": [],
                "clients": [client for format in formats for client in READ_BY[format]],
            }
        )
    away = exports.folder / "source, out of reach"
    exports.builders.parent.rename(away)
    try:
        return read_exports(rows, tmp_path_factory.mktemp("clients"), ["models"])
    finally:
        away.rename(exports.builders.parent)


ROWS = [(model, format) for model, formats in EXPORTS.items() for format in formats]


@pytest.mark.parametrize(("model", "format"), ROWS)
def test_export_in_a_format_is_checked_and_has_the_signature_of_the_metagraph(
    exports: Exports, model: str, format: str
) -> None:
    document = exports.documents[model, format]
    assert document["format"] == format
    assert document["check"]["status"] == "passed"
    assert document["check"]["max_abs_difference"] <= 1e-6
    signature = exports.documents[model, "metagraph"]
    assert (document["inputs"], document["outputs"]) == (signature["inputs"], signature["outputs"])


@pytest.mark.parametrize(("model", "format"), ROWS)
def test_clients_of_a_format_read_the_outputs_of_the_trained_model(read: Outcomes, model: str, format: str) -> None:
    for client in READ_BY[format]:
        if (model, client) == ("words", "tf2onnx --checkpoint"):
            assert "error" in read[model][client]  # ONNX has no tables
            continue
        assert read[model][client].get("within"), read[model][client]


def test_saved_model_shares_the_files_of_the_checkpoint(exports: Exports) -> None:
    variables = exports.path("dense", "saved_model") / "variables"
    prefix = exports.prefix("dense")
    files = {p.name.removeprefix("variables"): p for p in variables.iterdir()}
    assert sorted(files) == [".data-00000-of-00001", ".index"]
    assert all(os.path.samefile(p, f"{prefix}{ending}") and not p.is_symlink() for ending, p in files.items())


def test_saved_model_of_a_v1_checkpoint_holds_the_weights_anew(exports: Exports) -> None:
    # No loader of SavedModels takes the V1 format.
    variables = exports.path("graph", "saved_model") / "variables"
    assert sorted(p.name for p in variables.iterdir()) == ["variables.data-00000-of-00001", "variables.index"]


def test_saved_model_as_a_copy_shares_nothing(exports: Exports, cli: Any, tmp_path: Path) -> None:
    output = tmp_path / "copy"
    arguments = ["--builders", exports.builders, "--format", "saved_model", "--output", output, "--copy", "--no-check"]
    outcome = cli("export", exports.prefix("dense"), *arguments)
    assert outcome.status == 0, outcome.stderr
    for path in (output / "variables").iterdir():
        original = Path(f"{exports.prefix('dense')}{path.name.removeprefix('variables')}")
        assert not os.path.samefile(path, original)
        assert path.read_bytes() == original.read_bytes()


def test_export_to_onnx_of_a_model_with_a_table_names_what_onnx_lacks(
    exports: Exports, cli: Any, tmp_path: Path
) -> None:
    output = tmp_path / "words.onnx"
    arguments = ["--builders", exports.builders, "--format", "onnx", "--output", output]
    outcome = cli("export", exports.prefix("words"), *arguments)
    assert outcome.status == 3
    assert "tf2onnx" in outcome.stderr
    assert "LookupTable" in outcome.stderr
    assert not output.exists()


@pytest.mark.parametrize("format", ["saved_model", "frozen"])
def test_partial_export_in_a_format_keeps_initial_values_and_passes_its_check(
    exports: Exports, cli: Any, tmp_path: Path, format: str
) -> None:
    options = ["--builder", "wider", "--allow-partial", "--format", format, "--output", tmp_path / "out", "--json"]
    outcome = cli("export", exports.prefix("dense"), "--builders", exports.builders, *options)
    assert outcome.status == 0, outcome.stderr
    document = outcome.document
    assert document["verdict"]["status"] == "partial"
    assert document["check"]["status"] == "passed"
    assert "nothing restores" in document["check"]["note"]


def test_export_never_replaces_a_folder_that_is_no_saved_model(exports: Exports, cli: Any, tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (work / "thesis.tex").write_text("years")
    options = ["--format", "saved_model", "--output", work, "--overwrite"]
    outcome = cli("export", exports.prefix("dense"), "--builders", exports.builders, *options)
    assert outcome.status == 2
    assert "no SavedModel" in outcome.stderr
    assert (work / "thesis.tex").read_text() == "years"


def test_export_to_the_checkpoint_itself_is_refused_even_with_overwrite(exports: Exports, cli: Any) -> None:
    prefix = exports.prefix("dense")
    before = {p.name: p.read_bytes() for p in prefix.parent.iterdir()}
    options = ["--format", "checkpoint", "--output", prefix, "--overwrite"]
    outcome = cli("export", prefix, "--builders", exports.builders, *options)
    assert outcome.status == 2
    assert "the checkpoint itself" in outcome.stderr
    assert {p.name: p.read_bytes() for p in prefix.parent.iterdir()} == before


def test_overwriting_a_checkpoint_and_a_saved_model_replaces_them_whole(
    exports: Exports, cli: Any, tmp_path: Path
) -> None:
    prefix, folder = tmp_path / "old", tmp_path / "model"
    for ending in (".index", ".meta", ".data-00000-of-00002", ".data-00001-of-00002"):
        Path(f"{prefix}{ending}").write_bytes(b"old")
    (folder / "assets").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"old")
    (folder / "assets" / "old.txt").write_bytes(b"old")
    for format, output in (("checkpoint", prefix), ("saved_model", folder)):
        options = ["--format", format, "--output", output, "--no-check"]
        command = ["export", exports.prefix("dense"), "--builders", exports.builders, *options]
        refused = cli(*command)
        assert refused.status == 2
        assert "--overwrite" in refused.stderr
        assert cli(*command, "--overwrite").status == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "model",
        "old.data-00000-of-00001",
        "old.index",
        "old.meta",
    ]
    assert not (folder / "assets").exists()


@pytest.mark.slow
def test_check_whose_weights_would_not_fit_is_refused_before_it_takes_the_memory(
    exports: Exports, cli: Any, tmp_path: Path
) -> None:
    output = tmp_path / "large.meta"
    options = ["--builder", "large", "--allow-partial", "--output", output, "--memory-limit", "1"]
    command = ["export", exports.prefix("dense"), "--builders", exports.builders, *options]
    refused = cli(*command)
    assert refused.status == 3
    assert "would take 1.0 GiB of memory or more, for weights of 0.2 GiB or more are restored" in refused.stderr
    assert "--no-check" in refused.stderr
    assert not output.exists()
    # Without it no weight takes memory.
    assert cli(*command, "--no-check").status == 0
