"""A builder whose module sets, much too late, what TensorFlow and Keras read at import."""

import os

GIVEN = {name: os.environ.get(name) for name in ("CUDA_VISIBLE_DEVICES", "KERAS_BACKEND", "TF_USE_LEGACY_KERAS")}
os.environ.update({"CUDA_VISIBLE_DEVICES": "0", "KERAS_BACKEND": "jax", "TF_USE_LEGACY_KERAS": "1"})

from small_models import make_mlp  # noqa: E402

from tb_ckptmeta import builder  # noqa: E402


@builder("sets-environment", keras="3")
def build():
    import keras
    import tensorflow as tf

    if GIVEN != {"CUDA_VISIBLE_DEVICES": "-1", "KERAS_BACKEND": "tensorflow", "TF_USE_LEGACY_KERAS": "0"}:
        raise RuntimeError(GIVEN)
    if keras.backend.backend() != "tensorflow" or tf.config.get_visible_devices("GPU"):
        raise RuntimeError(f"{keras.backend.backend()}, {tf.config.get_visible_devices()}")
    return make_mlp()
