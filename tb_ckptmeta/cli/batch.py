"""`tb-ckptmeta batch verify` and `tb-ckptmeta batch export`."""

from __future__ import annotations

import argparse
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from tb_ckptmeta.cli.batch_checks import (
    get_logdirs,
    get_output,
    make_folder,
    require_beam,
    require_builders,
    require_outside,
    require_seen,
)
from tb_ckptmeta.cli.batch_summary import Summary, print_summary
from tb_ckptmeta.cli.choose import pair_as_asked
from tb_ckptmeta.cli.ending import describe_ending, get_ending_status
from tb_ckptmeta.cli.output import Progress, print_error, print_json
from tb_ckptmeta.cli.setup import make_workspace, read_builders
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.formats import get_format
from tb_ckptmeta.core.renames import parse_renames
from tb_ckptmeta.engine.batch import begin, begin_anew, end, take_over
from tb_ckptmeta.engine.batch_others import find_others
from tb_ckptmeta.engine.batch_parts import find_parts
from tb_ckptmeta.engine.batch_patience import Patience
from tb_ckptmeta.engine.batch_plan import RESULTS, Item, Task, plan
from tb_ckptmeta.engine.batch_pool import choose_workers, run_pool
from tb_ckptmeta.engine.batch_results import Results
from tb_ckptmeta.engine.batch_work import Line, carry_out, make_title
from tb_ckptmeta.engine.process import Step
from tb_ckptmeta.engine.workspace import Workspace


def verify_batch(options: argparse.Namespace) -> int:
    """Verify every checkpoint of the logdirs. Status 1 where one does not match, 3 where there is no verdict."""
    return _run(options, Task(renames=tuple(options.rename)), get_output(options.output))


def export_batch(options: argparse.Namespace) -> int:
    """Export every checkpoint of the logdirs. Status 1 where one is refused, 3 where one cannot be exported."""
    format = get_format(options.format)
    folder = get_output(options.output)
    renames = tuple(options.rename)
    task = Task(str(folder), format.name, options.allow_partial, not options.no_check, options.copy, renames)
    return _run(options, task, folder / RESULTS)


def _run(options: argparse.Namespace, task: Task, output: Path) -> int:
    logdirs, chosen = get_logdirs(options.logdirs), options.workers
    options.workers = chosen or choose_workers()
    parse_renames(options.rename)  # before anything is waited for
    if options.beam is not None:
        require_beam()
    if task.folder is not None:
        make_folder(task.folder)
    elif not output.parent.is_dir():
        raise CkptMetaError(Code.OUTPUT_UNWRITABLE, f"There is no folder {output.parent} to write {output.name} into.")
    with (
        Results(output, exports=task.folder is not None, overwrite=options.overwrite) as results,
        make_workspace(options, logdirs) as workspace,
    ):
        return _carry_out(options, logdirs, chosen, task, results, workspace)


def _carry_out(
    options: argparse.Namespace,
    logdirs: Sequence[str],
    chosen: int | None,
    task: Task,
    results: Results,
    workspace: Workspace,
) -> int:
    builders = read_builders(workspace)
    for problem in builders.problems:
        print_error(problem.message, problem.details)
    checkpoints = workspace.list_checkpoints(builders)
    report = workspace.scan(max_age=60.0)
    for text in (*report.problems, *report.notes):
        print_error(text)
    unseen = [CkptMetaError(Code.CHECKPOINT_UNREADABLE, text) for text in report.problems]
    if options.builder is not None:
        builders.get(options.builder)
        # What another SPEC would have claimed does not matter.
        builders = replace(builders, problems=())
    items = plan(checkpoints, builders, task, options.match, lambda c: pair_as_asked(c, builders, options))
    if not items:
        what = f"of {len(checkpoints)} matches {' or '.join(options.match)}" if checkpoints else "is there"
        raise CkptMetaError(Code.NOT_FOUND, f"No checkpoint {what} below {', '.join(options.logdirs)}.")
    if task.folder is not None:
        require_outside(workspace, task, items)
    if options.overwrite:
        others = find_others(results.earlier, items, checkpoints, logdirs, task, dropped=True)
        require_builders(items, builders, results)
        if unseen:
            require_seen(items, others, results)
    beam = None if options.beam is None else _Beam(options.beam, results)
    left_before = [find_parts(results.path), *([] if beam is None else [beam.parts])]
    if options.overwrite:  # not before it is known that there is something to do, and that it can be done
        begin_anew(results, left_before, task)
    else:
        for parts in left_before:
            take_over(results, parts, items, task)
    begun = begin(results, items, builders, task, overwrite=options.overwrite)
    left, unconfirmed = begun.left, {i.checkpoint.prefix for i in begun.unconfirmed}
    telling = _Telling(results, items, left)
    try:
        with telling.progress:
            telling.begin()
            if beam is not None:
                beam.run(left, task, workspace, chosen, telling.add)
            elif left:
                workers = min(chosen or _choose_workers(task, left), len(left))
                _run_here(left, task, workspace, workers, telling)
    except KeyboardInterrupt as interrupt:
        end(results, task)
        done = sum(i.checkpoint.prefix in results.outcomes for i in items)
        print_error(
            f"{describe_ending(interrupt)}: {done} of {len(items)} checkpoints are done, and in {results.path}. The "
            "same command goes on from there."
        )
        return get_ending_status(interrupt)
    end(results, task)
    if not options.overwrite:
        others = find_others(results.outcomes, items, checkpoints, logdirs, task)
    outcomes = [results.outcomes[i.checkpoint.prefix] for i in items if i.checkpoint.prefix in results.outcomes]
    summary = Summary(
        results.path,
        [o for o in outcomes if o.prefix not in unconfirmed],
        [o for o in outcomes if o.prefix in unconfirmed],
        len(items) - len(left) - len(unconfirmed),
        len(items) - len(outcomes),
        (*builders.problems, *unseen),
        others,
        task.folder is not None,
    )
    if options.json:
        print_json(summary.as_json())
    else:
        print_summary(summary)
    for problem in summary.problems:  # which were told at the beginning, hours ago
        print_error(problem.message)
    if beam is not None and summary.lost:
        print_error(
            f"{summary.lost} results have not come back from Beam's workers. They leave them at {beam.address}, which "
            "has to be a place that this machine and they share: give one with --temp_location."
        )
    return summary.status


class _Telling:
    """Puts lines into the results and tells a terminal how far the batch is. Safe for threads."""

    def __init__(self, results: Results, items: Sequence[Item], left: Sequence[Item]) -> None:
        self.progress = Progress("")
        self._results = results
        self._all, self._done, self._no = len(items), len(items) - len(left), 0
        self._lock = threading.Lock()

    def begin(self) -> None:
        self._show("")

    def add(self, line: Line) -> None:
        outcome = self._results.append(line)
        with self._lock:
            self._done += 1
            self._no += not outcome.agrees
        self._show(make_title(line["run"], line["name"]))

    def tell(self, item: Item, steps: list[Step]) -> None:
        running = [s.name for s in steps if s.seconds is None]
        if running:
            self._show(f"{item.title}: {running[-1]}")

    def _show(self, what: str) -> None:
        with self._lock:
            no = f" ({self._no} do not agree)" if self._no else ""
            self.progress.show(f"{self._done} of {self._all} done{no}  {what}")


def _run_here(items: Sequence[Item], task: Task, workspace: Workspace, workers: int, telling: _Telling) -> None:
    patience = Patience()
    run_pool(
        items,
        lambda item, on_steps, cancelled: carry_out(
            workspace, task, item, patience=patience, on_steps=on_steps, cancelled=cancelled
        ),
        workers,
        telling.add,
        telling.tell,
    )


class _Beam:
    """Apache Beam, with its own options."""

    def __init__(self, arguments: Sequence[str], results: Results) -> None:
        """Look whether Beam can use what it is given.

        Raises:
            CkptMetaError: BAD_REQUEST.
        """
        from tb_ckptmeta.engine import batch_beam

        self._arguments = arguments
        self.parts, self.address = batch_beam.find_beam_parts(results.path, arguments)

    def run(
        self,
        items: Sequence[Item],
        task: Task,
        workspace: Workspace,
        workers: int | None,
        on_line: Callable[[Line], None],
    ) -> None:
        from tb_ckptmeta.engine import batch_beam

        if items:
            specs, limits = workspace.registry.specs, workspace.limits
            batch_beam.run_pipeline(items, task, specs, limits, workers, self.address, self._arguments, on_line)


def _choose_workers(task: Task, items: Sequence[Item]) -> int:
    weights = 0 if task.folder is None or not task.check else max(i.checkpoint.bytes for i in items)
    return choose_workers(weights)
