"""Read SPECs: where builders are registered. Runs in the caller's process, and imports nothing that a SPEC names."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Iterable

from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.job import Spec

ENTRY_POINT_GROUP = "tb_ckptmeta.builders"


def parse_spec(text: str) -> Spec:
    """Read one SPEC: the path of a `.py` file, or a module name.

    Raises:
        CkptMetaError: BAD_REQUEST where it is neither, or the file is not there.
    """
    if text.endswith(".py") or os.sep in text:
        path = os.path.abspath(os.path.expanduser(text))
        if not os.path.isfile(path):
            raise CkptMetaError(
                Code.BAD_REQUEST,
                f"There is no builders file {text} (looked for {path}). Check its name (--builders, for TensorBoard "
                "--ckptmeta_builders).",
            )
        return Spec(text, path, None, os.path.dirname(path))
    if not all(part.isidentifier() for part in text.split(".")):
        raise CkptMetaError(
            Code.BAD_REQUEST,
            f"{text!r} names no builders: give the path of a .py file, or a module name such as my_package.builders.",
        )
    return Spec(text, None, text, os.getcwd())


def parse_specs(texts: Iterable[str]) -> list[Spec]:
    """Read several SPECs; one that is given twice counts once.

    Raises:
        CkptMetaError: as `parse_spec`.
    """
    specs: dict[tuple[str | None, str | None], Spec] = {}
    for text in texts:
        spec = parse_spec(text)
        key = (os.path.realpath(spec.path) if spec.path else None, spec.module)
        specs.setdefault(key, spec)
    return list(specs.values())


def find_installed_specs() -> list[Spec]:
    """Return what installed packages offer through the entry-point group `tb_ckptmeta.builders`."""
    found: dict[str, Spec] = {}
    for entry_point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP):
        given = f"{entry_point.name} = {entry_point.value} (entry point)"
        module = entry_point.value.partition(":")[0].strip()
        found.setdefault(module, Spec(given, None, module, os.getcwd(), entry_point=True))
    return list(found.values())
