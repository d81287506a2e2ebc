"""Compare checkpoints, `.meta` files and builders with each other. Runs in the caller's process."""

from __future__ import annotations

import shlex
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from tensorboard.compat.proto.graph_pb2 import GraphDef

from tb_ckptmeta.core.arguments import Scalar
from tb_ckptmeta.core.checkpoint import ROOT_RUN, Checkpoint
from tb_ckptmeta.core.diff import Diff, add_values, diff_sides
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.job import Differences, Source
from tb_ckptmeta.core.side import Side, describe_builder, describe_checkpoint
from tb_ckptmeta.engine.fetch import fetched
from tb_ckptmeta.engine.inspect import Inspector
from tb_ckptmeta.engine.metagraph import read_metagraph
from tb_ckptmeta.engine.process import OnSteps, run_worker
from tb_ckptmeta.engine.rebuild import Artifacts, Rebuilder
from tb_ckptmeta.engine.registry import RegisteredBuilder
from tb_ckptmeta.engine.temporary import temporary_folder
from tb_ckptmeta.engine.values import locate_values

# What an eager run of a builder for a tf.Graph comes to: it uses a placeholder, or returns tensors.
_PERHAPS_OF_A_GRAPH = frozenset({Code.BUILDER_FAILED, Code.BUILDER_RETURNED, Code.TRACE_FAILED})


@dataclass(frozen=True)
class Metagraph:
    """A `.meta` or `.pbtxt` file; `id`: of the checkpoint beside which it lies, where it was asked for so."""

    path: str
    name: str
    id: str | None = None


@dataclass(frozen=True)
class BuilderCall:
    """A builder with its arguments, checked against its signature."""

    builder: RegisteredBuilder
    arguments: Mapping[str, Scalar]


Subject = Checkpoint | Metagraph | BuilderCall


class Differ:
    """Compares two of anything that has variables."""

    def __init__(self, inspector: Inspector, rebuilder: Rebuilder) -> None:
        self._inspector = inspector
        self._rebuilder = rebuilder

    def diff(
        self,
        a: Subject,
        b: Subject,
        *,
        values: bool = False,
        on_steps: OnSteps | None = None,
        cancelled: threading.Event | None = None,
    ) -> Diff:
        """Say how `b` differs from `a`; with `values`, of two checkpoints, also how far each variable moved.

        Raises:
            CkptMetaError: BAD_REQUEST for what is not compared here; as `Inspector.read`, `read_metagraph` and the
                workers say.
        """
        _check(a, b, values)
        found = diff_sides(self._describe(a, on_steps), self._describe(b, on_steps))
        if not values:
            return found
        assert isinstance(a, Checkpoint)
        assert isinstance(b, Checkpoint)
        subject = f"The comparison of {a.name} and {b.name}"
        with (
            fetched(a, on_steps=on_steps, cancelled=cancelled) as local_a,
            fetched(b, on_steps=on_steps, cancelled=cancelled) as local_b,
            temporary_folder() as folder,
        ):
            job = Differences(
                locate_values(local_a, self._inspector.read(a), {pair.key for pair in found.pairs}),
                locate_values(local_b, self._inspector.read(b), {pair.key_b for pair in found.pairs}),
                tuple((pair.key, pair.key_b) for pair in found.pairs),
                self._rebuilder.limits,
            )
            with self._rebuilder.slot(cancelled):
                # In a fresh process, which does not import TensorFlow.
                value = run_worker(job, folder, subject, on_steps=on_steps, cancelled=cancelled)
        return add_values(found, value["measured"])

    def _describe(self, subject: Subject, on_steps: OnSteps | None) -> Side:
        if isinstance(subject, Checkpoint):
            contents = self._inspector.read(subject)
            return describe_checkpoint(contents, describe_subject(subject), subject.id, subject.prefix)
        if isinstance(subject, Metagraph):
            return read_metagraph(subject.path, subject.name, subject.id)
        artifacts = self._rebuild(subject, on_steps)
        graph = GraphDef.FromString(artifacts.graph)
        operations = Counter(node.op for node in graph.node)
        for function in graph.library.function:
            operations.update(node.op for node in function.node_def)
        return describe_builder(artifacts.rebuilt, subject.builder.name, subject.arguments, operations)

    def _rebuild(self, call: BuilderCall, on_steps: OnSteps | None) -> Artifacts:
        """Rebuild without a checkpoint, which would tell whether to do so eagerly or in a graph."""
        told = call.builder.description.graph
        try:
            return self._rebuilder.rebuild(_make_source(call, bool(told)), fresh=True, on_steps=on_steps)
        except CkptMetaError as error:
            if told is not None or error.code not in _PERHAPS_OF_A_GRAPH:
                raise
            eager_error = error
        try:
            return self._rebuilder.rebuild(_make_source(call, True), fresh=True, on_steps=on_steps)
        except CkptMetaError:
            raise eager_error from None


def describe_subject(subject: Subject) -> str:
    """Return how people call one side."""
    if isinstance(subject, Checkpoint):
        return subject.name if subject.run == ROOT_RUN else f"{subject.run}/{subject.name}"
    return subject.name if isinstance(subject, Metagraph) else subject.builder.name


def _check(a: Subject, b: Subject, values: bool) -> None:
    checkpoints = [s for s in (a, b) if isinstance(s, Checkpoint)]
    calls = [s for s in (a, b) if isinstance(s, BuilderCall)]
    if checkpoints and calls:
        checkpoint, builder = checkpoints[0], calls[0].builder
        command = ["tb-ckptmeta", "verify", checkpoint.prefix, "--builder", builder.name]
        if not builder.spec.entry_point:  # those are found by themselves
            command += ["--builders", builder.spec.given]
        raise CkptMetaError(
            Code.BAD_REQUEST,
            "A checkpoint is compared with a builder by a verdict, which knows the model: "
            f"{shlex.join(command)}; over HTTP, POST /verdict.",
        )
    if values and len(checkpoints) < 2:
        raise CkptMetaError(
            Code.BAD_REQUEST,
            "Values are compared of two checkpoints; a .meta and a builder have none. Ask without values (on "
            "the command line, without --values).",
        )


def _make_source(call: BuilderCall, graph: bool) -> Source:
    description = call.builder.description
    return Source(call.builder.spec, description.name, call.arguments, graph, description.keras, None)
