"""Run the model as TensorFlow itself restores it: what an export is checked against. Runs in the worker."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tb_ckptmeta.core.builder import Registration
from tb_ckptmeta.core.compare import Comparison, compare
from tb_ckptmeta.core.contents import Contents
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.job import (
    CONTENTS,
    INITIAL,
    INPUTS,
    OUTPUT_VALUE,
    RANDOM_VALUE,
    REFERENCE,
    TEMPORARY,
    Reference,
)
from tb_ckptmeta.core.legacy import KERAS_3
from tb_ckptmeta.core.rebuilt import Rebuilt
from tb_ckptmeta.core.renames import parse_renames
from tb_ckptmeta.worker.arrays import save_arrays
from tb_ckptmeta.worker.budget import count_bytes, keep_within, require_room
from tb_ckptmeta.worker.build import build_eagerly
from tb_ckptmeta.worker.check import find_silence
from tb_ckptmeta.worker.configuration import get_registration
from tb_ckptmeta.worker.flatten import Forward, find_forward, find_listed, list_parts
from tb_ckptmeta.worker.graph_mode import build_in_graph
from tb_ckptmeta.worker.hints import find_eager_hints, find_graph_hints
from tb_ckptmeta.worker.inputs import NARROW, WIDE, draw_inputs, pack_inputs
from tb_ckptmeta.worker.keras_private import find_flavour, list_variables
from tb_ckptmeta.worker.keras_weights import find_loads, read_values, refuse_tricks
from tb_ckptmeta.worker.objects import walk_objects
from tb_ckptmeta.worker.randomness import find_random
from tb_ckptmeta.worker.steps import Steps
from tb_ckptmeta.worker.structure import name_outputs
from tb_ckptmeta.worker.trace import trace
from tb_ckptmeta.worker.user_code import run_user_code

v1 = tf.compat.v1


def make_reference(job: Reference, keras: str, folder: Path, steps: Steps) -> dict[str, Any]:
    """Build the model with its weights, restore it with TensorFlow's own restore, and run it on drawn inputs.

    Of our comparison only one thing is used: where in the checkpoint the model sits.

    Raises:
        CkptMetaError: CHECK_FAILED where TensorFlow cannot restore the model.
    """
    steps.begin("importing the builder" if job.source.config is None else "reading the configuration")
    registration = get_registration(job.source)
    contents = Contents.from_json(json.loads((folder / CONTENTS).read_text(encoding="utf-8")))
    if job.source.graph:
        return _run_in_graph(job, registration, contents, folder, steps)
    return _run_eagerly(job, registration, contents, keras, folder, steps)


def _run_eagerly(
    job: Reference, registration: Registration, contents: Contents, keras: str, folder: Path, steps: Steps
) -> dict[str, Any]:
    steps.begin("building with weights")
    with keep_within(job.limits.memory, f"The check of builder {registration.name!r}"):
        built = build_eagerly(registration, job.source.arguments)
    traced = trace(f"Builder {registration.name!r}", built)
    objects = walk_objects(built.root)
    forward = find_forward(traced, objects)
    listed = list_variables(built.root)
    loads, _ = find_loads(f"Builder {registration.name!r}", job.source, built.root, forward)
    rebuilt = Rebuilt(
        forward.variables,
        objects.graph,
        objects.owners,
        keras,
        listed=find_listed(forward, listed),
        loads=loads,
        untracked=objects.untracked,
        older_orders=objects.older_orders,
        container=built.container,
    )
    comparison = compare(rebuilt, contents, parse_renames(job.source.renames))
    steps.begin("restoring with TensorFlow")
    if comparison.mapped:
        restored_by, independent = _assign_bound(job, contents, comparison, forward, folder), False
    elif contents.is_keras_file:
        restored_by, independent = _load_weights(job, built.root, folder), True
    elif comparison.attachment is not None:
        saved = listed if comparison.listed else built.root
        for name in reversed(comparison.attachment):
            saved = tf.train.Checkpoint(**{name: saved})
        checkpoint = saved if isinstance(saved, tf.train.Checkpoint) else tf.train.Checkpoint(saved)
        status = checkpoint.read(job.prefix)
        status.expect_partial()
        if not job.allow_partial:
            try:
                status.assert_existing_objects_matched()
            except AssertionError as error:
                # An optimizer that the builder has compiled, say: it may have what no checkpoint holds.
                if not _is_restored(job, comparison, forward):
                    raise CkptMetaError(
                        Code.CHECK_FAILED,
                        "tf.train.Checkpoint itself does not restore this model from this checkpoint.",
                        str(error),
                    ) from error
        restored_by, independent = "tf.train.Checkpoint", True
    else:
        restored_by, independent = _assign_bound(job, contents, comparison, forward, folder), False
    steps.begin("running the reference")
    # Called anew after the restore, and eagerly: a trace made before might hold values from before.
    tf.config.run_functions_eagerly(True)
    who = f"Builder {registration.name!r}, run eagerly on drawn inputs,"
    hints = find_eager_hints(traced, forward, objects.resources)
    # Behind what the call is given stand the defaults of its other parameters.
    signature = traced.function.structured_input_signature[0][: len(built.args)]
    dtypes = {name: tensor.dtype for name, tensor in traced.inputs}

    def run(inputs: dict[str, Any]) -> dict[str, Any]:
        args = pack_inputs(signature, traced.leaves, inputs, dtypes)
        return dict(name_outputs(run_user_code(who, Code.CHECK_FAILED, lambda: built.call(*args))))

    initial = {
        forward.variables[i].name: forward.resource_variables[i].numpy()
        for i in range(len(forward.variables))
        if forward.variables[i].read and i not in comparison.binding
    }
    state = [(v, v.numpy()) for v in forward.resource_variables if not v.trainable]

    def reset() -> None:
        for variable, value in state:
            variable.assign(value)

    inputs, outputs = _run_on_drawn(lambda breadth: draw_inputs(traced.leaves, hints, breadth), run, reset)
    random = _confirm_random(find_random(forward.graph_def, forward.outputs), outputs, lambda: run(inputs), reset)
    _save(folder, inputs, outputs, initial, random)
    return {"restored_by": restored_by, "independent": independent}


def _is_restored(job: Reference, comparison: Comparison, forward: Forward) -> bool:
    """Tell whether every variable that the graph reads has the very value that the checkpoint holds."""
    reader = tf.train.load_checkpoint(job.prefix)
    for index, variable in enumerate(forward.variables):
        if variable.read:
            key = comparison.binding.get(index)
            value = None if key is None else np.asarray(reader.get_tensor(key))
            held = forward.resource_variables[index].numpy()
            if value is None or value.dtype != held.dtype or value.tobytes() != held.tobytes():
                return False
    return True


def _assign_bound(job: Reference, contents: Contents, comparison: Comparison, forward: Forward, folder: Path) -> str:
    """Give each variable the value of its key where TensorFlow itself could not restore it; return what reads."""
    variables = forward.resource_variables
    if contents.is_keras_file:
        names = {str(index): key for index, key in comparison.binding.items()}
        for name, value in read_values(job.prefix, names, folder / TEMPORARY):
            variables[int(name)].assign(value)
        return "h5py, by our binding"
    reader = tf.train.load_checkpoint(job.prefix)
    for index, key in comparison.binding.items():
        variables[index].assign(reader.get_tensor(key))
    return "tf.train.load_checkpoint, by our binding"


def _load_weights(job: Reference, root: Any, folder: Path) -> str:
    """Let Keras load a file of its own, and return what did.

    Raises:
        CkptMetaError: CHECK_FAILED where Keras refuses.
    """
    refuse_tricks(job.prefix, folder / TEMPORARY)
    try:
        # The rest of a partial export keeps its initial values, here as there.
        root.load_weights(job.prefix, **({"skip_mismatch": True} if job.allow_partial else {}))
    except Exception as error:
        raise CkptMetaError(
            Code.CHECK_FAILED, "Keras itself does not load this file into this model.", str(error)
        ) from error
    return f"{'keras' if find_flavour(root) == KERAS_3 else 'tf_keras'}.Model.load_weights"


def _run_in_graph(
    job: Reference, registration: Registration, contents: Contents, folder: Path, steps: Steps
) -> dict[str, Any]:
    steps.begin("building with weights")
    flat, variables = build_in_graph(registration, job.source.arguments)
    sizes = [count_bytes(p.shape, p.dtype.base_dtype) for v in flat.variables.values() for p in list_parts(v)]
    require_room(sizes, job.limits.memory, f"The check of builder {registration.name!r}")
    steps.begin("restoring with tf.compat.v1.train.Saver")
    binding = {i: v.name for i, v in enumerate(variables) if v.name in contents.tensors}
    if job.source.renames:
        renames = parse_renames(job.source.renames)
        binding = dict(compare(Rebuilt(variables, None, {}, ""), contents, renames).binding)
    missing = [i for i in range(len(variables)) if i not in binding]
    held = {key: flat.variables[i] for i, key in binding.items()}
    with flat.graph.as_default(), v1.Session(graph=flat.graph) as session:
        session.run(v1.global_variables_initializer())
        tables = flat.graph.get_collection(v1.GraphKeys.TABLE_INITIALIZERS)
        session.run(tables)
        if held:
            v1.train.Saver(held).restore(session, job.prefix)
        steps.begin("running the reference")
        left = [v for i in missing if variables[i].read for v in list_parts(flat.variables[i])]
        initial = session.run({v.op.name: v for v in left})
        hints = find_graph_hints(flat.graph, flat.inputs, session)

        def run(inputs: dict[str, Any]) -> dict[str, Any]:
            feeds = {flat.inputs[n]: v for n, v in inputs.items()}
            who = f"The graph of builder {registration.name!r}, run on drawn inputs,"
            fetched: dict[str, Any] = run_user_code(who, Code.CHECK_FAILED, lambda: session.run(flat.outputs, feeds))
            return fetched

        parts = [p for v in flat.variables.values() for p in list_parts(v) if not p.trainable]
        state = session.run([p.read_value() for p in parts])

        def reset() -> None:
            for part, value in zip(parts, state, strict=True):
                part.load(value, session)

        inputs, outputs = _run_on_drawn(lambda breadth: draw_inputs(flat.leaves, hints, breadth), run, reset)
        names = {name: tensor.name for name, tensor in flat.outputs.items()}
        random = _confirm_random(find_random(flat.graph.as_graph_def(), names), outputs, lambda: run(inputs), reset)
    _save(folder, inputs, outputs, initial, random)
    return {"restored_by": "tf.compat.v1.train.Saver", "independent": not job.source.renames}


def _run_on_drawn(
    draw: Callable[[str], dict[str, Any]],
    run: Callable[[dict[str, Any]], dict[str, Any]],
    reset: Callable[[], None],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run a model on drawn inputs, and on narrower ones where it does not take them or returns nothing that tells.

    `reset` undoes what a run has changed: each begins as the export will.
    """
    wide = draw(WIDE)
    try:
        outputs = run(wide)
        silent = _count_silent(outputs)
        if not silent:
            return wide, outputs
    except CkptMetaError as first:
        try:
            reset()
            inputs = draw(NARROW)
            return inputs, run(inputs)
        except CkptMetaError:
            message = (
                f"{first.message.rstrip('.')}. The inputs were drawn at random, and this model may take others only: "
                "without the check (on the command line --no-check) it is exported."
            )
            raise CkptMetaError(first.code, message, first.details) from None
    try:
        reset()
        inputs = draw(NARROW)
        narrow = run(inputs)
    except CkptMetaError:
        return wide, outputs
    return (inputs, narrow) if _count_silent(narrow) < silent else (wide, outputs)


def _count_silent(outputs: dict[str, Any]) -> int:
    """Count the outputs that tell nothing: empty ones, and those without a number."""
    return sum(bool(find_silence(value)) for value in outputs.values())


def _confirm_random(
    suspects: list[str],
    outputs: dict[str, Any],
    run: Callable[[], dict[str, Any]],
    reset: Callable[[], None],
) -> list[str]:
    """Return the outputs that a second run gives otherwise: a dropout that keeps everything draws to no effect."""
    if not suspects:
        return []
    reset()
    again = run()
    return [n for n in suspects if not np.array_equal(np.asarray(outputs[n]), np.asarray(again[n]))]


def _save(
    folder: Path, inputs: dict[str, Any], outputs: dict[str, Any], initial: dict[str, Any], random: list[str]
) -> None:
    save_arrays(folder / INPUTS, inputs)
    save_arrays(
        folder / REFERENCE,
        {
            **{(RANDOM_VALUE if name in random else OUTPUT_VALUE) + name: value for name, value in outputs.items()},
            **{INITIAL + name: value for name, value in initial.items()},
        },
    )
