"""Checkpoints as the scan lists them, and their pairing. Runs anywhere."""

from __future__ import annotations

import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tb_ckptmeta.core.arguments import Scalar

ROOT_RUN = "."
"""The run that is the logdir itself, as TensorBoard names it."""

_URL_SAFE = bytes.maketrans(b"+/", b"-_")  # of RFC 4648


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

    def as_json(self) -> dict[str, Any]:
        return {
            "builder": self.builder,
            "arguments": dict(self.arguments),
            "reason": self.reason,
            "claims": list(self.claims),
        }


UNPAIRED = Pairing()


@dataclass(frozen=True)
class Checkpoint:
    """One checkpoint of a logdir.

    `prefix` is what TensorFlow's restore takes; `files` are its parts (index and shards), which make up
    `bytes`; `modified` is the newest of them, in seconds since the epoch. `format` is None until the
    index has been read. `pattern_path` is what builders' globs are matched against. `root` is the folder
    that every file must lie in, symbolic links followed.
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

    def with_pairing(self, pairing: Pairing) -> Checkpoint:
        return fill_checkpoint({**vars(self), "pairing": pairing})

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


def fill_checkpoint(fields: Mapping[str, Any]) -> Checkpoint:
    """Return the checkpoint of these fields, every one of them.

    A frozen dataclass assigns each by a call of its own, which takes longer than all else that makes a checkpoint of
    two names; a scan makes ten thousand at a time.
    """
    made = object.__new__(Checkpoint)
    vars(made).update(fields)
    return made


def make_id(pattern_path: str) -> str:
    """Return the opaque id of the checkpoint at `pattern_path` of its logdir; the same after a restart."""
    digest = hashlib.sha256(b"checkpoint\0" + pattern_path.encode("utf-8", "surrogateescape")).digest()
    return binascii.b2a_base64(digest[:15], newline=False).translate(_URL_SAFE).decode("ascii")
