"""Compare a rebuilt model with a checkpoint's contents: which variable is which key, and what is left. Runs anywhere.

An object-based checkpoint is compared as TensorFlow restores it: the checkpoint's object graph and the
model's are walked together, edge by edge, and never by key (a key is merely the shortest path at the time of
saving). A name-based one is compared by variable name.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tb_ckptmeta.core import bookkeeping
from tb_ckptmeta.core.contents import CONFIGURATION, VALUE, Contents, ObjectGraph
from tb_ckptmeta.core.legacy import KERAS_3, LEGACY, find_keras, pair_across_keras, pair_weighted_first
from tb_ckptmeta.core.rebuilt import ModelVariable, Rebuilt
from tb_ckptmeta.core.renames import Rename, Renaming
from tb_ckptmeta.core.verdict import MATCH, MISMATCH, PARTIAL
from tb_ckptmeta.core.walk import (
    Attached,
    Pairs,
    Walk,
    agrees,
    attach,
    pair_by_name,
    same_shape,
    score_binding,
)


@dataclass(frozen=True)
class Comparison:
    """A comparison's outcome: the verdict's lists, and what an export needs.

    `binding`: index of a model variable -> the checkpoint key that restores it.
    `attachment`: edge names from the checkpoint's root to the model; () is the root itself. None for a
    name-based comparison. `listed`: what sits there is not the model but its list of variables. `nodes`: node of the
    checkpoint -> object of the model, of an object-based comparison; `known`: those of them whose object the model
    reads variables of. `mapped`: by more than TensorFlow's own restore
    goes by: renames, or a checkpoint of Keras 2 under a model of Keras 3.
    """

    status: str
    variables: int
    bound: int
    missing: list[dict[str, Any]]
    unexpected: list[dict[str, Any]]
    shape_mismatches: list[dict[str, Any]]
    dtype_mismatches: list[dict[str, Any]]
    bookkeeping: list[dict[str, Any]]
    notes: list[str]
    binding: Mapping[int, str]
    attachment: tuple[str, ...] | None
    listed: bool = False
    nodes: Mapping[int, int] = field(default_factory=dict)
    known: frozenset[int] = frozenset()
    mapped: bool = False


def compare(rebuilt: Rebuilt, contents: Contents, renames: Sequence[Rename] = ()) -> Comparison:
    """Compare every variable of `rebuilt` with what the checkpoint holds, renamed by the rules `renames`."""
    if contents.is_keras_file:
        return _compare_arrays(rebuilt, contents, renames)
    if contents.objects is not None and rebuilt.objects is not None:
        return _compare_objects(rebuilt, contents, contents.objects, renames)
    notes = []
    if contents.objects is not None:
        notes.append(
            "The checkpoint is object-based and the builder made a tf.Graph: they were compared by name. "
            "If the model is built eagerly, register its builder with graph=False."
        )
    elif rebuilt.objects is not None:
        notes.append(
            "The checkpoint is name-based and the builder built eagerly: they were compared by name. "
            "If the checkpoint was saved from a tf.Graph, register the builder with graph=True."
        )
    return _compare_names(rebuilt, contents, notes, renames)


def _compare_arrays(rebuilt: Rebuilt, contents: Contents, renames: Sequence[Rename]) -> Comparison:
    """Compare with a file of Keras' own, by what Keras itself loads into each variable."""
    # Keras was given the arrays under the names that the rules make of them.
    renaming = Renaming(renames)
    paths = {"/".join(renaming.apply(tuple(path.split("/")))[0]): path for path in contents.tensors}
    loads = [(index, paths[path]) for index, path in rebuilt.loads if path in paths]
    binding = {index: path for index, path in loads if index is not None}
    # Of a variable that no graph reads, or that another array is loaded into later.
    beside = {path for index, path in loads if index is None}
    left = _without(list(contents.tensors), list(binding.values()))
    kept = [k for k in left if k in beside or bookkeeping.is_array_bookkeeping(k)]
    found = _conclude(rebuilt, contents, binding, _without(left, kept), kept, [], None)
    return replace(found, mapped=bool(renames))


def _compare_names(rebuilt: Rebuilt, contents: Contents, notes: list[str], renames: Sequence[Rename]) -> Comparison:
    renaming = Renaming(renames)
    called = {key: "/".join(renaming.apply(tuple(key.split("/")))[0]) if renames else key for key in contents.tensors}
    # What is renamed is no longer there under its own name, and what is called so already gives way.
    keys = {key: key for key, renamed in called.items() if renamed == key}
    keys.update((renamed, key) for key, renamed in called.items() if renamed != key)
    binding: dict[int, str] = {}
    for index, variable in enumerate(rebuilt.variables):
        if variable.name in keys:
            binding.setdefault(index, keys[variable.name])
    shapes = {key: rebuilt.variables[i].shape for i, key in binding.items()}
    left = [key for key in contents.tensors if key not in set(binding.values())]
    kept = [k for k in left if bookkeeping.is_name_bookkeeping(k, contents.tensors[k].shape, shapes)]
    # What the renames put another key in the place of, such as the weights beside their averages.
    displaced = {rebuilt.variables[i].name for i, key in binding.items() if rebuilt.variables[i].name != key}
    gone = [k for k in left if k in displaced and k not in kept]
    if gone:
        notes = [*notes, f"{len(gone)} key(s) gave way to what was renamed to their names: {_some(gone)}"]
    kept += gone
    found = _conclude(rebuilt, contents, binding, _without(left, kept), kept, notes, None)
    return replace(found, mapped=bool(renames))


def _compare_objects(rebuilt: Rebuilt, contents: Contents, saved: ObjectGraph, renames: Sequence[Rename]) -> Comparison:
    attached, beyond = _attach(rebuilt, contents, saved, renames)
    walk, notes = attached.walk, [*_describe_twins(attached), *([beyond] if beyond else [])]
    if not walk.binding and rebuilt.listed and saved.nodes[0].children.keys() >= _EXPORT_EDGES:
        return _compare_listed(rebuilt, contents, saved)
    configurations = {n.keys[CONFIGURATION] for n in saved.nodes if CONFIGURATION in n.keys}
    tables = [k for n in walk.nodes for a, k in saved.nodes[n].keys.items() if a not in (VALUE, CONFIGURATION)]
    if tables:
        notes.append(f"An exported graph restores variables alone, not the tables or other state in: {_some(tables)}")
    read = _find_read(rebuilt)
    known = frozenset(node for node, model_node in walk.nodes.items() if model_node in read)
    part = _find_part(rebuilt, saved, walk)
    own = bookkeeping.find_bookkeeping_nodes(saved, contents.tensors, walk.start, known)
    bound_keys = set(walk.binding.values())
    model_keys = {key for node in part - own for key in saved.nodes[node].keys.values()} - configurations
    left = [k for k in contents.tensors if k not in bound_keys]
    unexpected = [k for k in left if k in model_keys]
    found = _conclude(rebuilt, contents, walk.binding, unexpected, _without(left, unexpected), notes, walk.path)
    beside = bookkeeping.find_beside(saved, contents.tensors, walk.path, known, part)
    kept = [{**row, "beside": beside[row["key"]]} if row["key"] in beside else row for row in found.bookkeeping]
    found = replace(found, bookkeeping=kept, mapped=bool(renames or beyond), nodes=walk.nodes, known=known)
    # Which half of a pair, a GAN's or a target network's, is meant is not ours to guess.
    return replace(found, status=PARTIAL) if attached.ambiguous and found.status == MATCH else found


def _find_part(rebuilt: Rebuilt, saved: ObjectGraph, walk: Walk) -> set[int]:
    """Return the nodes of the model's part of a checkpoint: all below where it sits.

    Of a `tf.train.Checkpoint` that a builder has made of some named parts, all of them found, what is below those.
    """
    read = (i for i, v in enumerate(rebuilt.variables) if v.read)
    named = rebuilt.container and walk.nodes[walk.start] == 0  # by a rename it may be the model itself that sits there
    if not named or any(i not in walk.binding for i in read):  # a part that is not found may have another name
        return set(saved.reachable(walk.start))
    part = {walk.start}
    for child in saved.nodes[walk.start].children.values():
        if child in walk.nodes and child != walk.start:
            part.update(saved.reachable(child))
    return part


def _find_read(rebuilt: Rebuilt) -> set[int]:
    """Return the objects of a model from which one comes to a variable that the graph reads."""
    assert rebuilt.objects is not None
    above: dict[int, list[int]] = defaultdict(list)
    for node, held in enumerate(rebuilt.objects.nodes):
        for child in held.children.values():
            above[child].append(node)
    queue = [node for node, variable in rebuilt.owners.items() if rebuilt.variables[variable].read]
    read = set(queue)
    for node in queue:
        queue += [n for n in above[node] if n not in read]
        read.update(above[node])
    return read


ACROSS_KERAS = (
    "The checkpoint is of Keras 2 (tf_keras) and the model of Keras 3: it was mapped by the order of the layers that "
    "have weights, and by attributes that changed their names. TensorFlow's own restore does not do so: it would "
    "restore next to nothing, and say nothing. What the layers compute is not compared: hard_sigmoid, the "
    "default inside a ConvLSTM of Keras 2, is another function in Keras 3."
)


WEIGHTED_FIRST = (
    "Layers without weights, a Dropout say, have come or gone since. TensorFlow's own restore goes by the layers' "
    "places first and mixes them up here; they were mapped by the order of the layers that have weights."
)


def _attach(
    rebuilt: Rebuilt, contents: Contents, saved: ObjectGraph, renames: Sequence[Rename]
) -> tuple[Attached, str]:
    """Return where the model sits, and a note where it was found there by more than TensorFlow's restore goes by."""
    assert rebuilt.objects is not None
    model, renaming = rebuilt.objects, Renaming(renames)
    root = renaming.find_root(model) or 0

    def attach_by(pairs: Pairs) -> Attached:
        return attach(rebuilt, contents, saved, renaming.pair(model, saved, pairs) if renames else pairs, root)

    exact = attach_by(pair_by_name(rebuilt.objects, saved))
    if find_keras(contents) != LEGACY:
        return exact, ""
    older = rebuilt.keras == KERAS_3
    other = attach_by(pair_across_keras(rebuilt, saved) if older else pair_weighted_first(rebuilt.objects, saved))
    scores = [score_binding(rebuilt, contents, found.walk.binding) for found in (exact, other)]
    if scores[1] > scores[0] or (older and not scores[0][0]):
        return other, ACROSS_KERAS if older else WEIGHTED_FIRST
    return exact, ""


def _describe_twins(attached: Attached) -> list[str]:
    if not attached.twins:
        return []
    return [
        f"The model fits {len(attached.twins)} places of the checkpoint equally well, and was compared with the first: "
        f"{_some(list(attached.twins))}. To say which, let the builder name its place: "
        "Model(root=tf.train.Checkpoint(NAME=model), call=model, inputs=…)."
    ]


# What Keras' `Model.export` saves (keras/src/export/saved_model_export_archive.py): not the model, but lists of its
# variables, and all of them once more as the exported functions have captured them.
_LIST = "variables"
_EXPORT_EDGES = frozenset({_LIST, "trainable_variables", "non_trainable_variables"})
_EXPORT_COPIES = "_all_variables"


def _compare_listed(rebuilt: Rebuilt, contents: Contents, saved: ObjectGraph) -> Comparison:
    """Compare with an export of Keras by the place that a variable has in the model's own list `variables`."""
    root = saved.nodes[0].children
    held = saved.nodes[root[_LIST]].children
    binding: dict[int, str] = {}
    beside = set()  # the list has it, and the graph does not read it: a seed's state, say
    for place, index in enumerate(rebuilt.listed):
        node = held.get(str(place))
        key = None if node is None else saved.nodes[node].keys.get(VALUE)
        if key is not None and index is not None:
            binding.setdefault(index, key)
        elif key is not None:
            beside.add(key)
    copies = {root[_EXPORT_COPIES]} if _EXPORT_COPIES in root else set()
    copied = {k for start in copies for n in saved.reachable(start) for k in saved.nodes[n].keys.values()}
    left = _without(list(contents.tensors), list(binding.values()))
    listed = {k for n in held.values() for k in saved.nodes[n].keys.values()}
    kept = [k for k in left if k in beside or (k in copied and k not in listed)]
    notes = [
        "The checkpoint is of a SavedModel that Keras exported: it holds the model's list of variables, and they were "
        "compared by their places in it."
    ]
    found = _conclude(rebuilt, contents, binding, _without(left, kept), kept, notes, (_LIST,))
    return replace(found, listed=True)


def _conclude(
    rebuilt: Rebuilt,
    contents: Contents,
    binding: Mapping[int, str],
    unexpected: list[str],
    kept: list[str],
    notes: list[str],
    attachment: tuple[str, ...] | None,
) -> Comparison:
    missing, shapes, dtypes, unread, idle = [], [], [], [], []
    bound = 0
    for index, variable in enumerate(rebuilt.variables):
        key = binding.get(index)
        if key is None:
            if variable.read:
                missing.append({"name": variable.name, **_shape_and_dtype(variable)})
            else:
                unread.append(variable.name)
            continue
        if variable.trainable and not variable.read:
            idle.append(variable.name)
        stored = contents.tensors[key]
        row = {"name": variable.name, "key": key}
        if not same_shape(variable.shape, stored.shape):
            shapes.append({**row, "model": _as_list(variable.shape), "checkpoint": list(stored.shape)})
        if variable.dtype != stored.dtype:
            dtypes.append({**row, "model": variable.dtype, "checkpoint": stored.dtype})
        if variable.read and agrees(variable, stored):
            bound += 1
    read = sum(v.read for v in rebuilt.variables)
    notes = [*rebuilt.notes, *contents.notes, *notes]
    if contents.format == "keras" and not rebuilt.configured:
        notes.append(
            "The configuration in the file was not read: that the layers compute what they did is the builder's word."
        )
    if unread:
        notes.append(
            f"{len(unread)} variable(s) that the graph does not read are not in the checkpoint: {_some(unread)}"
        )
    if idle:
        notes.append(f"{len(idle)} trainable variable(s) are restored, but the graph does not read them: {_some(idle)}")
    if rebuilt.objects is not None and attachment is not None:
        reached = rebuilt.objects.reachable(0)
        tracked = {rebuilt.owners[node] for node in reached if node in rebuilt.owners}
        loose = [v.name for i, v in enumerate(rebuilt.variables) if v.read and i not in tracked and i not in binding]
        if loose:
            notes.append(
                f"tf.train.Checkpoint does not reach {len(loose)} variable(s) of the model, so that no checkpoint of "
                "it holds them: Keras 3 tracks no layers in lists or dicts, and nobody tracks a global or a closure. "
                f"Give each an attribute of its own, and save again: {_some(loose)}"
            )
    if not read and any(v.trainable for v in rebuilt.variables):
        notes.append("The outputs depend on none of the model's variables: what these hold is not in this graph.")
    if not rebuilt.variables:
        notes.append("The model has no variables: there is nothing to restore.")
    if shapes or dtypes or (rebuilt.variables and contents.tensors and not binding):
        status = MISMATCH
    elif missing or unexpected:
        status = PARTIAL
    else:
        status = MATCH
    return Comparison(
        status,
        read,
        bound,
        missing,
        [_key_row(contents, k) for k in unexpected],
        shapes,
        dtypes,
        [_key_row(contents, k) for k in kept],
        notes,
        binding,
        attachment,
    )


def _shape_and_dtype(variable: ModelVariable) -> dict[str, Any]:
    return {"shape": _as_list(variable.shape), "dtype": variable.dtype}


def _as_list(shape: tuple[int | None, ...] | None) -> list[int | None] | None:
    return None if shape is None else list(shape)


def _key_row(contents: Contents, key: str) -> dict[str, Any]:
    stored = contents.tensors[key]
    return {"key": key, "shape": list(stored.shape), "dtype": stored.dtype}


def _without(keys: list[str], taken: list[str]) -> list[str]:
    gone = set(taken)
    return [k for k in keys if k not in gone]


def _some(names: list[str], most: int = 5) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
