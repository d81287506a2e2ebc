"""Settle checkpoint, builder and arguments from what a command line says."""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from tb_ckptmeta.cli.setup import find_explicit, repeat_builders
from tb_ckptmeta.core.arguments import Scalar, coerce_texts
from tb_ckptmeta.core.checkpoint import Checkpoint, Pairing
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.solve import split_unknown
from tb_ckptmeta.engine.checkpoint_file import is_folder
from tb_ckptmeta.engine.choice import Choice
from tb_ckptmeta.engine.pair import pair_bare
from tb_ckptmeta.engine.process import OnSteps
from tb_ckptmeta.engine.records import read_records
from tb_ckptmeta.engine.registry import Builders
from tb_ckptmeta.engine.scan import find_by_prefix
from tb_ckptmeta.engine.solve import Solution
from tb_ckptmeta.engine.workspace import Workspace


def get_bare_checkpoint(prefix: str) -> Checkpoint:
    """Return the checkpoint at a path.

    Raises:
        CkptMetaError: CHECKPOINT_MISSING, with what lies there instead.
    """
    found = find_by_prefix(prefix)
    if found is not None:
        return found
    folder = os.path.dirname(prefix) or "."
    if is_folder(prefix):
        hint = " It is a folder: give a checkpoint in it, such as those that `tb-ckptmeta scan` lists."
    elif is_folder(folder):
        hint = f" `tb-ckptmeta scan {shlex.quote(folder)}` lists what is there."
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


@dataclass(frozen=True)
class Settled:
    """What is to be rebuilt, and how arguments given as `?` were solved for, if any were."""

    choice: Choice
    solution: Solution | None = None


def settle(
    workspace: Workspace,
    builders: Builders,
    checkpoint: Checkpoint,
    pairing: Pairing,
    options: argparse.Namespace,
    on_steps: OnSteps,
) -> Settled:
    """Return what `--builder` and `--set` say, on top of the pairing; `--set units=?` is solved for.

    `--source` stands in their stead.

    Raises:
        CkptMetaError: NOT_DETERMINED; as `Workspace.choose` and `Workspace.solve`.
    """
    if options.source is not None:
        if options.set or options.rename:
            message = "A source takes neither arguments nor renames: --set and --rename are for a builder."
            raise CkptMetaError(Code.INVALID_ARGUMENTS, message)
        return Settled(workspace.choose_source(checkpoint, options.source))
    arguments: Mapping[str, Scalar] | None = None
    renames = options.rename
    name = options.builder or pairing.builder
    if not options.set or name is None:
        return Settled(workspace.choose(checkpoint, options.builder, arguments, renames=renames, pairing=pairing))
    parameters = builders.get(name).description.parameters
    unknown, texts = split_unknown(parameters, dict(options.set))
    recorded = pairing.get_arguments(name)
    if not unknown:
        arguments = coerce_texts(name, parameters, texts, recorded)
        return Settled(workspace.choose(checkpoint, options.builder, arguments, renames=renames, pairing=pairing))
    # What is unknown must not be called missing: any integer stands for it meanwhile.
    known = dict(coerce_texts(name, parameters, texts, {**recorded, **dict.fromkeys(unknown, 1)}))
    guesses = {n: v for n, v in recorded.items() if n in unknown}
    known = {n: v for n, v in known.items() if n not in unknown} | guesses
    solution = workspace.solve(checkpoint, name, known, unknown, renames=renames, pairing=pairing, on_steps=on_steps)
    if not solution.determined:
        raise CkptMetaError(Code.NOT_DETERMINED, _explain(name, unknown, solution))
    choice = workspace.choose(checkpoint, name, solution.arguments, renames=renames, pairing=pairing)
    return Settled(choice, solution)


def pair_as_asked(checkpoint: Checkpoint, builders: Builders, options: argparse.Namespace) -> Checkpoint:
    """Return a checkpoint with the pairing that `--builder` and `--set` make of its own.

    Raises:
        CkptMetaError: UNKNOWN_BUILDER, INVALID_ARGUMENTS, also for `?`, which is solved for each checkpoint by itself.
    """
    pairing = checkpoint.pairing
    name = options.builder or pairing.builder
    if name is None or not (options.builder or options.set):
        return checkpoint
    parameters = builders.get(name).description.parameters
    unknown, texts = split_unknown(parameters, dict(options.set))
    if unknown:
        command = ["tb-ckptmeta", "verify", checkpoint.prefix, *repeat_builders(options), "--builder", name]
        command += ["--set", f"{unknown[0]}=?"]
        raise CkptMetaError(
            Code.INVALID_ARGUMENTS,
            f"A batch does not solve for {' and '.join(unknown)}: give a value. `{shlex.join(command)}` finds it for "
            "one checkpoint.",
        )
    recorded = pairing.get_arguments(name)
    arguments = coerce_texts(name, parameters, texts, recorded)
    return checkpoint.with_pairing(Pairing(name, arguments, "as asked for", (name,)))


def _explain(builder: str, unknown: list[str], solution: Solution) -> str:
    names = " and ".join(unknown)
    text = f"The checkpoint does not determine {names} of builder {builder!r}: {solution.reason}."
    verdict = solution.verdict
    if verdict is not None:
        used = ", ".join(f"{n} = {v}" for n, v in verdict.arguments.items())
        text += f" With {used} the verdict is {verdict.summary()}."
    return text
