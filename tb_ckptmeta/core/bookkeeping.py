"""Tell a model's own variables from what training saves beside them. Runs anywhere."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from tb_ckptmeta.core.contents import ObjectGraph, StoredTensor

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

# Variables that TF1 optimizers and training loops add to a graph beside the model's.
_NAMES = re.compile(
    r"(?:.*/)?(?:global_step|save_counter|beta[12]_power(?:_\d+)?|Adam/(?:iter|beta_[12]|decay|learning_rate)"
    r"|loss_scale|good_steps|current_loss_scale)"
)


def is_name_bookkeeping(
    key: str, shape: tuple[int, ...], variables: Mapping[str, tuple[int | None, ...] | None]
) -> bool:
    """Tell whether a name-based key is a counter or the slot of a model's variable.

    A slot (`Adam`, `Adam_1`, `Momentum`, `ExponentialMovingAverage`) is named after its variable:
    `VARIABLE/SLOT`, or `OPTIMIZER/VARIABLE/SLOT` as tf_keras has it, and has the variable's shape
    (tensorflow/python/training/slot_creator.py).
    """
    if _NAMES.fullmatch(key):
        return True
    owner = key.rpartition("/")[0]
    while owner:
        owned = variables.get(owner)
        if owned is not None and len(owned) == len(shape):
            return all(m in (None, s) for m, s in zip(owned, shape, strict=True))
        owner = owner.partition("/")[2]
    return False


def find_bookkeeping_nodes(
    saved: ObjectGraph, tensors: Mapping[str, StoredTensor], start: int, known: Collection[int]
) -> set[int]:
    """Return the nodes below `start` that belong to the training alone.

    Those are slot variables, and what can be reached only through an optimizer or another edge of the
    training; never a node in `known`, which the model has itself.
    """
    slots = {slot for node in saved.nodes for _, _, slot in node.slots}
    seen = {start}
    queue = [start]
    for node in queue:
        for name, child in saved.nodes[node].children.items():
            if child in seen or child in slots:
                continue
            if child not in known and _is_training(saved, tensors, name, child):
                continue
            seen.add(child)
            queue.append(child)
    return set(saved.reachable(start)) - seen


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
    node = saved.nodes[child]
    if name in _COUNTER_EDGES:
        return not node.children and all(k in tensors and tensors[k].shape == () for k in node.keys.values())
    return name in _TRAINING_EDGES or bool(node.slots) or bool(_STEP_EDGES & node.children.keys())
