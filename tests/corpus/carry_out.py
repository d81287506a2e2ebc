"""Carry rows out: train and write in one process, export, read in a process without the models' source."""

from __future__ import annotations

import importlib.util
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reading import read_exports
from rows.row import Row
from tensorboard.compat.proto import meta_graph_pb2
from writing import write_checkpoints

from tb_ckptmeta.core.errors import CkptMetaError
from tb_ckptmeta.engine.workspace import Workspace, open_workspace

HERE = Path(__file__).parent
LARGEST_GROUP = 20

TENSORFLOW = ("import_meta_graph", "freeze_graph")
SAVED_MODEL = ("saved_model_cli", "tf.saved_model.load", "v1.saved_model.load")
OTHERS = {"tf2onnx --checkpoint": ("tf2onnx", "onnxruntime"), "OpenVINO": ("openvino",)}
"""Clients that are no part of TensorFlow, and what they need: many models are beyond them, and the table says which."""
FOREIGN_TOLERANCE = 100
"""How much farther apart the outputs of another runtime may be: its kernels add up in another order."""


@dataclass
class Outcome:
    """What became of a row. `error`: what the product said instead of an export; `broken`: what failed around it."""

    row: Row
    weights: int = 0
    variables: int = 0
    bound: int = 0
    nodes: int = 0
    status: str = ""
    notes: tuple[str, ...] = ()
    check: str = ""
    check_note: str = ""
    check_difference: float | None = None
    error: CkptMetaError | None = None
    tensors: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    clients: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    skipped: str = ""
    broken: str = ""
    seconds: float = 0.0

    def find_surprises(self) -> list[str]:
        """Return what is not as the row expects it."""
        row = self.row
        if self.broken:
            return [self.broken]
        said = "\n".join(
            [*self.notes, self.check_note, *([self.error.message, self.error.details] if self.error else [])]
        )
        found = [] if row.says in said else [f"{row.says!r} is not said, but: {said}"]
        if row.refused is not None:
            code = self.error.code.value if self.error else f"an export ({self.status})"
            return found if code == row.refused else [*found, f"expected the refusal {row.refused}, got {code}: {said}"]
        if self.error is not None:
            return [f"refused: {self.error.code.value}: {self.error.message}\n{self.error.details}"]
        if self.status != row.status:
            found.append(f"verdict {self.status}, expected {row.status}")
        # Of outputs that are all random the check can tell nothing, and says so.
        silent = self.check == "skipped" and set(self.tensors.get("outputs", ())) == set(row.random)
        if self.check != "passed" and not silent:
            found.append(f"check {self.check}: {self.check_note}")
        for client, outcome in self.clients.items():
            if client in row.unread:
                if row.unread[client] not in describe_reading(outcome):
                    found.append(f"{client} is expected to say {row.unread[client]!r}: {outcome}")
            elif "error" in outcome and client in OTHERS:
                continue  # its own limit, which the table names
            elif "error" in outcome or not self._is_within(client, outcome):
                found.append(f"{client}: {outcome}")
        return found

    def _is_within(self, client: str, outcome: Mapping[str, Any]) -> bool:
        if client not in OTHERS or outcome["within"]:
            return bool(outcome["within"])
        return bool(outcome["difference"] <= FOREIGN_TOLERANCE * self.row.tolerance)

    @property
    def difference(self) -> float | None:
        """The largest difference of what TensorFlow's own clients read from what the training script had."""
        values = [o["difference"] for c, o in self.clients.items() if c not in OTHERS and "difference" in o]
        return max(values, default=None)


def describe_reading(outcome: Mapping[str, Any]) -> str:
    """Return why a client has not read an export as TensorFlow's do, or an empty text."""
    if "error" in outcome:
        return str(outcome["error"])
    return "" if outcome["within"] else f"its outputs are off by {outcome['difference']:.1e}"


def carry_out(
    rows: Iterable[Row],
    folder: Path,
    tell: Callable[[Outcome], None] = lambda _: None,
    clients: Iterable[str] = TENSORFLOW,
) -> dict[str, Outcome]:
    """Carry rows out in `folder`; `tell` is called with each outcome once it is known."""
    outcomes = {row.id: Outcome(row) for row in rows}
    for outcome in outcomes.values():
        needs = outcome.row.needs
        if needs is not None and importlib.util.find_spec(needs) is None:
            outcome.skipped = f"{needs} is not installed"
            tell(outcome)
    todo = [o.row for o in outcomes.values() if not o.skipped]
    groups = [
        [(f"{keras}-{start}"), of_keras[start : start + LARGEST_GROUP]]
        for keras in ("3", "legacy")
        for of_keras in [[row for row in todo if row.keras == keras]]
        for start in range(0, len(of_keras), LARGEST_GROUP)
    ]
    asked = tuple(clients)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda group: _carry_out_group(group[1], folder / group[0], outcomes, tell, asked), groups))
    return outcomes


def find_clients() -> list[str]:
    """Return every client that is installed."""
    others = [c for c, needs in OTHERS.items() if all(importlib.util.find_spec(n) is not None for n in needs)]
    return [*TENSORFLOW, *SAVED_MODEL, *others]


def _carry_out_group(
    rows: list[Row],
    place: Path,
    outcomes: Mapping[str, Outcome],
    tell: Callable[[Outcome], None],
    clients: tuple[str, ...],
) -> None:
    (place / "exports").mkdir(parents=True)
    source = Path(shutil.copytree(HERE / "builders", place / "source", ignore=shutil.ignore_patterns("__pycache__")))
    families = list(dict.fromkeys(row.family for row in rows))
    specs = [str(source / f"{family}.py") for family in families]
    written = write_checkpoints([row.as_json() for row in rows], specs, rows[0].keras, place)
    for row in rows:
        outcomes[row.id].broken = _cannot_write(written.get(row.id))
    formats = ["metagraph", *(["saved_model"] if any(c in SAVED_MODEL for c in clients) else [])]
    exported = []
    with open_workspace(str(place / "runs"), builders=specs) as workspace:
        for row in rows:
            outcome = outcomes[row.id]
            if outcome.broken:
                tell(outcome)
                continue
            began = time.monotonic()
            outcome.weights = written[row.id]["weights"]
            try:
                _export(workspace, row, place, outcome, formats)
                exported.append(row)
            except CkptMetaError as error:
                outcome.error = error
            outcome.seconds = time.monotonic() - began
            if outcome.error is not None:
                tell(outcome)
    # A reader has none of it: no module, and no vocabulary file either.
    source.rename(place / "source, out of reach")
    _read(exported, place, written, outcomes, families, clients)
    for row in exported:
        tell(outcomes[row.id])


def _cannot_write(written: Mapping[str, Any] | None) -> str:
    if written is None:
        return "the training script ended before this row"
    return f"the training script fails: {written['error']}" if "error" in written else ""


def _export(workspace: Workspace, row: Row, place: Path, outcome: Outcome, formats: Iterable[str]) -> None:
    builders = workspace.registry.read()
    (checkpoint,) = [c for c in workspace.list_checkpoints(builders) if c.run == row.id]
    choice = workspace.choose(checkpoint)
    for format in formats:
        target = _export_path(place, row, format)
        exported = workspace.export_to(choice, format, target, allow_partial=row.partial).exported
        if format == "metagraph":
            verdict, check = exported.verdict, exported.check
            outcome.status, outcome.variables, outcome.bound = verdict.status, verdict.variables, verdict.bound
            outcome.notes, outcome.check, outcome.check_note = tuple(verdict.notes), check.status, check.note
            outcome.check_difference = check.max_abs_difference
            outcome.nodes = len(meta_graph_pb2.MetaGraphDef.FromString(target.read_bytes()).graph_def.node)
            outcome.tensors = {"inputs": dict(exported.inputs), "outputs": dict(exported.outputs)}


def _read(
    rows: list[Row],
    place: Path,
    written: Mapping[str, Any],
    outcomes: Mapping[str, Outcome],
    hidden: list[str],
    clients: tuple[str, ...],
) -> None:
    """Let processes without the models' source read the exports; the training script's files are moved away, too."""
    if not rows:
        return
    asked = [
        {
            "id": row.id,
            "prefix": _find_prefix(place, row, written),
            "inputs": str(place / "kept" / f"{row.id.replace('/', '-')}.inputs.npz"),
            "outputs": str(place / "kept" / f"{row.id.replace('/', '-')}.outputs.npz"),
            "exports": {f: str(_export_path(place, row, f)) for f in ("metagraph", "saved_model")},
            "tensors": outcomes[row.id].tensors,
            "tolerance": row.tolerance,
            "random": row.random,
            "clients": clients,
        }
        for row in rows
    ]
    found = read_exports(asked, place / "reading", hidden)
    for row in rows:
        outcomes[row.id].clients = found[row.id]


def _find_prefix(place: Path, row: Row, written: Mapping[str, Any]) -> str:
    """Return what an export restores from: the original checkpoint, but of Keras' own files the one beside it."""
    if row.how in ("keras", "weights.h5"):
        return str(_export_path(place, row, "metagraph").with_suffix(""))
    return str(written[row.id]["prefix"])


def _export_path(place: Path, row: Row, format: str) -> Path:
    return place / "exports" / f"{row.id.replace('/', '-')}.{'meta' if format == 'metagraph' else format}"
