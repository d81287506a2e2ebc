"""What a rebuild found out about a model, as plain data. Runs anywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tb_ckptmeta.core.contents import ObjectGraph


@dataclass(frozen=True)
class ModelVariable:
    """One variable of a rebuilt model.

    `name`: its node in the flat graph for those that the graph reads, else how the model calls it.
    `shape`: None for an unknown dimension; None altogether for an unknown rank.
    `read`: the outputs depend on it.
    `parts`: the nodes of a partitioned variable, which hold its slices; `name`, `shape` are then the whole's.
    """

    name: str
    shape: tuple[int | None, ...] | None
    dtype: str
    trainable: bool
    read: bool
    parts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rebuilt:
    """What a rebuild found out: enough to compare the model with any checkpoint, without TensorFlow.

    `objects`: the model's own object graph, for a model built eagerly; None for a graph-mode one.
    `owners`: node of `objects` -> index into `variables`.
    `untracked`: node of `objects` -> edges of it that `tf.train.Checkpoint` does not follow, for Keras 3 tracks no
    layers in lists and dicts; what only they reach comes last in `objects`.
    `listed`: what a Keras model's own list `variables` holds, as indices into `variables`; None for what is not
    among them. A Keras `Model.export` saves this list, and not the model.
    `loads`: (index into `variables`, path) for each array of a Keras file that Keras loads; None for a variable that
    is not among them, and for an array that another one replaces.
    `older_orders`: node of `objects` -> its layers, as nodes, in the order that Keras 2 gives them, where that is
    another.
    `frozen`: what a Keras model does not train although it was created trainable, as indices into `variables`.
    `configured`: the model comes from the configuration in a Keras file, and not from a builder.
    `container`: the root is a `tf.train.Checkpoint` that the builder made, and what is called one of its parts.
    `config`: a Keras model's configuration, as its `to_json` has it, or None.
    `classes`: name scope -> class name of the layer that made it.
    `versions`: library -> version that it was rebuilt with.
    """

    variables: tuple[ModelVariable, ...]
    objects: ObjectGraph | None
    owners: Mapping[int, int]
    keras: str
    config: Mapping[str, Any] | None = None
    classes: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    listed: tuple[int | None, ...] = ()
    loads: tuple[tuple[int | None, str], ...] = ()
    untracked: Mapping[int, Mapping[str, int]] = field(default_factory=dict)
    frozen: tuple[int, ...] = ()
    configured: bool = False
    older_orders: Mapping[int, Sequence[int]] = field(default_factory=dict)
    container: bool = False

    def as_json(self) -> dict[str, Any]:
        return {
            "variables": [asdict(v) for v in self.variables],
            "objects": None if self.objects is None else self.objects.as_json(),
            "owners": [[node, variable] for node, variable in self.owners.items()],
            "keras": self.keras,
            "config": self.config,
            "classes": dict(self.classes),
            "versions": dict(self.versions),
            "notes": list(self.notes),
            "listed": list(self.listed),
            "loads": [[index, path] for index, path in self.loads],
            "untracked": [[node, dict(edges)] for node, edges in self.untracked.items()],
            "frozen": list(self.frozen),
            "configured": self.configured,
            "older_orders": [[node, list(order)] for node, order in self.older_orders.items()],
            "container": self.container,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Rebuilt:
        objects = value["objects"]
        return cls(
            tuple(
                ModelVariable(
                    **{**v, "shape": None if v["shape"] is None else tuple(v["shape"]), "parts": tuple(v["parts"])}
                )
                for v in value["variables"]
            ),
            None if objects is None else ObjectGraph.from_json(objects),
            dict(value["owners"]),
            value["keras"],
            value["config"],
            value["classes"],
            value["versions"],
            tuple(value["notes"]),
            tuple(value["listed"]),
            tuple((index, path) for index, path in value["loads"]),
            dict(value["untracked"]),
            tuple(value["frozen"]),
            value["configured"],
            dict(value["older_orders"]),
            value["container"],
        )
