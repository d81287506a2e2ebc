"""What restores silently to something else, and must not be exported as if it had not."""

from rows.row import Row, in_both

ROWS = [
    Row("layers_in_a_list", "traps", refused="not_matching", says="attribute of its own"),
    Row("layers_in_a_list", "traps", keras="legacy"),
    Row("layers_in_a_dict", "traps", refused="not_matching", says="attribute of its own"),
    Row("layers_in_a_dict", "traps", keras="legacy"),
    *in_both("cached_trace", "traps"),
    *in_both("adapted", "traps"),
    *in_both("adapted_in_training", "traps"),
    *in_both("discretization_adapted", "traps"),
    *in_both("vocabulary_in_training", "traps", refused="unsupported_model", says="has no vocabulary"),
    *in_both("vocabulary_adapted", "traps", says="comes from the builder, not from"),
    *in_both("optimizer_first", "traps", how="optimizer"),
    *in_both("averaged_optimizer", "traps", how="averaged"),
    Row("quantized", "traps", unread={"OpenVINO": "off by"}),  # it sums int8 products up in int8: docs/models.md
    Row("lora", "traps"),
    *in_both("spectral_normalization", "traps"),
    *in_both("weight_read_while_building", "traps"),
    Row("ragged_keras_input", "traps", keras="legacy"),
    *in_both("sparse_keras_input", "traps"),
    *in_both("auxiliary_head", "traps"),
    *in_both("dropout_left_on", "traps", random=("sampled",)),
]
