"""One mismatch: what was trained, what the code says now, and the verdict that is expected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Call = tuple[str, Mapping[str, Any]]
"""A builder and its arguments."""


@dataclass(frozen=True)
class Mismatch:
    """A checkpoint of `was`, verified with `now`; both are builders of builders/FAMILY.py.

    `keras`: which one wrote the checkpoint, and `how`, as tests/write.py has it. `reports`: where people met it.
    `summary`: the verdict in a line. `missing`, `unexpected`: names and keys that no proposed rename explains, each
    with its closest candidate, "NAME ~ KEY"; of keys, what all of them end in is left out. `differ`: "NAME MODEL
    CHECKPOINT" of shapes and dtypes, likewise. `bookkeeping`: how many keys. `renames`: "FROM -> TO, COUNT of OF",
    proposed. `ambiguous`: "FROM -> TO or …". `says`: a part of the notes.
    `mend`: the rules that mend it where they are not the proposed ones. `mended`: the verdict under either. Whatever
    matches is exported, and read by a process without the source.
    """

    name: str
    family: str
    was: Call
    now: Call
    summary: str = ""
    keras: str = "3"
    how: str = "checkpoint"
    reports: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    differ: tuple[str, ...] = ()
    bookkeeping: int = 0
    renames: tuple[str, ...] = ()
    ambiguous: tuple[str, ...] = ()
    says: str = ""
    mend: tuple[str, ...] = ()
    mended: str = ""
    integers: int = 4

    @property
    def id(self) -> str:
        return f"{self.keras}/{self.name}"

    def as_write_row(self) -> dict[str, Any]:
        """Return the row that tests/write.py takes."""
        builder, arguments = self.was
        return {
            "id": self.id,
            "family": self.family,
            "registered": builder,
            "builder": "",
            "arguments": dict(arguments),
            "how": self.how,
            "integers": self.integers,
        }


def builder(name: str, **arguments: Any) -> Call:
    """Return a builder with its arguments."""
    return name, arguments
