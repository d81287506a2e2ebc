"""The rows of the corpus, a module a family."""

from rows import applications, hub, layers, modules, tf1, traps
from rows.row import Row

ROWS: list[Row] = [*applications.ROWS, *hub.ROWS, *layers.ROWS, *traps.ROWS, *modules.ROWS, *tf1.ROWS]

assert len({row.id for row in ROWS}) == len(ROWS), "two rows of one id"
