"""Carry out a batch as an Apache Beam pipeline, with any of its runners. Runs in the caller and in Beam's workers.

The one module that imports Beam. Beam's workers are callers like any other: they import no TensorFlow and run no user
code, and have worker processes for both. Each leaves a line in a file of its own when an item is done, so that a
pipeline which fails loses what it was doing, and no more.
"""

from __future__ import annotations

import hashlib
import json
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions

from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.job import Limits, Spec
from tb_ckptmeta.engine.batch_parts import FolderParts, Parts, PatientParts, find_folder, parse
from tb_ckptmeta.engine.batch_patience import Patience
from tb_ckptmeta.engine.batch_plan import Item, Task
from tb_ckptmeta.engine.batch_pool import choose_workers
from tb_ckptmeta.engine.batch_work import Line, carry_out
from tb_ckptmeta.engine.workspace import Workspace

_LOOK_EVERY = 0.5


def find_beam_parts(results: Path, arguments: Sequence[str]) -> tuple[Parts, str]:
    """Return where Beam's workers leave lines, and its address: below `--temp_location`, else beside the results.

    Raises:
        CkptMetaError: BAD_REQUEST for a location that Beam cannot use.
    """
    temporary = PipelineOptions(list(arguments)).view_as(GoogleCloudOptions).temp_location
    if not temporary:
        address = str(find_folder(results))
        return _open_parts(address), address
    name = hashlib.sha256(str(results).encode("utf-8", "surrogateescape")).hexdigest()[:24]
    try:
        address = FileSystems.join(temporary, f"ckptmeta-{name}")
        _UrlParts(address).list()  # tells whether it can be reached
    except Exception as error:  # each of Beam's file systems has errors of its own
        message = f"Beam cannot use --temp_location={temporary}: {_first_line(error)}"
        raise CkptMetaError(Code.BAD_REQUEST, message) from error
    return _open_parts(address), address


def run_pipeline(
    items: Sequence[Item],
    task: Task,
    specs: Sequence[Spec],
    limits: Limits,
    workers: int | None,
    address: str,
    arguments: Sequence[str],
    on_line: Callable[[Line], None],
) -> None:
    """Carry out every item as a pipeline; `on_line` gets each line as it comes, in another thread.

    Args:
        workers: how many worker processes each of Beam's may have at a time; None is what its machine bears.
        address: where lines are left (`find_beam_parts`).
        arguments: Beam's own options.

    Raises:
        CkptMetaError: WORKER_FAILED where the pipeline failed; as `on_line`.
        KeyboardInterrupt: also where it hit a runner in this process.
    """
    settings = json.dumps(
        {
            "task": asdict(task),
            "specs": [vars(spec) for spec in specs],
            "limits": vars(limits),
            "workers": workers,
            "address": address,
        }
    )
    _CANCELLED.clear()
    parts = _open_parts(address)
    gathering = _Gathering(parts, on_line)
    try:
        with beam.Pipeline(options=PipelineOptions(list(arguments))) as pipeline:
            _ = (
                pipeline
                | "Checkpoints" >> beam.Create([json.dumps(item.as_json()) for item in items])
                | "Spread" >> beam.Reshuffle()
                | "Carry out" >> beam.ParDo(_CarryOut(settings))
            )
    except Exception as error:
        interrupt = _find_interrupt(error)
        if interrupt is not None:
            raise interrupt from None
        raise CkptMetaError(
            Code.WORKER_FAILED,
            f"The Beam pipeline failed with {type(error).__name__}: {_first_line(error)} What was done until then is "
            "in the results; the same command goes on from there.",
            "".join(traceback.format_exception(error)[-8:]),
        ) from error
    finally:
        _CANCELLED.set()  # of an interrupted pipeline, ends what a runner in this process still does
        gathering.finish()
    parts.close()
    if gathering.error is not None:
        raise gathering.error


def _find_interrupt(error: BaseException | None) -> KeyboardInterrupt | None:
    """Return the Ctrl-C, or what else ends the command, that an error comes of: Beam makes another error of it."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return error
        error = error.__cause__ or error.__context__
    return None


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0].rstrip(".") + "." if lines else ".")[:400]


class _CarryOut(beam.DoFn):  # type: ignore[misc]
    """Verifies or exports one checkpoint: JSON in, and its title out when its line is left.

    What it holds until it is set up is text, for Beam pickles it.
    """

    def __init__(self, settings: str) -> None:
        self._settings = settings

    def setup(self) -> None:
        value = json.loads(self._settings)
        self._task = Task.from_json(value["task"])
        self._parts = _open_parts(value["address"])
        self._workspace, self._patience = _SHARED.take(self._settings, value)

    def process(self, text: str) -> Iterator[str]:
        item = Item.from_json(json.loads(text))
        line = carry_out(self._workspace, self._task, item, patience=self._patience, cancelled=_CANCELLED)
        name = hashlib.sha256(item.checkpoint.prefix.encode("utf-8", "surrogateescape")).hexdigest()[:32]
        self._parts.write(f"{name}.json", line)
        yield item.title

    def teardown(self) -> None:
        _SHARED.give_back(self._settings)


class _Shared:
    """The workspaces of this process: Beam makes a DoFn for each of its threads, and a workspace serves them all."""

    def __init__(self) -> None:
        self._held: dict[str, tuple[int, Workspace, Patience]] = {}
        self._lock = threading.Lock()

    def take(self, key: str, value: Mapping[str, Any]) -> tuple[Workspace, Patience]:
        with self._lock:
            if key not in self._held:
                specs = [Spec(**spec) for spec in value["specs"]]
                workers = value["workers"] or choose_workers()
                workspace = Workspace([], specs, Limits(**value["limits"]), workers=workers)
                self._held[key] = (0, workspace, Patience())
            count, workspace, patience = self._held[key]
            self._held[key] = (count + 1, workspace, patience)
            return workspace, patience

    def give_back(self, key: str) -> None:
        with self._lock:
            count, workspace, patience = self._held.pop(key)
            if count > 1:
                self._held[key] = (count - 1, workspace, patience)
                return
        workspace.close()


_SHARED = _Shared()
_CANCELLED = threading.Event()


class _Gathering:
    """A thread that looks for lines as they come."""

    def __init__(self, parts: Parts, on_line: Callable[[Line], None]) -> None:
        self.error: CkptMetaError | None = None
        self._parts, self._on_line = parts, on_line
        self._taken: set[str] = set()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ckptmeta-gathering", daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """Take what has come since the last look."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            ended = False
            while not ended:
                ended = self._ended.wait(_LOOK_EVERY)
                try:
                    self._look()
                    self.error = None
                except CkptMetaError as error:
                    self.error = error
                    # Where the lines lie may be reached again before the pipeline ends, which may take hours.
                    if error.code is not Code.WORKER_FAILED:
                        return
        except Exception as error:
            self.error = CkptMetaError(
                Code.WORKER_FAILED, f"Results cannot be gathered: {type(error).__name__}: {_first_line(error)}"
            )

    def _look(self) -> None:
        for name in self._parts.list():
            if name not in self._taken:  # Beam may do an item twice
                line = self._parts.read(name)
                if line is None:
                    continue
                self._on_line(line)
                self._taken.add(name)
            self._parts.forget(name)


class _UrlParts:
    """A folder of any of Beam's file systems with a file for each line; a file appears there whole."""

    def __init__(self, address: str) -> None:
        self._address = address

    def write(self, name: str, line: Line) -> None:
        with FileSystems.create(self._join(name), mime_type="application/json") as file:
            file.write(json.dumps(line, allow_nan=False).encode("ascii"))

    def list(self) -> list[str]:
        (found,) = FileSystems.match([self._join("*.json")])
        return sorted(m.path.rpartition("/")[2] for m in found.metadata_list)

    def read(self, name: str) -> Line | None:
        with FileSystems.open(self._join(name)) as file:
            data = file.read()
        return parse(data)

    def forget(self, name: str) -> None:
        path = self._join(name)
        try:
            FileSystems.delete([path])
        except Exception:
            if FileSystems.exists(path):  # else an attempt that seemed to fail has not
                raise

    def close(self) -> None:
        """Nothing is left but what is forgotten already."""

    def _join(self, name: str) -> str:
        joined: str = FileSystems.join(self._address, name)
        return joined


def _open_parts(address: str) -> Parts:
    return PatientParts(_UrlParts(address) if "://" in address else FolderParts(Path(address)), address)
