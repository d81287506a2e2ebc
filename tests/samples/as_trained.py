"""Builders as training scripts have them: they compile, build under a strategy, make models at import. As a script, it
saves what they restore.
"""

import sys

import keras
import tensorflow as tf

from tb_ckptmeta import Model, builder

COMPILED = {"optimizer": "adam", "loss": "mse", "metrics": ["mae"]}


def make(depth=1):
    return keras.Sequential([keras.Input((4,)), *(keras.layers.Dense(4, name=f"dense{n}") for n in range(depth))])


@builder("compiled")
def compiled(depth: int = 1, schedule: bool = False):
    model = make(depth)
    rate = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9) if schedule else 0.1
    model.compile(**{**COMPILED, "optimizer": keras.optimizers.Adam(rate)})
    return model


@builder("compiled-and-built")
def compiled_and_built():
    model = compiled()
    model.optimizer.build(model.trainable_variables)
    return model


@builder("in-strategy")
def in_strategy():
    with tf.distribute.MirroredStrategy().scope():
        return make()


AT_IMPORT = make(2)


@builder("at-import")
def at_import():
    return AT_IMPORT


class Layers(tf.Module):
    """Variables of every kind of initial value, beside the one that is saved."""

    def __init__(self, kind="none"):
        super().__init__()
        self.kind = kind
        self.weights = tf.Variable(tf.ones([4, 4]), name="weights")
        if kind == "of-another":
            self.more = tf.Variable(self.weights.read_value() * 2.0)
        if kind == "drawn":
            self.more = tf.Variable(tf.random.Generator.from_seed(1).normal([4, 4]))
        if kind == "plain":
            self.more = tf.Variable([[0.5] * 4] * 4)

    @tf.function
    def __call__(self, x):
        if self.kind == "in-the-call" and not hasattr(self, "more"):
            self.more = tf.Variable(tf.ones([4, 4]) * 3.0)
        if self.kind == "unread" and not hasattr(self, "last"):
            self.last = tf.Variable(tf.zeros([4]) * 2.0)
        return x @ self.weights @ (self.more if hasattr(self, "more") else tf.eye(4))


@builder("layers", inputs=tf.TensorSpec([None, 4], tf.float32))
def layers(kind: str = "none"):
    return Layers(kind)


class Counts(tf.Module):
    def __init__(self):
        super().__init__()
        self.weights = tf.Variable(tf.ones([4, 4]))
        self.calls = tf.Variable(0, dtype=tf.int64, name="calls")

    def __call__(self, x, where="call"):
        def count():
            return tf.identity(self.calls.assign_add(1))

        if where == "call":
            count()
        if where == "loop":
            tf.while_loop(lambda i: i < 2, lambda i: count() * 0 + i + 1, [tf.constant(0, tf.int64)])
        if where == "branch":
            tf.cond(tf.reduce_sum(x) > 0, count, lambda: tf.constant(0, tf.int64))
        return x @ self.weights


@builder("counts", inputs=tf.TensorSpec([None, 4], tf.float32))
def counts(where: str = "call"):
    made = Counts()
    return Model(made, call=lambda x: made(x, where))


class Photographs(tf.Module):
    def __init__(self):
        super().__init__()
        self.weights = tf.Variable(tf.ones([3, 2]))

    def __call__(self, photographs):
        def read(photograph):
            return tf.cast(tf.io.decode_jpeg(photograph, channels=3), tf.float32)

        return tf.map_fn(lambda one: tf.reduce_mean(read(one), [0, 1]), photographs, tf.float32) @ self.weights


builder("photographs", inputs=tf.TensorSpec([None], tf.string))(Photographs)


class Choosy(tf.Module):
    def __init__(self):
        super().__init__()
        self.weights = tf.Variable(tf.ones([4]))

    def __call__(self, x):
        tf.debugging.assert_greater(x, 1e6, message="too small for me")
        return x * self.weights


builder("choosy", inputs=tf.TensorSpec([None, 4], tf.float32))(Choosy)


@builder("average")
def average(beside: bool = False):
    model = make()
    more = {"generator": make()} if beside else {}
    return Model(tf.train.Checkpoint(average=model, **more), call=model)


@builder("positional")
def positional():
    model = make()
    return Model(tf.train.Checkpoint(model), call=model)


@builder("attached", inputs=tf.TensorSpec([None, 4], tf.float32))
def attached():
    model, head = make(), keras.layers.Dense(2)
    head.build((None, 4))
    return Model(tf.train.Checkpoint(model, head=head), call=lambda x: head(model(x)))


@builder("of-parts")
def of_parts():
    model = make()
    return Model(tf.train.Checkpoint(first=model.layers[0]), call=model)


class Head(keras.layers.Layer):
    """Shares the kernel of a layer, or has one of its own."""

    def __init__(self, other=None):
        super().__init__()
        self.other = other
        self.own = keras.layers.Dense(4, use_bias=False) if other is None else None

    def build(self, shape):
        if self.own is not None:
            self.own.build(shape)

    def call(self, x):
        return self.own(x) if self.other is None else x @ self.other.kernel


@builder("tied")
def tied(shared: bool = True):
    first = keras.layers.Dense(4, use_bias=False, name="first")
    return keras.Sequential([keras.Input((4,)), first, Head(first if shared else None)])


@builder("wrapped")
def wrapped():
    convolution = keras.layers.Conv2D(4, 3)
    return keras.Sequential([keras.Input((8, 8, 3)), keras.layers.SpectralNormalization(convolution)])


if __name__ == "__main__":
    runs = sys.argv[1]
    fitted = make()
    fitted.compile(**COMPILED)
    fitted.fit(tf.ones([4, 4]), tf.ones([4, 4]), verbose=0)
    tf.train.Checkpoint(model=fitted, optimizer=fitted.optimizer).save(f"{runs}/fitted/ckpt")
    tf.train.Checkpoint(model=fitted).save(f"{runs}/inside/ckpt")
    tf.train.Checkpoint(model=make()).save(f"{runs}/bare/ckpt")
    tf.train.Checkpoint(model=compiled(depth=2)).save(f"{runs}/deeper/ckpt")
    tf.train.Checkpoint(generator=make(), average=make(), critic=make(2)).save(f"{runs}/pair/ckpt")
    tf.train.Checkpoint(fitted).save(f"{runs}/nameless/ckpt")
    model, head = make(), keras.layers.Dense(2)
    head.build((None, 4))
    tf.train.Checkpoint(model, head=head).save(f"{runs}/attached/ckpt")
    parts = make(2).layers
    tf.train.Checkpoint(first=parts[0], second=parts[1]).save(f"{runs}/parts/ckpt")
    for name, made in {
        "layers": Layers(),
        "counts": Counts(),
        "photographs": Photographs(),
        "choosy": Choosy(),
    }.items():
        tf.train.Checkpoint(made).save(f"{runs}/{name}/ckpt")
    tf.io.gfile.makedirs(f"{runs}/wrapped")
    tf.io.gfile.makedirs(f"{runs}/untied")
    tied(shared=False).save_weights(f"{runs}/untied/ckpt.weights.h5")
    wrapped().save_weights(f"{runs}/wrapped/ckpt.weights.h5")
