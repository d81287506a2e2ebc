"""List the builders that a SPEC registers. Runs in the worker."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from tb_ckptmeta.core.arguments import describe_parameters
from tb_ckptmeta.core.errors import CkptMetaError
from tb_ckptmeta.core.job import BuilderDescription, Describe
from tb_ckptmeta.worker.flavour import list_flavours
from tb_ckptmeta.worker.load import find_dependencies, load_builders
from tb_ckptmeta.worker.steps import Steps
from tb_ckptmeta.worker.watch import Watch


def describe(job: Describe, folder: Path, steps: Steps) -> dict[str, Any]:
    """Import the module of a SPEC and describe what it registers; no builder runs."""
    steps.begin("importing the builders")
    builders, problems = [], []
    watch = Watch(folder)
    with watch.watching():
        registrations = load_builders(job.spec)
    for registration in registrations:
        try:
            parameters = describe_parameters(registration.function)
        except CkptMetaError as error:
            problems.append(error.as_json())
            continue
        documentation = inspect.getdoc(registration.function) or ""
        builders.append(
            BuilderDescription(
                registration.name,
                registration.checkpoints,
                registration.keras,
                registration.graph,
                registration.source,
                parameters,
                documentation.partition("\n\n")[0].replace("\n", " "),
            ).as_json()
        )
    flavours = list_flavours(job.spec, {r.name: r.keras for r in registrations})
    read = find_dependencies(job.spec, watch)
    return {"builders": builders, "problems": problems, "keras": flavours, "dependencies": read.as_json()}
