"""One row of the corpus: a model, how its checkpoint is written, and what is expected of its export."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Row:
    """A model of the corpus.

    `name`: the run below its flavour, and the builder of builders/FAMILY.py unless `builder` says another.
    `arguments`: the builder's; the training script records them beside the checkpoint.
    `keras`: which Keras the training script has, "3" or "legacy". `how` it writes the checkpoint: see write.py.
    `integers`: how the training script draws integer inputs, below this number.
    `status`, `refused`: the expected verdict, and the error code of the refusal where there is to be one. `says`: what
    the refusal, or the notes of the export, must hold.
    `partial`: exported with --allow-partial; what nothing restores is then as the builder initializes it.
    `random`: the outputs for which the model draws random numbers when it is called: they cannot be compared.
    `tolerance`: how far outputs may be apart, relative to max(1, max |reference|).
    `unread`: client -> what it says instead of reading the export, or "off by" where it reads it wrongly, for its own
    limit.
    `needs`: a module without which the row is skipped. `remark`: for the table.
    """

    name: str
    family: str
    builder: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    keras: str = "3"
    how: str = "checkpoint"
    integers: int = 4
    status: str = "match"
    refused: str | None = None
    says: str = ""
    partial: bool = False
    random: tuple[str, ...] = ()
    tolerance: float = 1e-5
    unread: Mapping[str, str] = field(default_factory=dict)
    needs: str | None = None
    remark: str = ""

    @property
    def id(self) -> str:
        return f"{self.keras}/{self.name}"

    @property
    def registered(self) -> str:
        """The name of the builder."""
        return self.builder or self.name

    def as_json(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "arguments": dict(self.arguments),
            "unread": dict(self.unread),
            "id": self.id,
            "registered": self.registered,
        }


def in_both(name: str, family: str, **more: Any) -> list[Row]:
    """A row for each Keras."""
    return [Row(name, family, keras=keras, **more) for keras in ("3", "legacy")]
