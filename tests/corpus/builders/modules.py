"""Models without Keras: tf.Module, plain trackables, methods that are a tf.function, control flow, tables."""

import os

import tensorflow as tf

from tb_ckptmeta import Model, builder

HERE = os.path.dirname(os.path.abspath(__file__))


class Dense(tf.Module):
    def __init__(self, size_in, size_out, name=None):
        super().__init__(name=name)
        self.w = tf.Variable(tf.random.normal([size_in, size_out]), name="w")
        self.b = tf.Variable(tf.zeros([size_out]), name="b")

    def __call__(self, x):
        return tf.nn.relu(x @ self.w + self.b)


@builder("module", checkpoints="*/module/*", inputs=tf.TensorSpec([None, 6], tf.float32))
def module():
    class Mlp(tf.Module):
        def __init__(self):
            super().__init__()
            self.layers = [Dense(6, 5), Dense(5, 4), Dense(4, 2)]  # tf.Module's lists are tracked

        @tf.function
        def __call__(self, x):
            for layer in self.layers:
                x = layer(x)
            return x

    return Mlp()


@builder("module_of_dicts", checkpoints="*/module_of_dicts/*", inputs=tf.TensorSpec([None, 6], tf.float32))
def module_of_dicts():
    class Heads(tf.Module):
        def __init__(self):
            super().__init__()
            self.heads = {"left": Dense(6, 3), "right": Dense(6, 2)}
            self.scales = (tf.Variable(2.0), tf.Variable(3.0))

        def __call__(self, x):
            return {name: head(x) * s for (name, head), s in zip(self.heads.items(), self.scales, strict=True)}

    return Heads()


@builder("lazy_module", checkpoints="*/lazy_module/*", inputs=tf.TensorSpec([None, 6], tf.float32))
def lazy_module():
    """Makes its variables when it is called first, as the guide of tf.Module has it."""

    class Lazy(tf.Module):
        def __init__(self):
            super().__init__()
            self.built = False

        @tf.function
        def __call__(self, x):
            if not self.built:
                self.w = tf.Variable(tf.random.normal([x.shape[-1], 3]), name="w")
                self.built = True
            return x @ self.w

    return Lazy()


@builder("named_methods", checkpoints="*/named_methods/*")
def named_methods():
    class Network(tf.Module):
        def __init__(self):
            super().__init__()
            self.encoder, self.decoder = Dense(6, 4), Dense(4, 6)

        @tf.function(input_signature=[tf.TensorSpec([None, 6], tf.float32)])
        def reconstruct(self, x):
            code = self.encoder(x)
            return {"code": code, "again": self.decoder(code)}

    network = Network()
    return Model(network, call=network.reconstruct, inputs=tf.TensorSpec([None, 6], tf.float32, "x"))


@builder("plain_trackable", checkpoints="*/plain_trackable/*")
def plain_trackable():
    """What tf.train.Checkpoint saves without any class: an AutoTrackable with attributes."""
    root = tf.train.Checkpoint(
        kernel=tf.Variable(tf.random.normal([6, 3])), biases=[tf.Variable(tf.zeros([3])), tf.Variable(tf.ones([3]))]
    )

    def call(x):
        return tf.tanh(x @ root.kernel + root.biases[0]) * root.biases[1]

    return Model(root, call=call, inputs=tf.TensorSpec([None, 6], tf.float32, "x"))


@builder(
    "positional_and_nested",
    checkpoints="*/positional_and_nested/*",
    inputs=(
        tf.TensorSpec([None, 6], tf.float32, "x"),
        {"scale": tf.TensorSpec([], tf.float32), "shift": [tf.TensorSpec([6], tf.float32, "shift_by")]},
    ),
)
def positional_and_nested():
    class Shift(tf.Module):
        def __init__(self):
            super().__init__()
            self.w = tf.Variable(tf.random.normal([6, 2]))

        def __call__(self, x, options):
            return (x * options["scale"] + options["shift"][0]) @ self.w, x

    return Shift()


@builder("while_loop", checkpoints="*/while_loop/*", inputs=tf.TensorSpec([None, 4], tf.float32))
def while_loop():
    class Loops(tf.Module):
        def __init__(self):
            super().__init__()
            self.w = tf.Variable(tf.random.normal([4, 4]) * 0.4)
            self.limit = tf.Variable(5, trainable=False)

        @tf.function
        def __call__(self, x):
            states = tf.TensorArray(tf.float32, 3)
            for i in tf.range(3):
                if tf.equal(i % 2, 0):  # noqa: SIM108  # as people write it, for AutoGraph
                    x = tf.tanh(x @ self.w)
                else:
                    x = x + 1.0
                states = states.write(i, x)
            count = tf.constant(0)
            while count < self.limit:
                x = x * 0.9
                count += 1
            return {"last": x, "states": states.stack()}

    return Loops()


@builder("cond_and_switch", checkpoints="*/cond_and_switch/*")
def cond_and_switch():
    class Branches(tf.Module):
        def __init__(self):
            super().__init__()
            self.branches = [Dense(4, 3) for _ in range(3)]

        def __call__(self, which, x):
            y = tf.switch_case(which, [lambda b=b: b(x) for b in self.branches])
            z = tf.cond(tf.reduce_sum(x) > 0, lambda: self.branches[0](x), lambda: self.branches[1](-x))
            return y, z

    inputs = (tf.TensorSpec([], tf.int32, "which"), tf.TensorSpec([None, 4], tf.float32, "x"))
    return Model(Branches(), inputs=inputs)


@builder("nested_functions", checkpoints="*/nested_functions/*", inputs=tf.TensorSpec([None, 4], tf.float32))
def nested_functions():
    class Outer(tf.Module):
        def __init__(self):
            super().__init__()
            self.inner = Dense(4, 4)
            self.scale = tf.Variable(tf.ones([4]))

        @tf.function
        def twice(self, x):
            return self.inner(x) * self.scale

        @tf.custom_gradient
        def gradient(self, x):
            return x * 2.0, lambda dy: dy

        @tf.function
        def __call__(self, x):
            y = self.twice(self.twice(x))
            return tf.map_fn(lambda row: row + tf.reduce_max(row), self.gradient(y))

    return Outer()


@builder("static_table", checkpoints="*/static_table/*", inputs=tf.TensorSpec([None], tf.string, "word"))
def static_table():
    class Words(tf.Module):
        def __init__(self):
            super().__init__()
            keys = tf.constant(["the", "quick", "fox"])
            initializer = tf.lookup.KeyValueTensorInitializer(keys, tf.range(3, dtype=tf.int64))
            self.table = tf.lookup.StaticVocabularyTable(initializer, num_oov_buckets=2)
            self.embedding = tf.Variable(tf.random.normal([5, 3]))

        def __call__(self, words):
            return tf.gather(self.embedding, self.table.lookup(words))

    return Words()


@builder("vocabulary_file", checkpoints="*/vocabulary_file/*", inputs=tf.TensorSpec([None], tf.string, "word"))
def vocabulary_file():
    class Words(tf.Module):
        def __init__(self):
            super().__init__()
            initializer = tf.lookup.TextFileInitializer(
                os.path.join(HERE, "words.txt"),
                tf.string,
                tf.lookup.TextFileIndex.WHOLE_LINE,
                tf.int64,
                tf.lookup.TextFileIndex.LINE_NUMBER,
            )
            self.table = tf.lookup.StaticHashTable(initializer, default_value=-1)
            self.embedding = tf.Variable(tf.random.normal([5, 3]))

        def __call__(self, words):
            ids = self.table.lookup(words)
            return {"id": ids, "embedded": tf.gather(self.embedding, tf.maximum(ids, 0))}

    return Words()


@builder("mutable_table", checkpoints="*/mutable_table/*", inputs=tf.TensorSpec([None], tf.string, "word"))
def mutable_table():
    class Counts(tf.Module):
        def __init__(self):
            super().__init__()
            self.table = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, default_value=-1)
            self.scale = tf.Variable(2.0)

        def __call__(self, words):
            return tf.cast(self.table.lookup(words), tf.float32) * self.scale

    counts = Counts()
    counts.table.insert(tf.constant(["the", "quick"]), tf.constant([3, 5], tf.int64))
    return counts


@builder("types", checkpoints="*/types/*", inputs=tf.TensorSpec([None, 4], tf.float64))
def types():
    class Types(tf.Module):
        def __init__(self):
            super().__init__()
            self.wide = tf.Variable(tf.random.normal([4, 4], dtype=tf.float64))
            self.brain = tf.Variable(tf.ones([4], tf.bfloat16))
            self.flag = tf.Variable(True)
            self.name_of = tf.Variable(["a", "b"])
            self.phase = tf.Variable(tf.complex(tf.ones([4]), tf.ones([4]) * 0.5))

        def __call__(self, x):
            y = x @ self.wide * tf.cast(self.brain, tf.float64)
            return {
                "real": y,
                "complex": tf.cast(y, tf.complex64) * self.phase,
                "text": tf.gather(self.name_of, tf.cast(y > 0, tf.int32)),
                "flag": tf.logical_and(self.flag, y > 0),
            }

    return Types()


@builder("unknown_shape", checkpoints="*/unknown_shape/*", inputs=tf.TensorSpec([None, 4], tf.float32))
def unknown_shape():
    class Grows(tf.Module):
        def __init__(self):
            super().__init__()
            self.memory = tf.Variable(tf.random.normal([3, 4]), shape=[None, 4])

        def __call__(self, x):
            return tf.matmul(x, self.memory, transpose_b=True)

    return Grows()


@builder("ragged_inside", checkpoints="*/ragged_inside/*", inputs=tf.TensorSpec([None], tf.string, "text"))
def ragged_inside():
    class Bag(tf.Module):
        def __init__(self):
            super().__init__()
            self.embedding = tf.Variable(tf.random.normal([16, 3]))

        def __call__(self, text):
            words = tf.strings.split(text)
            ids = tf.strings.to_hash_bucket_fast(words, 16)
            return tf.reduce_sum(tf.gather(self.embedding, ids), axis=1)

    return Bag()


@builder("python_function", checkpoints="*/python_function/*", inputs=tf.TensorSpec([None, 4], tf.float32))
def python_function():
    class Calls(tf.Module):
        def __init__(self):
            super().__init__()
            self.w = tf.Variable(tf.ones([4]))

        def __call__(self, x):
            return tf.py_function(lambda t: t + 1.0, [x * self.w], tf.float32)

    return Calls()


@builder("generator_state", checkpoints="*/generator_state/*", inputs=tf.TensorSpec([None, 4], tf.float32))
def generator_state():
    class Noisy(tf.Module):
        def __init__(self):
            super().__init__()
            self.w = tf.Variable(tf.random.normal([4, 2]))
            self.generator = tf.random.Generator.from_seed(5)

        def __call__(self, x):
            y = x @ self.w
            return {"noisy": y + self.generator.normal([2]), "plain": y}

    return Noisy()


@builder("random_constant", checkpoints="*/random_constant/*", inputs=tf.TensorSpec([None, 4], tf.float32))
def random_constant():
    """Random features that are drawn in the code and saved nowhere."""

    class Features(tf.Module):
        def __init__(self):
            super().__init__()
            self.features = tf.random.normal([4, 8])
            self.w = tf.Variable(tf.random.normal([8, 2]))

        def __call__(self, x):
            return tf.cos(x @ self.features) @ self.w

    return Features()


@builder("ragged_input", checkpoints="*/ragged_input/*", inputs=tf.RaggedTensorSpec([None, None], tf.int32))
def ragged_input():
    class Bag(tf.Module):
        def __init__(self):
            super().__init__()
            self.embedding = tf.Variable(tf.random.normal([4, 3]))

        def __call__(self, ids):
            return tf.reduce_sum(tf.gather(self.embedding, ids), axis=1)

    return Bag()


@builder("sparse_input", checkpoints="*/sparse_input/*", inputs=tf.SparseTensorSpec([None, 6], tf.float32))
def sparse_input():
    class Linear(tf.Module):
        def __init__(self):
            super().__init__()
            self.w = tf.Variable(tf.random.normal([6, 3]))

        def __call__(self, features):
            return tf.sparse.sparse_dense_matmul(features, self.w)

    return Linear()


@builder("ragged_output", checkpoints="*/ragged_output/*", inputs=tf.TensorSpec([None], tf.string, "text"))
def ragged_output():
    class Split(tf.Module):
        def __init__(self):
            super().__init__()
            self.scale = tf.Variable(2.0)

        def __call__(self, text):
            return {"lengths": tf.cast(tf.strings.length(tf.strings.split(text)), tf.float32) * self.scale}

    return Split()
