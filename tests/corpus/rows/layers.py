"""The layers of Keras in small models, each under Keras 3 and under tf_keras."""

from rows.row import Row, in_both

_PLAIN = [
    "convolutions",
    "one_and_three_dimensions",
    "recurrent",
    "conv_lstm",
    "attention",
    "attention_mask",
    "nested",
    "tied",
    "lambda",
    "custom_layers",
    "subclassed",
    "dict_inputs",
    "preprocess_images",
    "categories",
    "integer_lookup",
    "constant_of_the_code",
]

ROWS = [
    *(row for name in _PLAIN for row in in_both(name, "layers")),
    Row("unrolled_and_cells", "layers", refused="not_matching", remark="Keras 3 does not track the list of cells"),
    Row("unrolled_and_cells", "layers", keras="legacy"),
    Row("control_flow", "layers", refused="trace_failed", says="symbolic", remark="Keras 3 needs tf.while_loop"),
    Row("control_flow", "layers", keras="legacy"),
    *in_both("sequential", "layers", how="optimizer"),
    *in_both("several_inputs", "layers", how="compiled"),
    *in_both("bidirectional_masking", "layers", how="net"),
    Row("stateful", "layers", unread={"freeze_graph": "expected resource"}),
    Row("stateful", "layers", keras="legacy", refused="not_matching", remark="tf_keras does not save the states"),
    *in_both("mixed_precision", "layers", tolerance=1e-2),
    *in_both("string_lookup", "layers"),
    Row(
        "resizing_bytes",
        "layers",
        refused="check_failed",
        remark="Keras 3 rounds bytes in Resizing when run eagerly, and not in a tf.function: the model has two answers",
    ),
    Row("resizing_bytes", "layers", keras="legacy"),
    *in_both("text_vectorization", "layers"),
    *in_both("vae", "layers", random=("decoded",)),
    Row("legacy_weights", "layers", "subclassed", keras="legacy", how="weights"),
    Row("root", "layers", "subclassed", how="root"),
    *(
        row
        for name in ("convolutions", "recurrent", "attention", "nested", "bidirectional_masking", "several_inputs")
        for how in ("keras", "weights.h5")
        for row in in_both(f"{name}.{how}", "layers", builder=name, how=how)
    ),
    *in_both("subclassed.weights.h5", "layers", builder="subclassed", how="weights.h5"),
]
