"""Find what a graph could come from without a builder, by names alone. Runs in the caller's process."""

from __future__ import annotations

import os
from collections.abc import Iterator

from tb_ckptmeta.core.checkpoint import Checkpoint
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.source import KERAS_CONFIG, METAGRAPH, OBJECTS, SAVED_MODEL, TITLES, FoundSource
from tb_ckptmeta.engine.folders import is_within

EVENT_FILES = "events.out.tfevents."
"""How the names of TensorBoard's event files begin."""
_SAVED_MODEL = "saved_model.pb"
_VARIABLES = "variables"
_MOST_FOLDERS = 64
_MOST_EVENT_FILES = 16


def find_sources(checkpoint: Checkpoint) -> list[FoundSource]:
    """List a checkpoint's sources, the best first; nothing is opened. Its own object graph is always the last."""
    *beside, itself = _find_parsed(checkpoint)
    return [*beside, *_find_keras(checkpoint), itself]


def find_shown_source(checkpoint: Checkpoint) -> FoundSource:
    """Return the best source that is merely parsed: what is shown without anybody asking."""
    return _find_parsed(checkpoint)[0]


def _find_parsed(checkpoint: Checkpoint) -> list[FoundSource]:
    found = []
    folder = os.path.dirname(checkpoint.prefix)
    metagraph = os.path.join(folder, f"{checkpoint.name}.meta")
    if checkpoint.listed.metagraph if checkpoint.listed is not None else _is_file(metagraph, checkpoint.root):
        description = (
            f"{checkpoint.name}.meta, the MetaGraphDef beside the checkpoint, as a Saver writes one. It is parsed; "
            "nothing in it is executed."
        )
        found.append(FoundSource(METAGRAPH, metagraph, f"{checkpoint.name}.meta", description))
    saved_model = os.path.join(os.path.dirname(folder), _SAVED_MODEL)
    inside = checkpoint.name == _VARIABLES == os.path.basename(folder)
    if inside and _is_file(saved_model, checkpoint.root):
        description = (
            f"{_SAVED_MODEL}, the SavedModel whose variables this checkpoint is. It is parsed; nothing in it is "
            "executed."
        )
        found.append(FoundSource(SAVED_MODEL, saved_model, f"../{_SAVED_MODEL}", description))
    description = "What the checkpoint itself holds: its variables as a tree, with shapes and sizes, and no operations."
    return [*found, FoundSource(OBJECTS, None, checkpoint.name, description)]


def _find_keras(checkpoint: Checkpoint) -> list[FoundSource]:
    if checkpoint.listed is not None:
        return []  # not yet: it takes many small reads
    if checkpoint.format == "keras":
        description = (
            f"The model's configuration in {checkpoint.name}. It is read, and deserialised in a worker without custom "
            "objects, only when asked for."
        )
        return [FoundSource(KERAS_CONFIG, checkpoint.prefix, checkpoint.name, description, asked=True)]
    events = find_event_files(checkpoint)
    if not events:
        return []
    where = os.path.relpath(events[0], os.path.dirname(checkpoint.prefix)).replace(os.sep, "/")
    description = (
        "What keras.callbacks.TensorBoard logs of a model, if this run's event files have it: its configuration. "
        "They are read, and it is deserialised in a worker without custom objects, only when asked for."
    )
    return [FoundSource(KERAS_CONFIG, None, where, description, asked=True)]


def get_source(checkpoint: Checkpoint, kind: str) -> FoundSource:
    """Return the source of a kind.

    Raises:
        CkptMetaError: BAD_REQUEST for a kind that there is not; SOURCE_MISSING, naming those that this checkpoint has.
    """
    if kind not in TITLES:
        raise CkptMetaError(Code.BAD_REQUEST, f"There is no kind of source {kind!r}. Kinds: {', '.join(TITLES)}.")
    found = find_sources(checkpoint)
    for source in found:
        if source.kind == kind:
            return source
    looked = {
        METAGRAPH: f"no {checkpoint.name}.meta lies beside it",
        SAVED_MODEL: f"it is not the {_VARIABLES}/{_VARIABLES} of a folder with a {_SAVED_MODEL}",
        KERAS_CONFIG: "it is no .keras file, and there is no event file in its run",
    }[kind]
    if checkpoint.listed is not None and kind != METAGRAPH:
        looked = f"of a remote logdir no {TITLES[kind]} is read yet (copy the run's folder, and give the copy)"
    raise CkptMetaError(
        Code.SOURCE_MISSING,
        f"Checkpoint {checkpoint.name} has no source {kind}: {looked}. It has: {', '.join(s.kind for s in found)}.",
    )


def find_event_files(checkpoint: Checkpoint) -> list[str]:
    """Return the event files of a checkpoint's run, the newest first: in its folder, one below it, and in `../train`.

    Keras' callback writes to `train`, below the folder that it is given.
    """
    folder = os.path.dirname(checkpoint.prefix)
    found = []
    for place in _list_places(folder, checkpoint.root):
        try:
            with os.scandir(place) as entries:
                for entry in entries:
                    if entry.name.startswith(EVENT_FILES) and _is_file(entry.path, checkpoint.root):
                        found.append((entry.stat().st_mtime, entry.path))
        except OSError:
            continue  # it went while we looked, or is not ours to read
    return [path for _, path in sorted(found, reverse=True)][:_MOST_EVENT_FILES]


def check_source_confined(path: str, checkpoint: Checkpoint) -> None:
    """Make sure, right before it is read, that a source lies within the checkpoint's logdir.

    Raises:
        CkptMetaError: OUTSIDE_LOGDIR; SOURCE_MISSING where it has gone.
    """
    if checkpoint.listed is not None:
        confined = path.startswith(f"{checkpoint.root}/")  # there are no links
    elif not os.path.isfile(path):
        raise CkptMetaError(Code.SOURCE_MISSING, f"{path} is no longer there.")
    else:
        confined = is_within(os.path.realpath(path), checkpoint.root)
    if not confined:
        raise CkptMetaError(Code.OUTSIDE_LOGDIR, f"{path} is a link that leads out of the logdir.")


def _list_places(folder: str, root: str) -> Iterator[str]:
    yield folder
    try:
        with os.scandir(folder) as entries:
            below = sorted(e.path for e in entries if e.is_dir())
    except OSError:
        below = []
    for place in [*below[:_MOST_FOLDERS], os.path.join(os.path.dirname(folder), "train")]:
        if is_within(os.path.realpath(place), root):
            yield place


def _is_file(path: str, root: str) -> bool:
    return os.path.isfile(path) and is_within(os.path.realpath(path), root)
