"""Have graphs drawn for the dashboard, each once. Runs in the caller's process."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence

import google.protobuf as protobuf
import tensorboard.version

from tb_ckptmeta.core.contents import Contents
from tb_ckptmeta.core.renames import Rename
from tb_ckptmeta.engine.cache import Cache
from tb_ckptmeta.engine.current import digest_own_code
from tb_ckptmeta.engine.display import Drawing, draw_conceptual_graph, draw_op_graph
from tb_ckptmeta.engine.gzipped import Deflated
from tb_ckptmeta.engine.node_table import read_nodes
from tb_ckptmeta.engine.rebuild import Artifacts

KIND = "drawing"
"""What the cache calls a drawing."""


class Drawer:
    """Draws graphs, and keeps them in a cache under what they are made of, which never gets stale.

    That is the rebuilt model and what the checkpoint holds, but for its values and its name: all steps of a run share
    one drawing.
    """

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def draw(self, artifacts: Artifacts, contents: Contents, renames: Sequence[Rename], *, conceptual: bool) -> Drawing:
        """Draw the op graph of a rebuilt model, or the conceptual graph."""
        rules = [str(rename) for rename in renames]
        what = "conceptual" if conceptual else "op"
        made_by = [digest_own_code(), tensorboard.version.VERSION, protobuf.__version__]
        parts = [artifacts.digest, contents.structure, rules, what, made_by]
        key = hashlib.sha256(json.dumps(parts).encode("ascii")).hexdigest()

        def draw() -> Drawing:
            if conceptual:
                return draw_conceptual_graph(artifacts.rebuilt, artifacts.graph, contents, renames)
            table = artifacts.table or read_nodes(artifacts.graph)
            return draw_op_graph(artifacts.rebuilt, table, contents, renames)

        return self._keep(key, draw)

    def _keep(self, key: str, make: Callable[[], Drawing]) -> Drawing:
        entry = self._cache.read(KIND, key)
        if entry is not None:
            kept = entry.facts
            return Drawing(Deflated(entry.parts[0], kept["crc"], kept["size"]), kept["facts"], tuple(kept["names"]))
        drawing = make()
        content = drawing.content
        facts = {"crc": content.crc, "size": content.size, "facts": drawing.facts, "names": list(drawing.names)}
        self._cache.write(KIND, key, facts, content.data)
        return drawing
