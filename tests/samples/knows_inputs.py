"""Models that say themselves how they are called: the `tf.function` that is called was given an input_signature."""

import tensorflow as tf

from tb_ckptmeta import Model, builder

PIXELS = tf.TensorSpec([None, 4], tf.float32, "pixels")


class Scaled(tf.Module):
    def __init__(self):
        super().__init__()
        self.kernel = tf.Variable(tf.ones([4, 2]))

    @tf.function(input_signature=[PIXELS, tf.TensorSpec([], tf.float32)])
    def __call__(self, x, scale=2.0):
        return tf.matmul(x, self.kernel) * scale

    @tf.function(input_signature=({"b": tf.TensorSpec([None, 4], tf.float32), "a": tf.RaggedTensorSpec([None, None])},))
    def serve(self, features):
        return {"scores": self(features["b"], tf.reduce_sum(features["a"]))}

    @tf.function
    def no_signature(self, x):
        return x


class Defaulted(tf.Module):
    """With parameters that nobody gives, and the instance by another name than `self`."""

    def __init__(self):
        super().__init__()
        self.kernel = tf.Variable(tf.ones([4, 2]))

    def __call__(module, rows, training=False, mask=None):
        return tf.matmul(rows, module.kernel)

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32)])
    def score(self, rows, scale=3.0):
        return self(rows) * scale


class Called(tf.keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = tf.keras.layers.Dense(2)

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32)])
    def call(self, x):
        return self.dense(x)


class Tokens(tf.keras.Model):
    """Which Keras takes to be called with numbers of another type, once it was built with a shape."""

    def __init__(self):
        super().__init__()
        self.dense = tf.keras.layers.Dense(2)

    @tf.function(input_signature=[tf.TensorSpec([3, 4], tf.int32, "tokens"), tf.TensorSpec([], tf.bool)])
    def call(self, x, training):
        return self.dense(tf.cast(x, tf.float32))


class TrainingFirst(Called):
    @tf.function(input_signature=[tf.TensorSpec([], tf.bool), tf.TensorSpec([None, 4], tf.float32)])
    def call(self, training, x):
        return self.dense(x)


@builder("module")
def module():
    return Scaled()


@builder("given-wins", inputs=(tf.TensorSpec([3, 4], tf.float32), tf.TensorSpec([], tf.float32)))
def given_wins():
    return Scaled()


@builder("method")
def method():
    scaled = Scaled()
    return Model(scaled, call=scaled.serve)


@builder("function")
def function():
    scaled = Scaled()
    call = tf.function(lambda rows: scaled(rows, 1.0), input_signature=[tf.TensorSpec([2, 4], tf.float32)])
    return Model(scaled, call=call)


@builder("keras")
def keras():
    return Called()


@builder("tokens")
def tokens():
    model = Tokens()
    model.build((None, 4))
    return model


class Hundredfold(tf.keras.Model):
    """Trains unless it is told not to."""

    def __init__(self):
        super().__init__()
        self.dense = tf.keras.layers.Dense(2)

    def call(self, x, training=True):
        return self.dense(x) * 100.0 if training else self.dense(x)


@builder("called-itself")
def called_itself():
    model = Hundredfold()
    model(tf.ones([1, 4]))
    return Model(model, call=model)


@builder("called-beside", inputs=tf.TensorSpec([None, 4], tf.float32))
def called_beside():
    model = Hundredfold()
    return Model(tf.train.Checkpoint(dense=model.dense), call=model)


@builder("sequential")
def sequential():
    dense = tf.keras.layers.Dense(2)
    return Model(tf.train.Checkpoint(dense=dense), call=tf.keras.Sequential([tf.keras.Input([4], name="f"), dense]))


@builder("function-alone")
def function_alone():
    return Scaled().serve


@builder("training-first")
def training_first():
    return TrainingFirst()


@builder("defaulted", inputs=tf.TensorSpec([None, 4], tf.float32))
def defaulted():
    return Defaulted()


@builder("defaulted-method")
def defaulted_method():
    model = Defaulted()
    return Model(model, call=model.score)


@builder("none-given")
def none_given():
    scaled = Scaled()
    return Model(scaled, call=scaled.no_signature)
