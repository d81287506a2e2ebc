"""Export as the command line does, without its start: the workers stay warm from one export to the next."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tb_ckptmeta.cli.arguments import parse
from tb_ckptmeta.cli.export import deliver_export, make_document
from tb_ckptmeta.engine.workspace import Workspace, open_workspace


class Exporter:
    """The builders of one file, ready to export."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    def export(self, prefix: object, output: object, *options: object) -> dict[str, Any]:
        """Return the document that `tb-ckptmeta export PREFIX --output OUTPUT … --json` prints.

        Raises:
            CkptMetaError: what that command says instead.
        """
        arguments = ["--output", str(output), *map(str, options), "--", str(prefix)]
        return make_document(deliver_export(self._workspace, parse("export", arguments))[0])

    def export_all(self, requests: Iterable[tuple[object, ...]]) -> list[dict[str, Any]]:
        """Export several, two at a time."""
        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(lambda request: self.export(*request), requests))


@contextmanager
def open_exporter(builders: Path) -> Iterator[Exporter]:
    with open_workspace(builders=[str(builders)]) as workspace:
        yield Exporter(workspace)
