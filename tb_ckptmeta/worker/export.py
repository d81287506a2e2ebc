"""Write a flat graph in the format that was asked for. Runs in the worker."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from tb_ckptmeta.core.checkpoint import KERAS_FORMATS
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.formats import STEM, get_format
from tb_ckptmeta.core.job import EXPORT, TEMPORARY, Export
from tb_ckptmeta.worker.flatten import Flat, Partitioned, get_name, list_parts
from tb_ckptmeta.worker.frozen import freeze
from tb_ckptmeta.worker.keras_weights import read_values
from tb_ckptmeta.worker.metagraph import as_text, make_metagraph
from tb_ckptmeta.worker.onnx import make_onnx, require_tf2onnx
from tb_ckptmeta.worker.saved_model import VARIABLES, add_initializer, make_saved_model
from tb_ckptmeta.worker.weights import CheckpointWriter, copy_tensors, write_arrays

v1 = tf.compat.v1

MESSAGE_BYTES = (1 << 31) - 1
"""The largest protobuf message (protobuf.dev/programming-guides/proto-limits)."""


def write_export(
    job: Export, flat: Flat, binding: Mapping[int, str], provenance: Mapping[str, Any], folder: Path
) -> dict[str, Any]:
    """Write the folder EXPORT; `binding` is index of a variable -> the checkpoint's key for it.

    Returns:
        {"inputs", "outputs": signature name -> tensor name, "linked": whether the checkpoint's own files are still to
        be put beside it, as a SavedModel's variables}.

    Raises:
        CkptMetaError: FORMAT_LIMIT, ONNX_MISSING, UNSUPPORTED_MODEL.
    """
    target = folder / EXPORT
    target.mkdir()
    file = target / (STEM + get_format(job.format).suffix)
    bound = {i: key for i, key in binding.items() if i in flat.variables}
    linked = False
    if job.format == "metagraph":
        file.write_bytes(_serialize(make_metagraph(flat, bound, provenance)))
    elif job.format == "metagraph-text":
        file.write_bytes(as_text(make_metagraph(flat, bound, provenance)))
    elif job.format == "saved_model":
        initializer = add_initializer(flat, set(bound))
        meta_graph = make_metagraph(flat, bound, provenance)
        (target / "saved_model.pb").write_bytes(_serialize(make_saved_model(meta_graph, initializer)))
        linked = bool(bound) and job.checkpoint_format in ("object", "name")
        if bound and not linked:  # a loader looks for a V2 checkpoint's index
            (target / VARIABLES).parent.mkdir()
            _copy(job, {key: key for key in bound.values()}, target / VARIABLES, folder)
    elif job.format == "checkpoint":
        _write_checkpoint(job, flat, bound, provenance, target / STEM, folder)
    else:
        if job.format == "onnx":
            require_tf2onnx()
        _require_room(flat, bound, job.format)
        meta_graph = make_metagraph(flat, bound, provenance)
        operations = [t.op.name for t in (*flat.inputs.values(), *flat.outputs.values())]
        prefix = job.prefix
        if job.checkpoint_format in KERAS_FORMATS and bound:
            prefix = str(folder / TEMPORARY / "weights")
            _copy(job, {key: key for key in bound.values()}, Path(prefix), folder)
        graph_def = freeze(meta_graph, prefix, len(bound) < len(flat.variables), operations)
        if job.format == "onnx":
            file.write_bytes(make_onnx(graph_def, _name_tensors(flat.inputs), _name_tensors(flat.outputs), STEM))
        else:
            file.write_bytes(_serialize(graph_def))
    return {"inputs": _name_tensors(flat.inputs), "outputs": _name_tensors(flat.outputs), "linked": linked}


def _write_checkpoint(
    job: Export, flat: Flat, bound: Mapping[int, str], provenance: Mapping[str, Any], prefix: Path, folder: Path
) -> None:
    """Write a checkpoint whose keys are the variables' names, as `tf.compat.v1.train.Saver` does, with its `.meta`."""
    names = {i: get_name(variable) for i, variable in flat.variables.items()}
    content = _serialize(make_metagraph(flat, names, provenance))
    if names:
        _copy(job, {names[i]: key for i, key in bound.items()}, prefix, folder, _compute_initial(flat, bound))
    prefix.with_name(prefix.name + ".meta").write_bytes(content)


def _copy(
    job: Export, keys: Mapping[str, str], prefix: Path, folder: Path, more: Mapping[str, Any] | None = None
) -> None:
    """Write a checkpoint of the weights: `keys` is new name -> key of the original, `more` is name -> value."""
    writer = CheckpointWriter(str(prefix))
    if job.checkpoint_format in KERAS_FORMATS:
        write_arrays(read_values(job.prefix, keys, folder / TEMPORARY), writer)
    else:
        copy_tensors(job.prefix, keys, writer)
    write_arrays((more or {}).items(), writer)
    writer.finish()


def _compute_initial(flat: Flat, bound: Mapping[int, str]) -> dict[str, Any]:
    """Return name -> the value that the builder's own initializer gives a variable that nothing restores."""
    unbound = [v for i, v in flat.variables.items() if i not in bound]
    parts = {part.op.name: part for v in unbound for part in list_parts(v)}
    if not unbound:
        return {}
    with flat.graph.as_default(), v1.Session(graph=flat.graph) as session:
        session.run([part.initializer for part in parts.values()])
        values = session.run({name: part.read_value() for name, part in parts.items()})
    return {get_name(v): v.join(values) if isinstance(v, Partitioned) else values[v.op.name] for v in unbound}


def _name_tensors(tensors: Mapping[str, Any]) -> dict[str, str]:
    return {name: tensor.name for name, tensor in tensors.items()}


def _serialize(message: Any) -> bytes:
    """Return a message's bytes, the same for the same input.

    Raises:
        CkptMetaError: FORMAT_LIMIT.
    """
    if message.ByteSize() > MESSAGE_BYTES:
        raise _too_large(message.ByteSize(), "This graph")
    return bytes(message.SerializeToString(deterministic=True))


def _require_room(flat: Flat, bound: Mapping[int, str], format: str) -> None:
    """Make sure, before any weight is read, that the weights fit into one message.

    Raises:
        CkptMetaError: FORMAT_LIMIT.
    """
    size = sum(
        (v.shape.num_elements() or 0) * v.dtype.base_dtype.size
        for variable in flat.variables.values()
        for v in list_parts(variable)
        if v.shape.rank is not None
    )
    if size > MESSAGE_BYTES:
        raise _too_large(size, f"The format {format!r} holds the graph and its weights in one message; this one")


def _too_large(size: int, what: str) -> CkptMetaError:
    return CkptMetaError(
        Code.FORMAT_LIMIT,
        f"{what} takes {size / 2**30:.1f} GiB, and a protobuf message ends at 2 GiB. Formats that keep the weights "
        "outside the graph have no such limit: metagraph, saved_model, checkpoint.",
    )
