"""Tell a model's own variables from what training saves beside them. Runs anywhere."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from tb_ckptmeta.core.contents import VALUE, ObjectGraph, StoredTensor

# Edges of a `TrackableObjectGraph` under which Keras keeps state of the training, not of the model: Keras
# 3's compiled model (keras/src/trainers/trainer.py) and tf_keras' (`keras_api`, `compiled_*`).
_TRAINING_EDGES = frozenset(
    {
        "optimizer",
        "_optimizer",
        "inner_optimizer",
        "loss_tracker",
        "_loss_tracker",
        "metrics",
        "_metrics",
        "compiled_loss",
        "compiled_metrics",
        "_compile_loss",
        "_compile_metrics",
        "keras_api",
    }
)

# What `adapt` of a Keras lookup layer counts words in, until it has a vocabulary: the model has it as well, but no
# graph reads it.
_COUNTING_EDGES = frozenset({"token_counts"})

# Counters, where they are scalars: a layer of one of these names is no counter.
_COUNTER_EDGES = frozenset(
    {
        "save_counter",
        "global_step",
        "step",
        "epoch",
        "_train_counter",
        "_test_counter",
        "_predict_counter",
        "_initial_epoch",
    }
)

# How the optimizers of Keras 3, of tf_keras and of tf_keras' legacy ones call their count of steps.
_STEP_EDGES = frozenset({"iterations", "_iterations", "iter"})

# What else they have, one or the other.
_OPTIMIZER_EDGES = frozenset(
    {
        "learning_rate",
        "_learning_rate",
        "_current_learning_rate",
        "decay",
        "momentum",
        "beta_1",
        "rho",
        "_variables",
        "_trainable_variables",
        "_momentums",
        "_velocities",
    }
)

# What `tf.random.Generator` keeps its state in.
_GENERATOR_EDGE = "_state_var"

# The slots of tf_keras' optimizers.
_KERAS_SLOTS = frozenset({"m", "v", "vhat", "rms", "mg", "momentum", "accumulator", "accum_grad", "accum_var"})

# Variables that TF1 optimizers and training loops add to a graph beside the model's.
_NAMES = re.compile(
    r"(?:.*/)?(?:global_step|save_counter|beta[12]_power(?:_\d+)?|Adam/(?:iter|beta_[12]|decay|learning_rate)"
    r"|loss_scale|good_steps|current_loss_scale)"
)


def is_name_bookkeeping(
    key: str, shape: tuple[int, ...], variables: Mapping[str, tuple[int | None, ...] | None]
) -> bool:
    """Tell whether a name-based key is a counter or the slot of a model's variable.

    `variables` are those that are bound. A slot (`Adam`, `Adam_1`, `Momentum`, `ExponentialMovingAverage`) is named
    after its variable, `VARIABLE/SLOT`, and has its shape (tensorflow/python/training/slot_creator.py); the optimizers
    of tf_keras put names of their own before it: `training/Adam/VARIABLE/m`.
    """
    if _NAMES.fullmatch(key):
        return True
    owner, _, slot = key.rpartition("/")
    while owner not in variables and slot in _KERAS_SLOTS and "/" in owner:
        owner = owner.partition("/")[2]
    owned = variables.get(owner)
    if owned is None or len(owned) != len(shape):
        return False
    return all(m in (None, s) for m, s in zip(owned, shape, strict=True))


def is_array_bookkeeping(path: str) -> bool:
    """Tell whether an array of a Keras file is the training's: its optimizer's, a metric's."""
    return path.partition("/")[0] in _TRAINING_EDGES


def find_bookkeeping_nodes(
    saved: ObjectGraph, tensors: Mapping[str, StoredTensor], start: int, known: Collection[int]
) -> set[int]:
    """Return the nodes below `start` that belong to the training alone.

    Those are slot variables, and what can be reached only through an optimizer or another edge of the training; never a
    node in `known`, which the model has itself and reads, unless it is one that `adapt` counts in, or an optimizer to
    judge by what it holds, all of it or none of what is read: one that a builder compiles has no slots yet, and one
    that it builds lists the model's variables.
    """
    slots = {slot for node in saved.nodes for _, _, slot in node.slots}
    seen = {start}
    queue = [start]
    for node in queue:
        for name, child in saved.nodes[node].children.items():
            if child in seen or child in slots:
                continue
            counting = name in _COUNTING_EDGES and not saved.nodes[child].children
            if child in known:
                training = _is_optimizer(saved, tensors, child) and not _is_home(saved, start, child, known)
            else:
                training = _is_training(saved, tensors, name, child)
            if counting or training:
                continue
            seen.add(child)
            queue.append(child)
    return set(saved.reachable(start)) - seen


def _is_home(saved: ObjectGraph, start: int, child: int, known: Collection[int]) -> bool:
    """Tell whether what the model reads is below `child` and nowhere else: a codebook may count steps, too."""
    elsewhere = {start}
    queue = [start]
    for node in queue:
        for other in saved.nodes[node].children.values():
            if other not in elsewhere and other != child:
                elsewhere.add(other)
                queue.append(other)
    return any(VALUE in saved.nodes[n].keys and n in known and n not in elsewhere for n in saved.reachable(child))


def find_beside(
    saved: ObjectGraph,
    tensors: Mapping[str, StoredTensor],
    attachment: Sequence[str],
    known: Collection[int],
    part: Collection[int],
) -> dict[str, str]:
    """Return key -> object that holds it, of what a checkpoint has beside the model and is not the training's own.

    Such are the other half of a GAN, an average of the weights. `attachment` are the edges to the model, `known` the
    nodes that it has itself and reads, `part` those of its part of the checkpoint.
    """
    chain = [0]
    for name in attachment:
        chain.append(saved.nodes[chain[-1]].children[name])
    # Not what hangs on the model as well.
    seen = {*part, *chain, *find_bookkeeping_nodes(saved, tensors, 0, known)}
    seen |= {slot for node in saved.nodes for _, _, slot in node.slots}
    beside: dict[str, str] = {}
    queue = [
        (child, "/".join((*attachment[:depth], name)))
        for depth, above in enumerate(chain)
        for name, child in saved.nodes[above].children.items()
        # A scalar of its own is a counter, the best loss so far, a rate: by whatever name, of the training.
        if not _is_scalar(saved, tensors, child)
    ]
    for node, owner in queue:
        if node in seen:
            continue
        seen.add(node)
        if VALUE in saved.nodes[node].keys:  # else the state of an iterator or a table, a layer's configuration
            beside[saved.nodes[node].keys[VALUE]] = owner
        queue += [(c, owner) for name, c in saved.nodes[node].children.items() if name != _GENERATOR_EDGE]
    return beside


def find_likely_model(saved: ObjectGraph, tensors: Mapping[str, StoredTensor]) -> str | None:
    """Return the edge of the root that leads to the one child holding a model; None if there is not just one."""
    likely = [
        name
        for name, child in saved.nodes[0].children.items()
        if not _is_training(saved, tensors, name, child)
        and saved.nodes[child].children
        and any(saved.nodes[n].keys for n in saved.reachable(child))
    ]
    return likely[0] if len(likely) == 1 else None


def _is_training(saved: ObjectGraph, tensors: Mapping[str, StoredTensor], name: str, child: int) -> bool:
    if name in _COUNTER_EDGES:
        return _is_scalar(saved, tensors, child)
    return name in _TRAINING_EDGES or _is_optimizer(saved, tensors, child)


def _is_optimizer(saved: ObjectGraph, tensors: Mapping[str, StoredTensor], child: int) -> bool:
    """Tell an optimizer by whatever name: it has slots, or counts steps, in one integer, and has what they have."""
    node = saved.nodes[child]
    if node.slots:
        return True
    steps = [saved.nodes[c].keys for n, c in node.children.items() if n in _STEP_EDGES]
    counts = any(
        k in tensors and tensors[k].shape == () and "int" in tensors[k].dtype for s in steps for k in s.values()
    )
    return counts and bool(_OPTIMIZER_EDGES & node.children.keys())


def _is_scalar(saved: ObjectGraph, tensors: Mapping[str, StoredTensor], child: int) -> bool:
    node = saved.nodes[child]
    return not node.children and all(k in tensors and tensors[k].shape == () for k in node.keys.values())
