"""The whole flow over some logdirs and builders: scan, pair, rebuild, verify, export. Runs in the caller's process."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tb_ckptmeta.core.arguments import Scalar, check_arguments
from tb_ckptmeta.core.checkpoint import Checkpoint, Pairing
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.job import Limits, Spec
from tb_ckptmeta.core.source import OBJECTS
from tb_ckptmeta.engine.background import call_in_background
from tb_ckptmeta.engine.cache import Cache, find_cache_folder
from tb_ckptmeta.engine.choice import Choice, get_paired, make_source, settle_arguments, settle_format
from tb_ckptmeta.engine.current import Digests
from tb_ckptmeta.engine.inspect import Inspector
from tb_ckptmeta.engine.listing import Logdir, ScanReport
from tb_ckptmeta.engine.machine import default_memory
from tb_ckptmeta.engine.pair import Pairer, pair
from tb_ckptmeta.engine.process import OnSteps
from tb_ckptmeta.engine.rebuild import Artifacts, Rebuilder
from tb_ckptmeta.engine.registry import Builders, Registry
from tb_ckptmeta.engine.remote import as_path
from tb_ckptmeta.engine.rescan import Rescanner
from tb_ckptmeta.engine.sources import get_source
from tb_ckptmeta.engine.specs import find_installed_specs, parse_specs
from tb_ckptmeta.engine.temporary import temporary_folder
from tb_ckptmeta.engine.warm import Workers

if TYPE_CHECKING:
    from tb_ckptmeta.core.contents import Contents
    from tb_ckptmeta.core.diff import Diff
    from tb_ckptmeta.core.rebuilt import Rebuilt
    from tb_ckptmeta.core.verdict import Verdict
    from tb_ckptmeta.engine.deliver import MayReplace, OnLanding
    from tb_ckptmeta.engine.diff import BuilderCall, Subject
    from tb_ckptmeta.engine.display import Drawing
    from tb_ckptmeta.engine.drawer import Drawer
    from tb_ckptmeta.engine.export import Exported
    from tb_ckptmeta.engine.solve import Solution
    from tb_ckptmeta.engine.which import Ranking
    from tb_ckptmeta.engine.without_builder import SourceReader

# What only some of its methods need is imported by them: TensorBoard waits for this module whenever it starts.

DEFAULT_SECONDS = 600.0
"""How long a worker may take."""

DEFAULT_WORKERS = 2
"""How many may run at a time."""


def open_workspace(
    *logdirs: str,
    builders: Iterable[str] = (),
    seconds: float = DEFAULT_SECONDS,
    memory: int | None = None,
    workers: int = DEFAULT_WORKERS,
) -> Workspace:
    """Return a workspace over some logdirs, with the builders of SPECs and of installed packages.

    Args:
        builders: SPECs, each a module name or the path of a `.py` file.
        seconds: how long one worker process may take.
        memory: how many bytes of memory one worker process may take; None is half of the machine's.
        workers: how many worker processes may run at a time.

    Raises:
        CkptMetaError: BAD_REQUEST for a SPEC that names nothing.
    """
    limits = Limits(seconds, default_memory() if memory is None else memory)
    specs = [*parse_specs(builders), *find_installed_specs()]
    return Workspace([Logdir("", as_path(path)) for path in logdirs], specs, limits, workers=workers)


@dataclass(frozen=True)
class Delivered:
    """An export at its place: `path`, how many bytes it has, and what is known of it."""

    path: Path
    size: int
    exported: Exported


class Workspace:
    """Logdirs and builders, and all that can be done with them. Safe for threads.

    `patience`: how many seconds a SPEC that is being read is waited for; None waits to the end. `workers`: how many
    worker processes may run at a time.
    """

    def __init__(
        self,
        logdirs: Sequence[Logdir],
        specs: Sequence[Spec],
        limits: Limits,
        *,
        patience: float | None = None,
        workers: int = DEFAULT_WORKERS,
    ) -> None:
        self._patience = patience
        self.logdirs = tuple(logdirs)
        self._workers = Workers()
        cache, digests = Cache(find_cache_folder()), Digests()
        self.registry = Registry(specs, limits, self._workers.run, cache=cache, digests=digests)
        self._rebuilder = Rebuilder(limits, workers, run=self._workers.run, cache=cache, digests=digests)
        self._cache = cache
        self._inspector = Inspector()
        self._scanner = Rescanner(self.logdirs)
        self._pairer = Pairer()
        self._prepared: frozenset[str] = frozenset()

    @functools.cached_property
    def _drawer(self) -> Drawer:
        from tb_ckptmeta.engine.drawer import Drawer

        return Drawer(self._cache)

    @functools.cached_property
    def _sources(self) -> SourceReader:
        from tb_ckptmeta.engine.without_builder import SourceReader

        return SourceReader()

    def __enter__(self) -> Workspace:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def limits(self) -> Limits:
        return self._rebuilder.limits

    def close(self) -> None:
        """End what reads builders, and the processes that wait for the next rebuild; what is asked later starts others.

        They end with this process in any case.
        """
        self.registry.close()
        self._workers.close()

    def prepare(self) -> None:
        """Begin to import TensorFlow for the rebuild that somebody who looks may ask for next; nobody waits for it.

        Once with each Keras that the known builders need: a process that ends since nobody asks stays away until then.
        """
        for keras in sorted(self.registry.last().keras - self._prepared):
            self._prepared |= {keras}
            call_in_background("ckptmeta-prepare", functools.partial(self._workers.prepare, keras))

    def prepare_check(self) -> None:
        """Begin to import TensorFlow for the check of an export that will be asked for."""
        self._workers.prepare(references=True)

    def scan(self, *, max_age: float = 0.0) -> ScanReport:
        """List the checkpoints as they are now, or were at most `max_age` seconds ago; without pairings."""
        return self._scanner.scan(max_age)

    def list_checkpoints(self, builders: Builders, *, max_age: float = 0.0) -> list[Checkpoint]:
        """List the checkpoints with their pairings."""
        report = self.scan(max_age=max_age)
        return [self._inspector.apply(c) for c in self._pairer.pair(report, builders)]

    def get_checkpoint(self, id: str) -> Checkpoint:
        """Return the checkpoint of that id.

        Raises:
            CkptMetaError: UNKNOWN_CHECKPOINT.
        """
        for max_age in (60.0, 0.0):  # what was listed a moment ago is asked for now; else look again
            for checkpoint in self.scan(max_age=max_age).checkpoints:
                if checkpoint.id == id:
                    return checkpoint
        raise CkptMetaError(
            Code.UNKNOWN_CHECKPOINT, "There is no checkpoint of this id (any more). Scan again (reload)."
        )

    def read(self, checkpoint: Checkpoint) -> Contents:
        """Return what a checkpoint holds; raises as `Inspector.read`."""
        return self._inspector.read(checkpoint)

    def inspect(self, checkpoint: Checkpoint) -> Checkpoint:
        """Read the index, and return the checkpoint with its format and its true state, whatever that is."""
        return self._inspector.inspect(checkpoint)

    def choose(
        self,
        checkpoint: Checkpoint,
        builder: str | None = None,
        arguments: Mapping[str, Scalar] | None = None,
        *,
        renames: Iterable[str] = (),
        pairing: Pairing | None = None,
    ) -> Choice:
        """Settle the builder and arguments of a checkpoint: what is asked for, else its pairing (or `pairing`).

        Without arguments the paired builder gets the recorded ones. `renames` are rules `FROM=TO` (core.renames).

        Raises:
            CkptMetaError: UNKNOWN_BUILDER, NO_BUILDER, AMBIGUOUS_PAIRING, INVALID_ARGUMENTS, BAD_REQUEST for a rename;
                as the SPECs' modules fail, where that leaves no builder at all.
        """
        from tb_ckptmeta.core.renames import parse_renames

        rules = parse_renames(renames)
        builders = self.registry.read(self._patience)
        if pairing is None:
            # What a record says now counts where nothing else has been asked for.
            pairing = self._pair(checkpoint, builders, 2.0 if builder is None or arguments is None else 60.0)
        if builder is None:
            builder = get_paired(checkpoint, pairing, builders)
        registered = builders.get(builder)
        settled = settle_arguments(registered, arguments, pairing)
        return Choice(checkpoint.with_pairing(pairing), registered, settled, rules)

    def choose_source(self, checkpoint: Checkpoint, kind: str) -> Choice:
        """Return the choice of a source that lies beside a checkpoint, in a builder's stead.

        Raises:
            CkptMetaError: BAD_REQUEST, SOURCE_MISSING.
        """
        return Choice(checkpoint, None, {}, source=get_source(checkpoint, kind))

    def solve(
        self,
        checkpoint: Checkpoint,
        builder: str | None,
        arguments: Mapping[str, Scalar] | None,
        unknown: Sequence[str],
        *,
        renames: Iterable[str] = (),
        pairing: Pairing | None = None,
        on_steps: OnSteps | None = None,
    ) -> Solution:
        """Find the arguments named `unknown`, the builder and the other arguments as in `choose`.

        Raises:
            CkptMetaError: as `choose`, as `engine.solve.solve`, and what keeps the checkpoint from being read.
        """
        from tb_ckptmeta.core.renames import parse_renames
        from tb_ckptmeta.core.solve import check_unknown
        from tb_ckptmeta.engine.solve import make_question, solve
        from tb_ckptmeta.engine.unrestorable import add_restore_note

        rules = parse_renames(renames)
        builders = self.registry.read(self._patience)
        pairing = self._pair(checkpoint, builders) if pairing is None else pairing
        name = get_paired(checkpoint, pairing, builders) if builder is None else builder
        registered = builders.get(name)
        parameters = registered.description.parameters
        check_unknown(name, parameters, unknown)
        if arguments is None:
            arguments = pairing.get_arguments(name)
        # Any integer will do, to see whether the others fit.
        check_arguments(name, parameters, {**arguments, **dict.fromkeys(unknown, 1)})
        contents = self._inspector.read(checkpoint)
        question = make_question(checkpoint.id, contents, registered, arguments, unknown, rules)
        found = solve(
            question, lambda given: self._try(Choice(checkpoint, registered, given, rules), contents), on_steps=on_steps
        )
        noted = found.verdict and add_restore_note(found.verdict, checkpoint, contents)
        return replace(found, verdict=noted)

    def rank_builders(
        self, checkpoint: Checkpoint, *, pairing: Pairing | None = None, on_steps: OnSteps | None = None
    ) -> Ranking:
        """Take the verdict of every registered builder, and propose the one that matches.

        Raises:
            CkptMetaError: NO_BUILDER, or as the SPECs' modules fail, where there is none at all; BUSY while one is
                still being read; what keeps the checkpoint from being read.
        """
        from tb_ckptmeta.engine.which import rank_builders

        builders = self.registry.read(self._patience)
        if not builders.complete:
            raise CkptMetaError(Code.BUSY, "The builders are still being read. Ask again in a moment.")
        if not builders.by_name:
            get_paired(checkpoint, Pairing(reason="none is registered"), builders)
        pairing = self._pair(checkpoint, builders) if pairing is None else pairing
        contents = self._inspector.read(checkpoint)
        return rank_builders(
            checkpoint.id,
            contents,
            list(builders.by_name.values()),
            lambda builder, arguments: self._try(Choice(checkpoint, builder, arguments), contents),
            recorded={} if pairing.builder is None else {pairing.builder: pairing.arguments},
            on_steps=on_steps,
        )

    def _pair(self, checkpoint: Checkpoint, builders: Builders, max_age: float = 2.0) -> Pairing:
        return pair(checkpoint, builders, self.scan(max_age=max_age).find_records(checkpoint))

    def _try(self, choice: Choice, contents: Contents) -> Rebuilt:
        """Rebuild without keeping: one of many tries must not drive out what is shown."""
        return self._rebuilder.rebuild_once(make_source(choice, contents))

    def rebuild(
        self,
        choice: Choice,
        *,
        fresh: bool = False,
        on_steps: OnSteps | None = None,
        cancelled: threading.Event | None = None,
    ) -> Artifacts:
        """Rebuild the model of a choice, or parse its source; raises as the worker says, or `SourceReader.read`."""
        if choice.source is not None:
            from tb_ckptmeta.engine.without_builder import require_graph

            require_graph(choice.source, "there are no operations to show")
        contents = self._inspector.read(choice.checkpoint)
        if choice.source is not None and not choice.source.asked:
            return self._sources.read(choice.checkpoint, choice.source)
        source = make_source(choice, contents)
        return self._rebuilder.rebuild(source, fresh=fresh, on_steps=on_steps, cancelled=cancelled)

    def draw(self, choice: Choice, *, conceptual: bool = False) -> tuple[Drawing, Sequence[str]]:
        """Draw the graph of a choice for the dashboard; return it with the rebuild's notes. Raises as `rebuild`."""
        from tb_ckptmeta.engine.contents_graph import draw_contents
        from tb_ckptmeta.engine.without_builder import set_bookkeeping_aside

        contents = self._inspector.read(choice.checkpoint)
        if choice.source is not None and choice.source.kind == OBJECTS:
            return draw_contents(choice.checkpoint.name, contents), ()
        artifacts = self.rebuild(choice)
        if choice.source is not None and not choice.source.asked:
            contents, _ = set_bookkeeping_aside(artifacts.rebuilt, contents)
        drawing = self._drawer.draw(artifacts, contents, choice.renames, conceptual=conceptual)
        return drawing, artifacts.rebuilt.notes

    def verify(
        self,
        choice: Choice,
        *,
        fresh: bool = False,
        on_steps: OnSteps | None = None,
        cancelled: threading.Event | None = None,
    ) -> Verdict:
        """Return the verdict of a choice; what keeps from one is the verdict's error."""
        return self.take_verdict(choice, fresh=fresh, on_steps=on_steps, cancelled=cancelled)[0]

    def take_verdict(
        self,
        choice: Choice,
        *,
        fresh: bool = False,
        on_steps: OnSteps | None = None,
        cancelled: threading.Event | None = None,
    ) -> tuple[Verdict, Artifacts | None]:
        """As `verify`, with the artifacts of the very rebuild that the verdict is of; None beside an error."""
        from tb_ckptmeta.engine.unrestorable import add_restore_note
        from tb_ckptmeta.engine.verify import make_error_verdict, verify
        from tb_ckptmeta.engine.without_builder import drop_proposals, require_graph, verify_source

        id, name = choice.checkpoint.id, choice.builder.name if choice.builder is not None else None
        try:
            if choice.source is not None:
                require_graph(choice.source, "there is nothing to compare it with")
            contents = self._inspector.read(choice.checkpoint)
            artifacts = self.rebuild(choice, fresh=fresh, on_steps=on_steps, cancelled=cancelled)
        except CkptMetaError as error:
            return make_error_verdict(id, name, choice.arguments, error), None
        if choice.source is not None and not choice.source.asked:
            return drop_proposals(verify_source(choice.checkpoint, artifacts, contents)), artifacts
        verdict = verify(id, name, choice.arguments, artifacts.rebuilt, contents, choice.renames)
        verdict = add_restore_note(verdict, choice.checkpoint, contents)
        return verdict if choice.source is None else drop_proposals(verdict), artifacts

    def call(self, builder: str, arguments: Mapping[str, Scalar]) -> BuilderCall:
        """Return a builder with its arguments, for a diff.

        Raises:
            CkptMetaError: UNKNOWN_BUILDER, INVALID_ARGUMENTS.
        """
        from tb_ckptmeta.engine.diff import BuilderCall

        registered = self.registry.read(self._patience).get(builder)
        checked = check_arguments(builder, registered.description.parameters, arguments)
        return BuilderCall(registered, checked)

    def diff(
        self,
        a: Subject,
        b: Subject,
        *,
        values: bool = False,
        on_steps: OnSteps | None = None,
        cancelled: threading.Event | None = None,
    ) -> Diff:
        """Say how `b` differs from `a`, and with `values` how far each variable moved; raises as `Differ.diff`."""
        from tb_ckptmeta.engine.diff import Differ

        differ = Differ(self._inspector, self._rebuilder)
        return differ.diff(a, b, values=values, on_steps=on_steps, cancelled=cancelled)

    def export(
        self,
        choice: Choice,
        format: str,
        folder: Path,
        *,
        allow_partial: bool = False,
        check: bool = True,
        on_steps: OnSteps | None = None,
        cancelled: threading.Event | None = None,
    ) -> Exported:
        """Export a choice into `folder`; raises as `engine.export.export`.

        Of a Keras file, a `metagraph` comes with the TensorFlow checkpoint that it restores: it is a `checkpoint`.
        """
        from tb_ckptmeta.engine.export import export
        from tb_ckptmeta.engine.export_remote import export_remote
        from tb_ckptmeta.engine.without_builder import refuse_export

        chosen = settle_format(choice.checkpoint, format)
        refuse_export(choice.source)
        contents = self._inspector.read(choice.checkpoint)
        make = functools.partial(
            export,
            self._rebuilder,
            contents=contents,
            source=make_source(choice, contents),
            format=chosen,
            folder=folder,
            allow_partial=allow_partial,
            check=check,
            cancelled=cancelled,
        )
        checkpoint = choice.checkpoint
        if checkpoint.listed is None:
            return make(checkpoint, on_steps=on_steps)
        return export_remote(
            make, checkpoint, contents, chosen, folder, check=check, on_steps=on_steps, cancelled=cancelled
        )

    def export_to(
        self,
        choice: Choice,
        format: str,
        output: str | os.PathLike[str],
        *,
        overwrite: bool = False,
        copy: bool = False,
        allow_partial: bool = False,
        check: bool = True,
        may_replace: MayReplace = lambda taken: False,
        on_landing: OnLanding = lambda output, files: None,
        on_steps: OnSteps | None = None,
        cancelled: threading.Event | None = None,
    ) -> Delivered:
        """Export a choice, and let the outcome appear at `output` once its check has passed.

        Args:
            output: the file; of a `saved_model` the folder, of a `checkpoint` the prefix. For the `metagraph` of a
                Keras file the `.meta`, beside which its checkpoint appears.
            overwrite: replace what stands there. Else `may_replace` is asked, before the work and at its end.
            copy: give a `saved_model` a copy of the checkpoint's files, and no links.
            on_landing: told what is about to come there.

        Raises:
            CkptMetaError: OUTPUT_EXISTS, OUTPUT_UNWRITABLE; as `engine.export.export`, `may_replace`, `on_landing`.
        """
        from tb_ckptmeta.engine.deliver import check_output, deliver
        from tb_ckptmeta.engine.without_builder import refuse_export

        refuse_export(choice.source)
        chosen, path = settle_format(choice.checkpoint, format), Path(output)
        if chosen.name != format:
            path = path.with_name(path.name.removesuffix(".meta"))
        # Said before a minute of work, and made sure of once more at its end.
        specs = self.registry.specs
        check_output(chosen, path, choice.checkpoint, specs, overwrite=overwrite, may_replace=may_replace)
        with temporary_folder() as folder:
            exported = self.export(
                choice,
                format,
                folder,
                allow_partial=allow_partial,
                check=check,
                on_steps=on_steps,
                cancelled=cancelled,
            )
            land = functools.partial(deliver, exported.folder, exported.format, path, overwrite=overwrite, copy=copy)
            return Delivered(path, land(may_replace=may_replace, on_landing=on_landing), exported)
