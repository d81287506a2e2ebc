"""Every architecture family of keras.applications, as somebody uses them who trains with weights=None."""

import tensorflow as tf

from tb_ckptmeta import builder


@builder("application")
def application(architecture: str, size: int = 32, alpha: float = 1.0):
    options = {"alpha": alpha} if architecture in ("MobileNet", "MobileNetV2", "MobileNetV3Small") else {}
    make = getattr(tf.keras.applications, architecture)
    return make(weights=None, input_shape=(size, size, 3), classes=7, **options)
