"""Models without Keras."""

from rows.row import Row

_PLAIN = [
    "module",
    "module_of_dicts",
    "lazy_module",
    "named_methods",
    "plain_trackable",
    "positional_and_nested",
    "while_loop",
    "cond_and_switch",
    "nested_functions",
    "static_table",
    "vocabulary_file",
    "types",
    "unknown_shape",
    "ragged_inside",
    "ragged_input",
    "sparse_input",
    "ragged_output",
]

ROWS = [
    *(Row(name, "modules", integers=3) for name in _PLAIN),
    Row("mutable_table", "modules", refused="not_matching", says="table-keys"),
    Row("generator_state", "modules", unread={"freeze_graph": "expected resource"}),
    Row("python_function", "modules", refused="unsupported_model", says="py_function"),
    Row("random_constant", "modules", refused="check_failed", says="come from the builder"),
]
