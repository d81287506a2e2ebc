"""Rebuild a model's graph, and export it when asked. Runs in the worker."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import json
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tensorflow as tf

import tb_ckptmeta
from tb_ckptmeta.core.builder import Registration
from tb_ckptmeta.core.compare import Comparison, compare
from tb_ckptmeta.core.contents import Contents
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.job import CONTENTS, GRAPH, REBUILT, Rebuild
from tb_ckptmeta.core.legacy import KERAS_3
from tb_ckptmeta.core.rebuilt import Rebuilt
from tb_ckptmeta.core.renames import parse_renames
from tb_ckptmeta.core.verdict import MATCH, MISMATCH
from tb_ckptmeta.worker.build import Reads, build_eagerly, create_without_weights
from tb_ckptmeta.worker.configuration import describe_configuration, get_registration, name_source
from tb_ckptmeta.worker.export import write_export
from tb_ckptmeta.worker.flatten import Flat, Forward, describe_forward, find_forward, find_listed, flatten
from tb_ckptmeta.worker.graph_mode import build_in_graph
from tb_ckptmeta.worker.inline import cut, inline
from tb_ckptmeta.worker.keras_private import find_flavour, find_layer_classes, list_variables, write_config
from tb_ckptmeta.worker.keras_weights import find_loads
from tb_ckptmeta.worker.load import find_dependencies
from tb_ckptmeta.worker.objects import walk_objects
from tb_ckptmeta.worker.steps import Steps
from tb_ckptmeta.worker.trace import trace
from tb_ckptmeta.worker.untrained import find_frozen
from tb_ckptmeta.worker.watch import Watch


@dataclass(frozen=True)
class _Made:
    """A rebuilt model, and how its flat graph is made once it is known what will be restored.

    `forward`: its forward pass, where that can be shown without a flat graph.
    """

    rebuilt: Rebuilt
    flatten: Callable[[Comparison | None], Flat]
    forward: Forward | None = None


def rebuild(job: Rebuild, keras: str, folder: Path, steps: Steps) -> dict[str, Any]:
    """Run the builder and leave REBUILT and GRAPH, and EXPORT where one is asked for and the verdict allows it.

    The result is {"needs_allocation": [variable…]} where the builder reads values that it has not been given:
    it must run again, with memory for its variables.

    Raises:
        CkptMetaError: whatever keeps from it, naming the builder.
    """
    watch = Watch(folder)
    with name_source(job.source):
        with watch.watching():
            value = _rebuild(job, keras, folder, steps)
        return {**value, "dependencies": find_dependencies(job.source.spec, watch).as_json()}


def _rebuild(job: Rebuild, keras: str, folder: Path, steps: Steps) -> dict[str, Any]:
    steps.begin("importing the builder" if job.source.config is None else "reading the configuration")
    registration = get_registration(job.source)
    reads = Reads([])
    try:
        if job.source.graph:
            made = _rebuild_in_graph(job, registration, keras, steps)
        else:
            made = _rebuild_eagerly(job, registration, keras, steps, reads)
    except CkptMetaError as error:
        # A read in graph code (a tf.function, predict) does not come to us: TensorFlow fails, in words of its own.
        maybe_read = reads.created and error.code in (Code.BUILDER_FAILED, Code.TRACE_FAILED)
        if reads.names or maybe_read:
            return {"needs_allocation": reads.names}
        raise
    if reads.names:  # user code may have caught our refusal, and gone on without the value
        return {"needs_allocation": reads.names}

    contents_file = folder / CONTENTS
    comparison = None
    if contents_file.exists():
        contents = Contents.from_json(json.loads(contents_file.read_text(encoding="utf-8")))
        comparison = compare(made.rebuilt, contents, parse_renames(job.source.renames))
    exporting = job.export is not None and comparison is not None and _may_export(comparison, job.allow_partial)
    shown = None if made.forward is None else inline(made.forward)
    flat = made.flatten(comparison if exporting else None) if exporting or shown is None else None
    found = flat.notes if flat is not None else describe_forward(made.forward) if made.forward is not None else ()
    notes = (*describe_configuration(job.source), *made.rebuilt.notes, *found)
    rebuilt = replace(made.rebuilt, notes=notes, configured=job.source.config is not None)
    if shown is None:
        assert flat is not None
        shown = _draw(flat)
    (folder / GRAPH).write_bytes(shown.SerializeToString(deterministic=True))
    (folder / REBUILT).write_text(json.dumps(rebuilt.as_json(), default=str), encoding="utf-8")
    value: dict[str, Any] = {"exported": None}
    if exporting:
        assert comparison is not None
        assert job.export is not None
        assert flat is not None
        steps.begin("exporting")
        provenance = _describe_export(job, comparison, rebuilt)
        value["exported"] = write_export(job.export, flat, comparison.binding, provenance, folder)
    return value


def _rebuild_eagerly(job: Rebuild, registration: Registration, keras: str, steps: Steps, reads: Reads) -> _Made:
    weights = contextlib.nullcontext() if job.allocate else create_without_weights(reads)
    with weights:
        steps.begin("building")
        built = build_eagerly(registration, job.source.arguments)
        steps.begin("tracing")
        traced = trace(f"Builder {registration.name!r}", built)
    steps.begin("flattening")
    objects = walk_objects(built.root)
    forward = find_forward(traced, objects)
    notes = list(built.notes)
    if job.allocate:
        notes.append(
            "The builder reads values of variables while it builds; what it makes of them comes from the "
            "builder's own initial values, not from the checkpoint."
        )
    loads, loaded_notes = find_loads(f"Builder {registration.name!r}", job.source, built.root, forward)
    notes += loaded_notes
    rebuilt = Rebuilt(
        forward.variables,
        objects.graph,
        objects.owners,
        keras,
        _read_config(built.root),
        _read_classes(built.root),
        read_versions(keras),
        tuple(notes),
        find_listed(forward, list_variables(built.root)),
        loads,
        objects.untracked,
        find_frozen(forward, built.root),
        older_orders=objects.older_orders,
        container=built.container,
    )

    def make_flat(comparison: Comparison | None) -> Flat:
        kept = () if comparison is None else [i for i in range(len(forward.variables)) if i not in comparison.binding]
        return flatten(forward, objects, kept)

    return _Made(rebuilt, make_flat, forward)


def _rebuild_in_graph(job: Rebuild, registration: Registration, keras: str, steps: Steps) -> _Made:
    steps.begin("building")
    flat, variables = build_in_graph(registration, job.source.arguments)
    rebuilt = Rebuilt(variables, None, {}, keras, None, {}, read_versions(keras))
    return _Made(rebuilt, lambda comparison: flat)


def _may_export(comparison: Comparison, allow_partial: bool) -> bool:
    return comparison.status == MATCH or (allow_partial and comparison.status != MISMATCH)


def _describe_export(job: Rebuild, comparison: Comparison, rebuilt: Rebuilt) -> dict[str, Any]:
    return {
        **(job.provenance or {}),
        "builder": job.source.registered,
        "arguments": dict(job.source.arguments),
        **({"renames": list(job.source.renames)} if job.source.renames else {}),
        "versions": dict(rebuilt.versions),
        "status": comparison.status,
        "not_restored": [row["name"] for row in comparison.missing],
    }


def _draw(flat: Flat) -> Any:
    """Return the graph for display: what the outputs need, with the shapes of its tensors."""
    graph_def = flat.graph.as_graph_def(add_shapes=True)
    cut(graph_def, [t.op.name for t in (*flat.outputs.values(), *flat.inputs.values())])
    return graph_def


def _read_config(root: Any) -> Mapping[str, Any] | None:
    """Return a Keras model's configuration, or None where it has none: most subclassed models."""
    if find_flavour(root) is None or not hasattr(root, "to_json"):
        return None
    try:
        config = json.loads(write_config(root))
    except Exception:
        return None
    layers = config.get("config", {}).get("layers") if isinstance(config, dict) else None
    return config if isinstance(layers, list) else None


def _read_classes(root: Any) -> Mapping[str, str]:
    return {} if find_flavour(root) is None else find_layer_classes(root)


@functools.cache
def read_versions(keras: str) -> dict[str, str]:
    """Return library -> version of what a rebuild runs on."""
    library = "keras" if keras == KERAS_3 else "tf_keras"
    versions = {
        "tb_ckptmeta": tb_ckptmeta.__version__,
        "tensorflow": tf.__version__,
        "python": platform.python_version(),
    }
    try:
        versions[library] = importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        pass
    return versions
