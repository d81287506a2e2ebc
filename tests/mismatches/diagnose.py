"""Take the verdicts of mismatches, in the words of their rows; mend what can be mended, and read it back."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mismatch import Mismatch
from reading import read_exports
from writing import write_checkpoints

from tb_ckptmeta.core.errors import CkptMetaError
from tb_ckptmeta.core.verdict import MATCH, Verdict
from tb_ckptmeta.engine.scan import find_by_prefix
from tb_ckptmeta.engine.workspace import Workspace, open_workspace

BUILDERS = Path(__file__).with_name("builders")
CLIENT = "import_meta_graph"


@dataclass
class Diagnosis:
    """What was found: `said` by the fields of the row; `outcome` of the client that read the export."""

    said: Mapping[str, Any] = field(default_factory=dict)
    notes: str = ""
    mended: str = ""
    check: str = ""
    outcome: Mapping[str, Any] = field(default_factory=dict)
    broken: str = ""


def diagnose(rows: Iterable[Mismatch], place: Path) -> dict[str, Diagnosis]:
    """Write the checkpoints of the rows, all of one Keras, and return what becomes of each, by its id."""
    rows = list(rows)
    families = sorted({row.family for row in rows})
    source = Path(shutil.copytree(BUILDERS, place / "source", ignore=shutil.ignore_patterns("__pycache__")))
    specs = {family: str(source / f"{family}.py") for family in families}
    written = write_checkpoints([row.as_write_row() for row in rows], specs.values(), rows[0].keras, place / "written")
    found = {row.id: Diagnosis() for row in rows}
    asked = []
    (place / "exports").mkdir()
    for family in families:
        with open_workspace(builders=[specs[family]]) as workspace:
            for row in (r for r in rows if r.family == family):
                if "error" in written[row.id]:
                    found[row.id].broken = written[row.id]["error"]
                    continue
                exported = _diagnose(workspace, row, written[row.id]["prefix"], place, found[row.id])
                if exported is not None:
                    asked.append(exported)
    source.rename(place / "source, out of reach")
    outcomes = read_exports(asked, place / "reading", families) if asked else {}
    for id, clients in outcomes.items():
        found[id].outcome = clients[CLIENT]
    return found


def _diagnose(
    workspace: Workspace, row: Mismatch, prefix: str, place: Path, diagnosis: Diagnosis
) -> Mapping[str, Any] | None:
    """Verify and mend one row; return what a client is to read, where there is a match to export."""
    checkpoint = find_by_prefix(prefix)
    assert checkpoint is not None
    builder, arguments = row.now
    choice = workspace.choose(checkpoint, builder, arguments)
    verdict = workspace.verify(choice)
    diagnosis.said, diagnosis.notes = describe(verdict), "\n".join(verdict.notes)
    rules = row.mend or [f"{r['from']}={r['to']}" for r in verdict.renames]
    if rules:
        choice = workspace.choose(checkpoint, builder, arguments, renames=rules)
        verdict = workspace.verify(choice)
        diagnosis.mended = verdict.summary()
    if verdict.status != MATCH:
        return None
    output = place / "exports" / f"{row.id.replace('/', '-')}.meta"
    try:
        exported = workspace.export_to(choice, "metagraph", output).exported
    except CkptMetaError as error:
        diagnosis.broken = f"{error.message}\n{error.details}"
        return None
    diagnosis.check = exported.check.status
    kept = place / "written" / "kept" / row.id.replace("/", "-")
    return {
        "id": row.id,
        "prefix": prefix,
        "inputs": f"{kept}.inputs.npz",
        "outputs": f"{kept}.outputs.npz",
        "exports": {"metagraph": str(output)},
        "tensors": {"inputs": dict(exported.inputs), "outputs": dict(exported.outputs)},
        "tolerance": 1e-6,
        "random": (),
        "clients": (CLIENT,),
    }


def describe(verdict: Verdict) -> dict[str, Any]:
    """Return a verdict in the words of a row."""
    return {
        "summary": verdict.summary(),
        "missing": _list_open(verdict.missing, "name"),
        "unexpected": _list_open(verdict.unexpected, "key"),
        "differ": tuple(
            sorted(
                f"{row['name']} {row['model']} {row['checkpoint']}"
                for row in (*verdict.shape_mismatches, *verdict.dtype_mismatches)
                if not row["explained"]
            )
        ),
        "bookkeeping": len(verdict.bookkeeping),
        "renames": tuple(f"{r['from']} -> {r['to']}, {r['count']} of {r['of']}" for r in verdict.renames),
        "ambiguous": tuple(f"{r['from']} -> {' or '.join(r['to'])}" for r in verdict.ambiguous_renames),
    }


def _list_open(rows: Iterable[Mapping[str, Any]], field: str) -> tuple[str, ...]:
    return tuple(
        sorted(
            _shorten(row[field]) + (f" ~ {_shorten(row['closest'])}" if row["closest"] else "")
            for row in rows
            if not row["explained"]
        )
    )


def _shorten(key: str) -> str:
    return key.removesuffix("/.ATTRIBUTES/VARIABLE_VALUE")
