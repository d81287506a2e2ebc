"""What a checkpoint is to be rebuilt with, and what that asks of a worker. Runs in the caller's process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tb_ckptmeta.core.arguments import Scalar, check_arguments
from tb_ckptmeta.core.checkpoint import KERAS_FORMATS, Checkpoint, Pairing
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.formats import Format, get_format
from tb_ckptmeta.core.job import Source
from tb_ckptmeta.core.source import OBJECTS, FoundSource
from tb_ckptmeta.engine.folder_above import NO_MATCH
from tb_ckptmeta.engine.registry import Builders, RegisteredBuilder
from tb_ckptmeta.engine.sources import find_sources

if TYPE_CHECKING:
    from tb_ckptmeta.core.contents import Contents
    from tb_ckptmeta.core.renames import Rename

# Errors are read in a browser, too, where it is a field of a form.
_BUILDER = " (on the command line --builder NAME)"
_SOURCE = " (on the command line --source KIND)"


@dataclass(frozen=True)
class Choice:
    """What a checkpoint is to be rebuilt with: a builder, its arguments and what was renamed since; or a source."""

    checkpoint: Checkpoint
    builder: RegisteredBuilder | None
    arguments: Mapping[str, Scalar]
    renames: tuple[Rename, ...] = ()
    source: FoundSource | None = None

    @property
    def name(self) -> str:
        """What makes the graph: the builder's name, else the source's kind."""
        if self.builder is not None:
            return self.builder.name
        assert self.source is not None
        return self.source.kind


def settle_format(checkpoint: Checkpoint, name: str) -> Format:
    """Return the format to export in: a MetaGraphDef alone could restore nothing from a file of Keras' own.

    Raises:
        CkptMetaError: UNKNOWN_FORMAT, also for one that does not go with the checkpoint.
    """
    format = get_format(name)
    if checkpoint.format not in KERAS_FORMATS:
        return format
    if format.name == "metagraph-text":
        raise CkptMetaError(
            Code.UNKNOWN_FORMAT,
            f"{checkpoint.name} is a file of Keras' own, from which no MetaGraphDef restores; it is exported with a "
            "TensorFlow checkpoint of the same weights, in a binary .meta: ask for metagraph or checkpoint.",
        )
    return get_format("checkpoint") if format.name == "metagraph" else format


def make_source(choice: Choice, contents: Contents) -> Source:
    """Return what a worker is told to make: the builder call, or the configuration that is deserialised.

    Raises:
        CkptMetaError: as `make_config_source`.
    """
    if choice.builder is None:
        assert choice.source is not None
        from tb_ckptmeta.engine.without_builder import make_config_source

        return make_config_source(choice.checkpoint, choice.source, contents)
    from tb_ckptmeta.core.legacy import find_keras

    description = choice.builder.description
    if contents.is_keras_file:
        graph = False
    elif description.graph is not None:
        graph = description.graph
    else:
        graph = contents.format != "object"
    return Source(
        choice.builder.spec,
        description.name,
        choice.arguments,
        graph,
        description.keras,
        find_keras(contents),
        tuple(contents.tensors) if contents.is_keras_file else (),
        tuple(str(rename) for rename in choice.renames),
    )


def _describe_sources(checkpoint: Checkpoint) -> str:
    """Say what serves without a builder, where something does."""
    kinds = [s.kind for s in find_sources(checkpoint) if s.kind != OBJECTS]
    return f" Or take what lies beside it as its source{_SOURCE}: {', '.join(kinds)}." if kinds else ""


def settle_arguments(
    builder: RegisteredBuilder, arguments: Mapping[str, Scalar] | None, pairing: Pairing
) -> dict[str, Scalar]:
    """Return what a builder is called with: what is asked for, else what the checkpoint's pairing says of that builder.

    Raises:
        CkptMetaError: INVALID_ARGUMENTS.
    """
    given = pairing.get_arguments(builder.name)
    try:
        return check_arguments(builder.name, builder.description.parameters, given if arguments is None else arguments)
    except CkptMetaError as error:
        if arguments is None and given:  # nobody who asks has said them
            message = f"{error.message} The arguments are {pairing.reason}, beside the checkpoint."
            raise CkptMetaError(error.code, message, error.details) from error
        raise


def get_paired(checkpoint: Checkpoint, pairing: Pairing, builders: Builders) -> str:
    """Return the name of the builder that a checkpoint is paired with.

    Raises:
        CkptMetaError: AMBIGUOUS_PAIRING, UNKNOWN_BUILDER, NO_BUILDER; as the SPECs' modules fail, where there is none.
    """
    if pairing.builder is not None:
        return pairing.builder
    if len(pairing.claims) > 1:
        raise CkptMetaError(
            Code.AMBIGUOUS_PAIRING,
            f"Checkpoint {checkpoint.name}: {pairing.reason}. Say which one{_BUILDER}.",
        )
    if pairing.claims:
        builders.get(pairing.claims[0])  # a recorded builder that is not registered: says what is
    names = ", ".join(sorted(builders.by_name))
    if builders.problems and not names:  # then that is what is wrong, and not the pairing
        first, *others = builders.problems
        raise CkptMetaError(first.code, " ".join(p.message for p in (first, *others)), first.details)
    broken = "".join(f" {p.message}" for p in builders.problems)
    # Said of one checkpoint, not of each that is listed.
    reason, mends = pairing.reason, pairing.reason.startswith(NO_MATCH) and pairing.reason != NO_MATCH
    if reason == NO_MATCH:
        reason = f"{NO_MATCH} {checkpoint.pattern_path}"
    raise CkptMetaError(
        Code.NO_BUILDER,
        f"Checkpoint {checkpoint.name} has no builder: {reason}. "
        + (
            f"{'Or say' if mends else 'Say'} which one{_BUILDER}: {names}."
            if names
            else "Register one (on the command line --builders FILE.py, for TensorBoard --ckptmeta_builders FILE.py)."
        )
        + _describe_sources(checkpoint)
        + broken,
    )
