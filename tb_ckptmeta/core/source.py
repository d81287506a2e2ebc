"""Where a graph comes from when no builder makes it: the kinds, and one that was found. Runs anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

METAGRAPH = "metagraph"
SAVED_MODEL = "saved_model"
KERAS_CONFIG = "keras_config"
OBJECTS = "objects"

TITLES: Mapping[str, str] = {
    METAGRAPH: "MetaGraphDef",
    SAVED_MODEL: "SavedModel",
    KERAS_CONFIG: "Keras configuration",
    OBJECTS: "Tree of variables",
}
"""Kind -> what people call it."""


@dataclass(frozen=True)
class FoundSource:
    """A source that lies beside a checkpoint.

    `path` is None where it is the checkpoint itself. `description` is a sentence that says what it is. `asked`: using
    it deserialises a model in a worker, which is done only when somebody asks for it; the others are parsed.
    """

    kind: str
    path: str | None
    where: str
    description: str
    asked: bool = False

    @property
    def title(self) -> str:
        """What it is, to begin a sentence."""
        return f"The {TITLES[self.kind]} {self.where}"

    def as_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "title": TITLES[self.kind],
            "where": self.where,
            "description": self.description,
            "asked": self.asked,
        }
