"""Families of keras-hub in small configurations, with random weights: nothing is downloaded."""

from rows.row import Row

_FAMILIES = [
    "Albert",
    "Bart",
    "Bert",
    "DebertaV3",
    "DistilBert",
    "FNet",
    "Gemma",
    "GPT2",
    "Llama",
    "Mistral",
    "T5",
    "Whisper",
    "DenseNet",
    "ResNet",
]

ROWS = [
    *(Row(name, "hub", "backbone", {"family": name}, integers=2, needs="keras_hub") for name in _FAMILIES),
    # Its encoder holds its layers in a list.
    Row(
        "ViT",
        "hub",
        "backbone",
        {"family": "ViT"},
        refused="not_matching",
        says="attribute of its own",
        needs="keras_hub",
        remark="its encoder holds its layers in a list: tf.train.Checkpoint has not saved them",
    ),
]
