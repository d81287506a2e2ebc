"""Make the engine's parts from a command's options."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from tb_ckptmeta.cli.output import Progress
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.engine.registry import Builders
from tb_ckptmeta.engine.workspace import DEFAULT_WORKERS, Workspace, open_workspace


def make_workspace(options: argparse.Namespace, logdirs: Sequence[str] = ()) -> Workspace:
    """Return the workspace of a command.

    Raises:
        CkptMetaError: BAD_REQUEST for a SPEC that names nothing.
    """
    memory = int(options.memory_limit * 2**30)
    workers = getattr(options, "workers", None) or DEFAULT_WORKERS
    return open_workspace(*logdirs, builders=options.builders, seconds=options.timeout, memory=memory, workers=workers)


def read_builders(workspace: Workspace) -> Builders:
    """Return every builder, telling a terminal that this takes the time of TensorFlow's import.

    Raises:
        CkptMetaError: DUPLICATE_BUILDER.
    """
    with Progress("Reading the builders") as progress:
        progress.begin()
        builders = workspace.registry.read()
    for problem in builders.problems:
        if problem.code is Code.DUPLICATE_BUILDER:
            raise CkptMetaError(problem.code, problem.message, problem.details)
    return builders


def find_explicit(builders: Builders) -> list[str]:
    """Return the names of the builders that `--builders` gave, not an installed package."""
    return [name for name, b in builders.by_name.items() if not b.spec.entry_point]


def repeat_builders(options: argparse.Namespace) -> list[str]:
    """Return the words that give a command the same builders."""
    return [word for spec in options.builders for word in ("--builders", spec)]
