"""One row for every architecture family of keras.applications, each in its smallest size."""

from rows.row import Row

# Architecture -> the smallest image it takes.
_KERAS_3 = {
    "ConvNeXtTiny": 32,
    "DenseNet121": 32,
    "EfficientNetB0": 32,
    "EfficientNetV2B0": 32,
    "InceptionResNetV2": 75,
    "InceptionV3": 75,
    "MobileNet": 32,
    "MobileNetV2": 32,
    "MobileNetV3Small": 32,
    "NASNetMobile": 224,
    "ResNet50": 32,
    "ResNet50V2": 32,
    "VGG16": 32,
    "Xception": 71,
}
# Those that tf_keras has alone, and some of each kind of layer.
_LEGACY = {"RegNetX002": 32, "ResNetRS50": 32, "MobileNet": 32, "EfficientNetV2B0": 32, "ConvNeXtTiny": 32}


def _row(architecture: str, size: int, keras: str) -> Row:
    arguments = {"architecture": architecture, "size": size}
    if architecture.startswith("MobileNet") and architecture != "MobileNetV3Small":
        arguments["alpha"] = 0.5
    how = "optimizer" if architecture in ("MobileNet", "ResNet50") else "checkpoint"
    return Row(architecture, "applications", "application", arguments, keras, how)


def _keras_file(architecture: str, size: int, keras: str, how: str) -> Row:
    arguments = {"architecture": architecture, "size": size}
    return Row(f"{architecture}.{how}", "applications", "application", arguments, keras, how)


ROWS = [
    *(_row(architecture, size, "3") for architecture, size in _KERAS_3.items()),
    *(_row(architecture, size, "legacy") for architecture, size in _LEGACY.items()),
    _keras_file("ResNet50", 32, "3", "keras"),
    _keras_file("EfficientNetB0", 32, "3", "weights.h5"),
]
