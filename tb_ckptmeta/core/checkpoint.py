"""Checkpoints as the scan lists them, and their pairing. Runs anywhere."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tb_ckptmeta.core.arguments import Scalar

ROOT_RUN = "."
"""The run that is the logdir itself, as TensorBoard names it."""

KERAS_FORMATS = frozenset({"keras-weights", "keras"})
"""The formats that are a file of Keras' own."""


@dataclass(frozen=True)
class Pairing:
    """Which builder a checkpoint has, and why.

    `builder` is None when nothing, or more than one thing, claims the checkpoint; `claims` names every
    builder that does. `reason` is a phrase for people.
    """

    builder: str | None = None
    arguments: Mapping[str, Scalar] = field(default_factory=dict)
    reason: str = ""
    claims: tuple[str, ...] = ()

    def get_arguments(self, builder: str) -> Mapping[str, Scalar]:
        """Return the arguments that it has for a builder: none for another than its own."""
        return self.arguments if builder == self.builder else {}

    def as_json(self) -> dict[str, Any]:
        return {
            "builder": self.builder,
            "arguments": dict(self.arguments),
            "reason": self.reason,
            "claims": list(self.claims),
        }


UNPAIRED = Pairing()


@dataclass(frozen=True)
class Listed:
    """What the listing of a remote folder has told of a checkpoint, so that it need not be asked again.

    `mark` changes when one of its files does. `metagraph`: whether a `.meta` lies beside it.
    """

    mark: str
    metagraph: bool


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint of a logdir.

    `prefix` is what TensorFlow's restore takes; `files` are its parts (index and shards), which make up
    `bytes`; `modified` is the newest of them, in seconds since the epoch. `format` is None until the
    index has been read. `pattern_path` is what builders' globs are matched against. `root` is the folder
    that every file must lie in, symbolic links followed. Of a remote logdir `prefix`, `files` and `root` are URLs, and
    `listed` is not None.
    """

    id: str
    run: str
    name: str
    prefix: str
    step: int | None
    bytes: int
    modified: float
    format: str | None
    state: str
    problem: str
    pattern_path: str
    root: str
    files: tuple[str, ...] = ()
    pairing: Pairing = UNPAIRED
    listed: Listed | None = None

    def with_pairing(self, pairing: Pairing) -> Checkpoint:
        fields = vars(self).copy()
        fields["pairing"] = pairing
        return fill_checkpoint(fields)

    def as_json(self) -> dict[str, Any]:
        """Return the `Checkpoint` of the JSON contract."""
        return {
            "id": self.id,
            "run": self.run,
            "name": self.name,
            "prefix": self.prefix,
            "step": self.step,
            "bytes": self.bytes,
            "modified": self.modified,
            "format": self.format,
            "state": self.state,
            "problem": self.problem,
            "pairing": self.pairing.as_json(),
        }


def fill_checkpoint(fields: dict[str, Any]) -> Checkpoint:
    """Return the checkpoint of these fields, every one of them, which are its own from now on.

    A frozen dataclass assigns each by a call of its own, which takes longer than all else that makes a checkpoint of
    two names; a scan makes ten thousand at a time.
    """
    made = object.__new__(Checkpoint)
    object.__setattr__(made, "__dict__", fields)
    return made


def make_id(pattern_path: str) -> str:
    """Return the opaque id of the checkpoint at `pattern_path` of its logdir; the same after a restart."""
    return begin_ids("")(pattern_path)


def begin_ids(start: str) -> Callable[[str], str]:
    """Return what makes the ids of checkpoints whose paths start in the same way, of the rest of each path."""
    begun = hashlib.blake2b(b"checkpoint\0" + start.encode("utf-8", "surrogateescape"), digest_size=15)

    def make(rest: str) -> str:
        digest = begun.copy()
        digest.update(rest.encode("utf-8", "surrogateescape"))
        return digest.hexdigest()

    return make
