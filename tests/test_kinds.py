"""Every kind of checkpoint that TensorFlow writes: listed, inspected, verified, exported, and right for a stranger."""

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
from exporting import Exporter, open_exporter
from reading import COMPARABLE
from training import train_under_both

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Kind:
    """What is to be found of one checkpoint: its prefix below the folder of its kind, and how it is listed."""

    prefix: str
    step: int | None
    format: str
    restored_by: str = "tf.train.Checkpoint"


SAVER = "tf.compat.v1.train.Saver"
KINDS = {
    "3/v1": Kind("model.ckpt-3", 3, "v1", SAVER),
    "3/v1-shards": Kind("model.ckpt-3-?????-of-00003", 3, "v1", SAVER),
    "3/v2": Kind("model.ckpt-3", 3, "name", SAVER),
    "3/v2-shards": Kind("model.ckpt-3", 3, "name", SAVER),
    "3/partitioned": Kind("model.ckpt-3", 3, "name", SAVER),
    "3/partitioned-v1": Kind("model.ckpt-3", 3, "v1", SAVER),
    "3/averages": Kind("model.ckpt-3", 3, "name", SAVER),
    "3/averaged-model": Kind("model.ckpt-3", 3, "name", SAVER),
    "3/builder": Kind("export/variables/variables", None, "name", SAVER),
    "3/keras": Kind("ckpt-1", 1, "object"),
    "3/keras-alone": Kind("ckpt-1", 1, "object"),
    "3/keras-root": Kind("weights", None, "object"),
    "3/keras-write": Kind("weights", None, "object"),
    "3/keras-shards": Kind("weights", None, "object"),
    "3/keras-averaging": Kind("ckpt-1", 1, "object"),
    "3/keras-mirrored": Kind("ckpt-1", 1, "object"),
    "3/keras-export": Kind("export/variables/variables", None, "object"),
    "3/keras-saved": Kind("model/variables/variables", None, "object"),
    "3/plain-mirrored": Kind("ckpt-1", 1, "object"),
    "3/plain-servers": Kind("ckpt-1", 1, "object"),
    "3/plain-saved-model": Kind("export/variables/variables", None, "object"),
    "legacy/keras": Kind("ckpt-1", 1, "object"),
    "legacy/keras-callback": Kind("cp-0003.ckpt", 3, "object"),
    "legacy/keras-weights": Kind("weights", None, "object"),
    "legacy/keras-backup": Kind("chief/ckpt-1", 1, "object"),
    "legacy/keras-mirrored": Kind("ckpt-1", 1, "object"),
    "legacy/keras-export": Kind("export/variables/variables", None, "object"),
    "legacy/keras-saved": Kind("model/variables/variables", None, "object"),
    "legacy/plain-mirrored": Kind("ckpt-1", 1, "object"),
}
every_kind = pytest.mark.parametrize("kind", KINDS)


@dataclass(frozen=True)
class Saved:
    """What the script wrote."""

    folder: Path

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    @property
    def builders(self) -> Path:
        return self.folder / "source" / "every_kind.py"

    def prefix(self, kind: str) -> Path:
        return self.runs / kind / KINDS[kind].prefix

    def meta(self, kind: str) -> Path:
        return self.folder / "exports" / f"{kind.replace('/', '-')}.meta"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Saved:
    """Write a checkpoint of every kind, one process for each Keras."""
    found = Saved(tmp_path_factory.mktemp("kinds"))
    found.runs.mkdir()
    (found.folder / "exports").mkdir()
    shutil.copytree(HERE / "kinds", found.builders.parent)

    train_under_both(found.builders.with_name("save_every_kind.py"), found.runs)
    return found


@pytest.fixture(scope="module")
def listed(saved: Saved, cli: Any) -> dict[str, dict[str, Any]]:
    """Every checkpoint as `scan --inspect` lists it, by its prefix."""
    outcome = cli("scan", saved.runs, "--inspect", "--json", "--builders", saved.builders)
    assert (outcome.status, outcome.stderr) == (0, "")
    return {c["prefix"]: c for c in outcome.document["checkpoints"]}


@pytest.fixture(scope="module")
def verdicts(saved: Saved, cli: Any) -> dict[str, dict[str, Any]]:
    """Every verdict, by its checkpoint's id: one command."""
    outcome = cli("verify", saved.runs, "--builders", saved.builders, "--json")
    assert (outcome.status, outcome.stderr) == (0, "")
    return {v["checkpoint"]: v for v in outcome.document["verdicts"]}


@pytest.fixture(scope="module")
def exporter(saved: Saved) -> Iterator[Exporter]:
    with open_exporter(saved.builders) as found:
        yield found


@pytest.fixture(scope="module")
def exports(saved: Saved, exporter: Exporter) -> dict[str, dict[str, Any]]:
    """Every kind exported, by its document."""
    documents = exporter.export_all((saved.prefix(kind), saved.meta(kind)) for kind in KINDS)
    return dict(zip(KINDS, documents, strict=True))


def import_exports(saved: Saved, exports: list[tuple[Path, Path, str]]) -> list[dict[str, Any]]:
    """Import exports, each with its prefix and the kind whose outputs it must give, in a process without the source."""
    request = saved.folder / "request.json"
    rows = [
        {
            "meta": str(meta),
            "prefix": str(prefix),
            "expected": str(saved.folder / "expected" / f"{kind.replace('/', '-')}.npz"),
            "initialize": False,
        }
        for meta, prefix, kind in exports
    ]
    hidden = ["every_kind"]
    request.write_text(json.dumps({"inputs": str(saved.folder / "inputs.npy"), "exports": rows, "hidden": hidden}))
    ended = subprocess.run(
        [sys.executable, "-I", str(HERE / "roundtrip" / "import_exports.py"), str(request)],
        cwd=saved.folder / "exports",
        env={**os.environ, **COMPARABLE},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    report: dict[str, Any] = json.loads(ended.stdout)
    assert (report["foreign"], report["importable"]) == ([], [])
    return list(report["exports"])


@pytest.fixture(scope="module")
def imported(saved: Saved, exports: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What a stranger gets out of every export, with the original checkpoint."""
    reports = import_exports(saved, [(saved.meta(kind), saved.prefix(kind), kind) for kind in exports])
    return dict(zip(exports, reports, strict=True))


@every_kind
def test_scan_of_every_kind_lists_it_complete(saved: Saved, listed: dict[str, Any], kind: str) -> None:
    found = listed[str(saved.prefix(kind))]
    name = KINDS[kind].prefix.rpartition("/")[2].partition("-????")[0]
    assert (found["run"], found["name"]) == (str(saved.prefix(kind).parent.relative_to(saved.runs)), name)
    assert (found["step"], found["format"]) == (KINDS[kind].step, KINDS[kind].format)
    assert (found["state"], found["problem"]) == ("complete", "")


@every_kind
def test_verify_of_every_kind_says_match(
    saved: Saved, listed: dict[str, Any], verdicts: dict[str, Any], kind: str
) -> None:
    verdict = verdicts[listed[str(saved.prefix(kind))]["id"]]
    count = 8 if "/keras" in kind else 2
    assert (verdict["status"], verdict["bound"], verdict["variables"]) == ("match", count, count)
    assert verdict["unexpected"] == []


@every_kind
def test_export_of_every_kind_is_checked_against_tensorflows_own_restore(exports: dict[str, Any], kind: str) -> None:
    check = exports[kind]["check"]
    assert (check["status"], check["reference"], check["note"]) == ("passed", KINDS[kind].restored_by, "")


@every_kind
def test_import_of_every_kind_gives_the_originals_outputs(imported: dict[str, Any], kind: str) -> None:
    report = imported[kind]
    assert report["uninitialized"] == []
    assert max(report["restored"].values()) <= 1e-5
    assert max(report["frozen"].values()) <= 1e-5


def test_verify_of_a_keras_export_tells_how_it_was_compared(
    saved: Saved, listed: dict[str, Any], verdicts: dict[str, Any]
) -> None:
    verdict = verdicts[listed[str(saved.prefix("3/keras-export"))]["id"]]
    (note,) = verdict["notes"]
    assert "by their places in it" in note
    # Keras 3 saves each variable once more, as its functions have captured them.
    assert {row["key"].partition("/")[0] for row in verdict["bookkeeping"]} == {"_all_variables"}
    assert len(verdict["bookkeeping"]) == 8


@pytest.fixture(scope="module")
def across(saved: Saved, exporter: Exporter, imported: Any) -> dict[str, dict[str, Any]]:
    """Exports of a partitioned checkpoint for a whole model, and the other way round: documents and outputs."""
    folder = saved.folder / "exports"
    asked: dict[str, tuple[Path, Path, tuple[str, ...]]] = {
        "3/partitioned": (saved.prefix("3/partitioned"), folder / "whole.meta", ("--set", "parts=0")),
        "3/partitioned-v1": (saved.prefix("3/partitioned-v1"), folder / "whole-v1.meta", ("--set", "parts=0")),
        "3/v2": (saved.prefix("3/v2"), folder / "parts.meta", ("--builder", "partitioned", "--set", "parts=5")),
    }
    documents = exporter.export_all((prefix, output, *options) for prefix, output, options in asked.values())
    reports = import_exports(saved, [(output, prefix, kind) for kind, (prefix, output, _) in asked.items()])
    return {kind: {**document, **report} for kind, document, report in zip(asked, documents, reports, strict=True)}


@pytest.mark.parametrize("kind", ["3/partitioned", "3/partitioned-v1", "3/v2"])
def test_export_across_partitions_gives_the_originals_outputs(across: dict[str, Any], kind: str) -> None:
    found = across[kind]
    assert (found["verdict"]["status"], found["verdict"]["variables"]) == ("match", 2)
    assert (found["check"]["status"], found["check"]["reference"]) == ("passed", SAVER)
    assert max(found["restored"].values()) <= 1e-5
    assert max(found["frozen"].values()) <= 1e-5


def test_verify_of_another_width_of_a_partitioned_variable_compares_it_as_a_whole(saved: Saved, cli: Any) -> None:
    outcome = cli("verify", saved.prefix("3/partitioned"), "--builders", saved.builders, "--builder", "wider", "--json")
    assert outcome.status == 1
    (verdict,) = outcome.document["verdicts"]
    row = {"name": "net/kernel", "key": "net/kernel", "place": "net/kernel", "model": [12, 6], "checkpoint": [12, 4]}
    assert {**row, "explained": False} in verdict["shape_mismatches"]


def test_export_of_a_whole_v1_checkpoint_in_shards_takes_its_name_as_well(saved: Saved, cli: Any) -> None:
    name = saved.runs / "3" / "v1-shards" / "model.ckpt-3"
    outcome = cli("verify", name, "--builders", saved.builders, "--json")
    assert (outcome.status, outcome.document["verdicts"][0]["status"]) == (0, "match")


@pytest.mark.parametrize("format", ["saved_model", "checkpoint", "frozen"])
def test_export_of_partitions_in_every_format_is_right(
    saved: Saved, exporter: Exporter, tmp_path: Path, format: str
) -> None:
    prefix = saved.prefix("3/partitioned")
    whole = exporter.export(prefix, tmp_path / "whole", "--format", format)
    partial = exporter.export(
        prefix, tmp_path / "partial", "--format", format, "--builder", "scaled", "--allow-partial"
    )
    assert [whole["check"]["status"], partial["check"]["status"]] == ["passed", "passed"]
    assert whole["verdict"]["status"] == "match"
    row = {"name": "more/scale", "shape": [4], "dtype": "float32"}
    nothing = {"closest": None, "closest_place": None, "explained": False}
    assert partial["verdict"]["missing"] == [{**row, "path": "more/scale", **nothing}]
