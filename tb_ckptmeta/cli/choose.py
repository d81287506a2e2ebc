"""Settle checkpoint, builder and arguments from what a command line says."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping

from tb_ckptmeta.cli.setup import find_explicit
from tb_ckptmeta.core.arguments import Scalar, coerce_texts
from tb_ckptmeta.core.checkpoint import Checkpoint, Pairing
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.engine.pair import pair_bare
from tb_ckptmeta.engine.registry import Builders
from tb_ckptmeta.engine.scan import find_by_prefix, read_records
from tb_ckptmeta.engine.workspace import Choice, Workspace


def get_bare_checkpoint(prefix: str) -> Checkpoint:
    """Return the checkpoint at a path.

    Raises:
        CkptMetaError: CHECKPOINT_MISSING, with what lies there instead.
    """
    found = find_by_prefix(prefix)
    if found is not None:
        return found
    folder = os.path.dirname(prefix) or "."
    if os.path.isdir(prefix):
        hint = " It is a folder: give a checkpoint in it, such as those that `tb-ckptmeta scan` lists."
    elif os.path.isdir(folder):
        hint = f" `tb-ckptmeta scan {folder}` lists what is there."
    else:
        hint = f" There is no folder {folder} either."
    raise CkptMetaError(Code.CHECKPOINT_MISSING, f"There is no checkpoint {prefix} (no {prefix}.index).{hint}")


def pair_bare_checkpoint(checkpoint: Checkpoint, builders: Builders) -> Pairing:
    """Return the pairing of a checkpoint given by its path, by the record beside it or by pattern.

    Raises:
        CkptMetaError: INVALID_RECORD.
    """
    records = read_records(os.path.dirname(checkpoint.prefix) or ".")
    return pair_bare(checkpoint, builders, records, find_explicit(builders))


def choose(
    workspace: Workspace, builders: Builders, checkpoint: Checkpoint, pairing: Pairing, options: argparse.Namespace
) -> Choice:
    """Return what `--builder` and `--set` say, on top of the pairing.

    Raises:
        CkptMetaError: as `Workspace.choose`.
    """
    arguments: Mapping[str, Scalar] | None = None
    name = options.builder or pairing.builder
    if options.set and name is not None:
        parameters = builders.get(name).description.parameters
        recorded = pairing.arguments if name == pairing.builder else {}
        texts = dict(options.set)
        arguments = coerce_texts(name, parameters, texts, recorded)
    return workspace.choose(checkpoint, options.builder, arguments, renames=options.rename, pairing=pairing)
