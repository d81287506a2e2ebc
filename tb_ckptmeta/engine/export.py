"""Export a checkpoint's model, and check the export before it goes anywhere. Runs in the caller's process."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tb_ckptmeta.core.checkpoint import Checkpoint
from tb_ckptmeta.core.contents import Contents
from tb_ckptmeta.core.dependencies import Dependencies
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.formats import READS_WEIGHTS, Format
from tb_ckptmeta.core.job import EXPORT, INPUTS, REFERENCE, Check, Export, Rebuild, Reference, Source
from tb_ckptmeta.core.renames import parse_renames
from tb_ckptmeta.core.verdict import MATCH, MISMATCH, Verdict
from tb_ckptmeta.engine.background import call_in_background
from tb_ckptmeta.engine.process import OnSteps, Step
from tb_ckptmeta.engine.rebuild import Rebuilder, read_artifacts, write_contents
from tb_ckptmeta.engine.stop import Stop
from tb_ckptmeta.engine.unrestorable import add_restore_note, require_restorable
from tb_ckptmeta.engine.verify import verify

_RENAME = "--rename"
PASSED = "passed"
SKIPPED = "skipped"


@dataclass(frozen=True)
class CheckReport:
    """How the check of an export went.

    `reference`: what restored the model that it was compared with. `max_abs_difference` over all outputs of
    inexact types, `tolerance` the smallest of theirs; None where every output is compared for equality. SKIPPED also
    where nothing could be compared: the note says why, as it does of single outputs.
    """

    status: str
    reference: str | None = None
    max_abs_difference: float | None = None
    tolerance: float | None = None
    note: str = ""

    def as_json(self) -> dict[str, Any]:
        return dict(vars(self))


@dataclass(frozen=True)
class Exported:
    """An export that waits in `folder`, ours, with its verdict and its check.

    `inputs`, `outputs`: signature name -> tensor name. `linked`: whether it has files in common with the checkpoint.
    `dependencies`: what user code read for it, and for its verdict.
    """

    folder: Path
    format: Format
    verdict: Verdict
    check: CheckReport
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    linked: bool
    dependencies: Dependencies


def export(
    rebuilder: Rebuilder,
    checkpoint: Checkpoint,
    contents: Contents,
    source: Source,
    format: Format,
    folder: Path,
    *,
    allow_partial: bool = False,
    check: bool = True,
    on_steps: OnSteps | None = None,
    cancelled: threading.Event | None = None,
    url: str | None = None,
) -> Exported:
    """Rebuild, verify, export into `folder`, and compare the export with the model as TensorFlow restores it.

    The reference is made in a second worker while the first one rebuilds: neither knows the other's binding. `url`: the
    prefix of a remote checkpoint, for its provenance; a check, and the formats that take the weights along, need
    `checkpoint` to be a local copy.

    Raises:
        CkptMetaError: NOT_MATCHING where the verdict forbids the export, CHECK_FAILED where the check does,
            CHECKPOINT_UNREADABLE where TensorFlow cannot restore from a prefix of that name; else as the workers say.
    """
    if check or format.name in READS_WEIGHTS:
        require_restorable(checkpoint, contents)
    progress = _Progress(on_steps)
    stop = Stop(cancelled)
    rebuilding, referring = _make_folder(folder, "rebuild", contents), _make_folder(folder, "reference", contents)
    provenance = {
        "checkpoint": {"name": checkpoint.name, "format": contents.format, "fingerprint": contents.fingerprint}
    }
    if url is not None:
        provenance["checkpoint"]["url"] = url
    prefix = checkpoint.prefix if checkpoint.listed is not None else os.path.abspath(checkpoint.prefix)
    asked = Export(format.name, prefix, contents.format)
    job = Rebuild(source, rebuilder.limits, export=asked, allow_partial=allow_partial, provenance=provenance)
    reference: Future[Any] | None = None
    try:
        if check:
            reference = call_in_background(
                "ckptmeta-reference",
                lambda: _make_reference(rebuilder, source, checkpoint, allow_partial, referring, progress, stop.event),
            )
        value = rebuilder.run(job, rebuilding, on_steps=progress.of("rebuild"), cancelled=stop.event)
        artifacts = read_artifacts(rebuilding, value)
        renames = parse_renames(source.renames)
        verdict = verify(checkpoint.id, source.registered, source.arguments, artifacts.rebuilt, contents, renames)
        verdict = add_restore_note(verdict, checkpoint, contents)
        if not value["exported"]:
            raise _refuse(verdict, checkpoint, source, allow_partial)
        referred = reference.result() if reference is not None else None
    except BaseException:
        stop.event.set()
        raise
    finally:
        stop.close()
        if reference is not None:
            wait([reference])  # its files lie in the folder, which the caller takes away
    made, target = value["exported"], rebuilding / EXPORT
    if made["linked"]:
        _link_variables(checkpoint, target)
    if referred is None:
        report = CheckReport(
            SKIPPED, note="Not checked: the check was left out, as asked for (on the command line --no-check)."
        )
    else:
        _take_over(referring, checking := _make_folder(folder, "check", contents))
        check_job = Check(
            str(target),
            format.name,
            os.path.abspath(checkpoint.prefix),
            made["inputs"],
            made["outputs"],
            tuple(row["name"] for row in verdict.missing),
            rebuilder.limits,
        )
        try:
            with rebuilder.slot(cancelled):
                value = rebuilder.run_worker(
                    check_job, checking, "The check", on_steps=progress.of("check"), cancelled=cancelled
                )
        except CkptMetaError as error:
            # Why outputs differ often stands in the verdict: constants of the builder, say, which it drew at random.
            lines = [error.details, *(f"note: {note}" for note in verdict.notes)]
            raise CkptMetaError(error.code, error.message, "\n".join(line for line in lines if line)) from error
        report = _make_report(referred, value, verdict, format)
    return Exported(
        target,
        format,
        verdict,
        report,
        made["inputs"],
        made["outputs"],
        made["linked"],
        artifacts.dependencies,
    )


def _link_variables(checkpoint: Checkpoint, folder: Path) -> None:
    """Put the checkpoint's own files beside a `saved_model.pb`, as links: they are copied last, or never."""
    variables = folder / "variables"
    variables.mkdir()
    for file in checkpoint.files:
        ending = os.path.basename(file).removeprefix(os.path.basename(checkpoint.prefix))
        (variables / f"variables{ending}").symlink_to(os.path.realpath(file))


def _make_reference(
    rebuilder: Rebuilder,
    source: Source,
    checkpoint: Checkpoint,
    allow_partial: bool,
    folder: Path,
    progress: _Progress,
    cancelled: threading.Event,
) -> Any:
    job = Reference(source, rebuilder.limits, os.path.abspath(checkpoint.prefix), allow_partial)
    subject = f"The check of {_lower(source.title)}"
    try:
        with rebuilder.slot(cancelled):
            return rebuilder.run_worker(job, folder, subject, on_steps=progress.of("reference"), cancelled=cancelled)
    except CkptMetaError as error:
        if error.code is Code.BUILDER_OUT_OF_MEMORY:
            message = (
                f"{error.message} The check gives every weight memory; without it (on the command line "
                "--no-check) none is needed."
            )
            raise CkptMetaError(error.code, message, error.details) from error
        raise


def _take_over(referring: Path, checking: Path) -> None:
    for name in (INPUTS, REFERENCE):
        (referring / name).rename(checking / name)


# Of the formats that are run by TensorFlow, the one whose weights are constants.
_KERNELS = (
    "It ran without oneDNN's kernels (TF_ENABLE_ONEDNN_OPTS=0). TensorFlow uses them by default where the processor "
    "has them, and they may put a frozen graph's outputs farther off."
)


def _make_report(
    referred: Mapping[str, Any], value: Mapping[str, Any], verdict: Verdict, format: Format
) -> CheckReport:
    notes = []
    if not referred["independent"]:
        notes.append(
            "It compares only with our own binding of names to variables: TensorFlow itself does not restore this."
        )
    if verdict.status != MATCH:
        notes.append("Variables that nothing restores were given the same values on both sides.")
    if format.name == "frozen":
        notes.append(_KERNELS)
    silent = value["not_compared"]
    notes += [f"Output {name!r} was not compared, but for its shape and type: {why}." for name, why in silent.items()]
    compared = set(value["outputs"]) - set(silent)
    if not compared:
        notes.insert(0, "Nothing could be compared.")
    return CheckReport(
        PASSED if compared else SKIPPED,
        referred["restored_by"],
        value["max_abs_difference"] if compared else None,
        value["tolerance"] if compared else None,
        " ".join(notes),
    )


def _lower(title: str) -> str:
    return title[:1].lower() + title[1:]


def _refuse(verdict: Verdict, checkpoint: Checkpoint, source: Source, allow_partial: bool) -> CkptMetaError:
    hint = ""
    proposed = [f"{_RENAME} {row['from']}={row['to']}" for row in verdict.renames if not row["applied"]]
    if verdict.renamed_status == MATCH:
        hint = (
            " It would match under renames that it proposes, once you have looked at them (on the command line "
            f"{' '.join(proposed)})."
        )
    elif verdict.status != MISMATCH and not allow_partial:
        rest = ", the rest with the builder's own initial values" if verdict.missing else ""
        hint = f" To export it all the same{rest}, allow a partial export (on the command line --allow-partial)."
    lines = [
        *(f"missing in the checkpoint: {r['name']} {r['shape']} {r['dtype']}" for r in verdict.missing),
        *(f"unexpected in the checkpoint: {r['place']} {r['shape']} {r['dtype']}" for r in verdict.unexpected),
        *(
            f"shape differs: {r['name']} is {r['model']}, {r['place']} is {r['checkpoint']}"
            for r in verdict.shape_mismatches
        ),
        *(
            f"dtype differs: {r['name']} is {r['model']}, {r['place']} is {r['checkpoint']}"
            for r in verdict.dtype_mismatches
        ),
        *(f"note: {note}" for note in verdict.notes),
    ]
    return CkptMetaError(
        Code.NOT_MATCHING,
        f"Checkpoint {checkpoint.name} and {_lower(source.title)} do not match, and nothing was exported. "
        f"{verdict.summary()}.{hint}",
        "\n".join(lines),
    )


def _make_folder(parent: Path, name: str, contents: Contents) -> Path:
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=parent))
    write_contents(contents, folder)
    return folder


@dataclass
class _Progress:
    """The steps of several workers as one list: those of the rebuild, of the reference, of the check."""

    on_steps: OnSteps | None
    _steps: dict[str, list[Step]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def of(self, worker: str) -> Callable[[list[Step]], None]:
        def tell(steps: list[Step]) -> None:
            with self._lock:
                self._steps[worker] = steps
                if self.on_steps is not None:
                    order = [w for w in ("rebuild", "reference", "check") if w in self._steps]
                    self.on_steps([Step(f"{w}: {s.name}", s.seconds) for w in order for s in self._steps[w]])

        return tell
