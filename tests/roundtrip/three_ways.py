"""The three ways in which the field writes models, as builders; train.py trains what they make.

None of them says which Keras it is for: that shows in this file, or in a checkpoint's keys.
"""

import tensorflow as tf

from tb_ckptmeta import builder


@builder("sequential", checkpoints=["*/sequential/*", "*/small/*"])
def sequential(units: int = 128):
    return tf.keras.Sequential(
        [
            tf.keras.Input((784,), name="image"),
            tf.keras.layers.Dense(units, activation="relu", name="hidden"),
            tf.keras.layers.Dense(10, name="digit"),
        ],
        name="mlp",
    )


class TwoLayers(tf.keras.Model):
    def __init__(self):
        super().__init__(name="two_layers")
        self.dense1 = tf.keras.layers.Dense(64, activation="relu")
        self.dense2 = tf.keras.layers.Dense(10)

    def call(self, pixels):
        return self.dense2(self.dense1(pixels))


@builder(
    "subclassed",
    checkpoints=["*/subclassed/*", "*/weights/*"],
    inputs=tf.TensorSpec([None, 784], tf.float32),
)
def subclassed():
    return TwoLayers()


@builder("layers", checkpoints="*/layers/*")
def layers():
    image = tf.compat.v1.placeholder(tf.float32, [None, 784], name="input_pl")
    with tf.name_scope("network"):
        with tf.name_scope("features"):
            hidden = tf.compat.v1.layers.dense(image, 64, activation=tf.nn.relu, name="dense1")
        logits = tf.compat.v1.layers.dense(hidden, 10, name="dense2")
    return image, {"logits": logits, "probabilities": tf.nn.softmax(logits)}


@builder("variables", checkpoints="*/variables/*")
def variables():
    v1 = tf.compat.v1
    image = v1.placeholder(tf.float32, [None, 784], name="input_pl")
    with v1.variable_scope("net"), tf.name_scope("forward"):
        kernel = v1.get_variable("kernel", [784, 10], initializer=v1.random_normal_initializer(0, 0.1))
        bias = v1.get_variable("bias", [10], initializer=v1.zeros_initializer())
        logits = tf.matmul(image, kernel) + bias
    return image, {"logits": logits, "probabilities": tf.nn.softmax(logits)}


# --- what does not agree with those checkpoints


@builder("deeper", inputs=tf.TensorSpec([None, 784], tf.float32, "image"))
def deeper():
    """`sequential` with a layer that no checkpoint holds, whose initial values tell it from any other."""
    model = sequential()
    model.add(tf.keras.layers.Dense(3, kernel_initializer="ones", bias_initializer="ones", name="extra"))
    return model


@builder("wider")
def wider():
    """`variables` with one that no checkpoint holds."""
    image, outputs = variables()
    scale = tf.compat.v1.get_variable("scale", [], initializer=tf.compat.v1.constant_initializer(2.5))
    return image, {"scaled": outputs["logits"] * scale}
