"""`tb-ckptmeta builders`."""

from __future__ import annotations

import argparse

from tb_ckptmeta.cli.output import clean, print_error, print_json
from tb_ckptmeta.cli.setup import make_workspace, read_builders
from tb_ckptmeta.core.arguments import describe_signature
from tb_ckptmeta.core.errors import CkptMetaError, Code


def list_builders(options: argparse.Namespace) -> int:
    """List the registered builders. Status 3 where a module is broken or there is none."""
    workspace = make_workspace(options)
    builders = read_builders(workspace)
    for problem in builders.problems:
        print_error(problem.message, problem.details)
    if options.json:
        print_json(
            {
                "builders": [b.as_json() for b in builders.by_name.values()],
                "problems": [p.as_json() for p in builders.problems],
            }
        )
    for builder in () if options.json else builders.by_name.values():
        d = builder.description
        print(clean(f"{d.name}({describe_signature(d.parameters)})"))
        rows = [
            ("checkpoints", ", ".join(d.checkpoints) or "none: name it with --builder, or in a record"),
            ("source", d.source),
            ("keras", d.keras or ""),
            ("graph", "" if d.graph is None else str(d.graph)),
            ("about", d.documentation),
            *(("note", note) for note in builder.notes),
        ]
        for label, text in rows:
            if text:
                print(clean(f"    {label:<12}{text}"))
    if not builders.by_name and not builders.problems:
        raise CkptMetaError(Code.NOT_FOUND, "No builders are registered. Give them with --builders my_builders.py.")
    return 3 if builders.problems else 0
