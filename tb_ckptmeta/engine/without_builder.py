"""Get a checkpoint's graph and verdict from a source that lies beside it. Runs in the caller's process.

What is merely parsed is made here; a Keras configuration becomes a job like a builder's.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from dataclasses import replace

from tb_ckptmeta.core import bookkeeping
from tb_ckptmeta.core.checkpoint import Checkpoint
from tb_ckptmeta.core.contents import Contents
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.job import Source, Spec
from tb_ckptmeta.core.legacy import find_keras
from tb_ckptmeta.core.rebuilt import Rebuilt
from tb_ckptmeta.core.source import METAGRAPH, OBJECTS, SAVED_MODEL, FoundSource
from tb_ckptmeta.core.verdict import Row, Verdict
from tb_ckptmeta.engine.checkpoint_file import Stamp, stamp_file
from tb_ckptmeta.engine.keras_source import read_configuration
from tb_ckptmeta.engine.node_table import NodeTable
from tb_ckptmeta.engine.parsed_graph import parse_metagraph, parse_saved_model, read_source_file
from tb_ckptmeta.engine.rebuild import Artifacts
from tb_ckptmeta.engine.recent import Recent
from tb_ckptmeta.engine.sources import check_source_confined
from tb_ckptmeta.engine.verify import verify

_MOST_GRAPHS = 4
_MOST_FILES = 10_000


class SourceReader:
    """Reads what is merely parsed, and keeps the last few graphs: all steps of a run have one. Safe for threads."""

    def __init__(self) -> None:
        # What a file held when it had this stamp.
        self._digests: Recent[tuple[str, str], tuple[Stamp, str]] = Recent(_MOST_FILES)
        self._kept: Recent[str, Artifacts] = Recent(_MOST_GRAPHS)
        self._lock = threading.Lock()

    def read(self, checkpoint: Checkpoint, source: FoundSource) -> Artifacts:
        """Read a `.meta` or a SavedModel.

        Raises:
            CkptMetaError: SOURCE_UNREADABLE, SOURCE_MISSING, OUTSIDE_LOGDIR, CHECKPOINT_UNREADABLE.
        """
        assert source.path is not None
        check_source_confined(source.path, checkpoint)
        file, now = (source.kind, source.path), stamp_file(source.path)
        with self._lock:  # one at a time: a large one takes memory and seconds
            before, digest = self._digests.get(file, ((), ""))
            artifacts = self._kept.get(digest) if now and now == before else None
            table = None
            if artifacts is None:
                artifacts, table = self._read(source.kind, source.path)
                if now:
                    self._digests[file] = now, artifacts.digest
            self._kept[artifacts.digest] = artifacts
        rebuilt = artifacts.rebuilt
        notes = tuple(f"{source.title} {note}" for note in rebuilt.notes)
        return replace(artifacts, rebuilt=replace(rebuilt, notes=notes), table=table)

    def _read(self, kind: str, path: str) -> tuple[Artifacts, NodeTable | None]:
        """Read a file, and parse what it holds unless another file held the same."""
        data = [read_source_file(path)]
        digest = hashlib.sha256(kind.encode())
        digest.update(data[0])
        kept = self._kept.get(digest.hexdigest())
        if kept is not None:
            return kept, None
        parse = parse_metagraph if kind == METAGRAPH else parse_saved_model
        graph = parse(data.pop(), path)  # which gives the file's memory back as soon as it can
        # Whoever asked for it may go on with the table; what is kept is smaller without.
        return Artifacts(graph.rebuilt, graph.written, content=digest.hexdigest()), graph.table


def require_graph(source: FoundSource, what: str) -> None:
    """Refuse what a checkpoint's own object graph cannot give.

    Raises:
        CkptMetaError: NO_BUILDER.
    """
    if source.kind == OBJECTS:
        raise CkptMetaError(
            Code.NO_BUILDER,
            f"The tree of {source.where} is what the checkpoint holds, and no model: {what}. Register a builder, "
            "or put the model's .meta, SavedModel or .keras file beside it.",
        )


def refuse_export(source: FoundSource | None) -> None:
    """Refuse to export what is a graph with its checkpoint already; a builder's and a configuration's pass.

    Raises:
        CkptMetaError: UNKNOWN_FORMAT, naming what exists; NO_BUILDER for the object graph.
    """
    if source is None or source.asked:
        return
    require_graph(source, "there is nothing to export")
    use = {
        METAGRAPH: "import_meta_graph and a Saver's restore take it and the checkpoint as they are",
        SAVED_MODEL: "tf.saved_model.load takes its folder as it is",
    }[source.kind]
    raise CkptMetaError(
        Code.UNKNOWN_FORMAT,
        f"{source.title} is an exported graph already, and none is made of it: {use}. To export in another format, "
        "register a builder.",
    )


def make_config_source(checkpoint: Checkpoint, source: FoundSource, contents: Contents) -> Source:
    """Read a Keras configuration, and return the job's source that deserialises it.

    Raises:
        CkptMetaError: as `read_configuration`.
    """
    found = read_configuration(checkpoint, source)
    return Source(
        Spec(found.path, None, None, ""),
        source.kind,
        {},
        False,
        found.keras or find_keras(contents) or "3",
        find_keras(contents),
        tuple(contents.tensors) if contents.is_keras_file else (),
        config=found.text,
    )


def set_bookkeeping_aside(rebuilt: Rebuilt, contents: Contents) -> tuple[Contents, list[str]]:
    """Return a checkpoint as a parsed graph is compared with it, by name, and the keys that this leaves out.

    A graph's own restore operation names keys, also those of an object-based checkpoint. Of the other keys of that, its
    object graph says which are the training's own.
    """
    if contents.objects is None:
        return contents, []
    nodes = contents.objects.nodes
    own = bookkeeping.find_bookkeeping_nodes(contents.objects, contents.tensors, 0, ())
    own |= {slot for node in nodes for _, _, slot in node.slots}
    aside = {key for n in own for key in nodes[n].keys.values()} - {v.name for v in rebuilt.variables}
    kept = {k: t for k, t in contents.tensors.items() if k not in aside}
    return replace(contents, objects=None, tensors=kept), sorted(aside & contents.tensors.keys())


def drop_proposals(verdict: Verdict) -> Verdict:
    """Return a verdict without proposed renames: those are for a builder's code, which may have changed since."""

    def reopen(rows: Sequence[Row]) -> list[Row]:
        return [{**row, "explained": False} for row in rows]

    return replace(
        verdict,
        missing=reopen(verdict.missing),
        unexpected=reopen(verdict.unexpected),
        shape_mismatches=reopen(verdict.shape_mismatches),
        dtype_mismatches=reopen(verdict.dtype_mismatches),
        renames=(),
        ambiguous_renames=(),
        renamed_status=None,
    )


def verify_source(checkpoint: Checkpoint, artifacts: Artifacts, contents: Contents) -> Verdict:
    """Return the verdict of a graph that was parsed."""
    plain, aside = set_bookkeeping_aside(artifacts.rebuilt, contents)
    verdict = verify(checkpoint.id, None, {}, artifacts.rebuilt, plain)
    stored = [(k, contents.tensors[k]) for k in aside]
    rows = [{"key": k, "shape": list(t.shape), "dtype": t.dtype} for k, t in stored]
    return replace(verdict, bookkeeping=[*verdict.bookkeeping, *rows])
