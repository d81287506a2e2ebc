"""Graphs of TensorFlow 1, saved by name."""

from rows.row import Row


def _row(name: str, how: str = "saver", **more: object) -> Row:
    return Row(name, "tf1", how=how, **more)  # type: ignore[arg-type]


ROWS = [
    _row("get_variable"),
    _row("ref_variables", "saver_v1"),
    _row("resource_variables"),
    _row("partitioned", integers=10),
    _row("while_and_cond"),
    _row("moving_averages", "saver_only"),
    _row("batch_norm", "sharded"),
    _row("queue", "saver_only"),
    _row("table"),
    _row("table_file"),
    _row("reuse_and_dropout"),
    _row("sparse_placeholder", "saver_only"),
    _row("legacy_layers", keras="legacy"),
    _row("rnn_cells", keras="legacy"),
]
