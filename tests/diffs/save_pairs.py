"""Write checkpoints of two steps, of every kind and with known distances between them.

Usage: python save_pairs.py RUNS 3|legacy. Of each kind RUNS/FLAVOUR/KIND-1 and -2; RUNS/../FLAVOUR.npz are the weights
of the first step by name. In the second hidden's kernel is 0.5 more, scores' bias has a NaN and an infinity, and
everything else is as it was.
"""

import pathlib
import sys

import numpy as np
import tensorflow as tf

runs, flavour = pathlib.Path(sys.argv[1]), sys.argv[2]
v1 = tf.compat.v1
random = np.random.default_rng(3)
kernel = random.normal(size=(6, 5)).astype("float32")
bias = random.normal(size=(3,)).astype("float32")
broken = np.array([np.nan, np.inf, bias[2]], "float32")
runs = runs / flavour
runs.mkdir()
np.savez(runs.parent.parent / f"{flavour}.npz", kernel=kernel, bias=bias)


# --- objects


def make_model(step):
    tf.keras.utils.set_random_seed(4)
    model = tf.keras.Sequential(
        [
            tf.keras.Input((6,)),
            tf.keras.layers.Dense(5, activation="relu", name="hidden"),
            tf.keras.layers.Dense(3, name="scores"),
        ]
    )
    hidden, scores = model.layers[-2:]
    hidden.set_weights([kernel + 0.5 * (step == 2), hidden.get_weights()[1]])
    scores.set_weights([scores.get_weights()[0], broken if step == 2 else bias])
    return model


def make_optimizer(model):
    optimizer = tf.keras.optimizers.Adam()
    optimizer.build(model.trainable_variables)
    return optimizer


def save_objects():
    one, two = make_model(1), make_model(2)
    tf.train.Checkpoint(model=one).write(str(runs / "objects-1"))
    tf.train.Checkpoint(optimizer=make_optimizer(two), model=two).write(str(runs / "objects-2"))
    tf.train.Checkpoint(one).write(str(runs / "root-1"))
    policy = tf.train.experimental.MaxShardSizePolicy(max_shard_size=60)  # slices the larger variables, too
    options = tf.train.CheckpointOptions(experimental_sharding_callback=policy)
    tf.train.Checkpoint(model=two).write(str(runs / "shards-2"), options)
    for step, model in ((1, one), (2, two)):
        model.compile(make_optimizer(model), "mse")
        model.save_weights(str(runs / f"file-{step}.weights.h5"))
        model.save(str(runs / f"file-{step}.keras"))
    if flavour == "legacy":
        one, two = make_model(1), make_model(2)
        one.save_weights(str(runs / "weights-1"), save_format="tf")
        two.compile(make_optimizer(two), "mse")
        two.save_weights(str(runs / "weights-2"), save_format="tf")


# --- names


def begin_with(value):
    """Return an initializer that gives each part of a partitioned variable its part of `value`."""

    def begin(shape, dtype=None, partition_info=None):
        offset = partition_info.var_offset if partition_info is not None else [0] * value.ndim
        return value[tuple(slice(o, o + n) for o, n in zip(offset, shape, strict=True))]

    return begin


def save_names(kind, step, partitioner=None, **options):
    with tf.Graph().as_default(), v1.Session() as session:
        with v1.variable_scope("net", partitioner=partitioner):
            v1.get_variable("kernel", kernel.shape, initializer=begin_with(kernel + np.float32(0.5 * (step == 2))))
        with v1.variable_scope("net"):
            v1.get_variable("bias", bias.shape, initializer=begin_with(broken if step == 2 else bias))
        v1.get_variable("global_step", initializer=np.int64(2**60 + step), trainable=False)
        session.run(v1.global_variables_initializer())
        v1.train.Saver(**options).save(session, str(runs / f"{kind}-{step}"))


EIGHT = tf.dtypes.experimental.float8_e5m2
TYPES = {
    "half": (np.array([1, 2], "float16"), np.array([1, 3], "float16")),
    "brain": (tf.constant([1, 2], tf.bfloat16), tf.constant([1, 4], tf.bfloat16)),
    "eight": (tf.cast(tf.constant([1.0, 2.0]), EIGHT), tf.cast(tf.constant([1.0, 8.0]), EIGHT)),
    "double": (np.array([1e300, -1e300]), np.array([1e300, 1e300])),
    "long": (np.array([2**62, 5], "int64"), np.array([2**62 + 1, 5], "int64")),
    "unsigned": (np.array([0, 2**64 - 1], "uint64"), np.array([2**64 - 1, 0], "uint64")),
    "short": (np.array([-128, 127], "int8"), np.array([127, 127], "int8")),
    "truth": (np.array([True, False]), np.array([True, True])),
    "complex": (np.array([3 + 4j, 1j], "complex64"), np.array([0, 1j], "complex64")),
    "text": (np.array([b"the", b"same", b""]), np.array([b"the", b"other", b""])),
    "same_text": (np.array([b"the", b"same" * 100]), np.array([b"the", b"same" * 100])),
    "cast": (np.array([1, 2], "float32"), np.array([1, 2.5], "float16")),
    "turned": (np.array([1, 2], "float32"), np.array([b"1", b"2"])),
    "none": (np.zeros([0, 3], "float32"), np.zeros([0, 3], "float32")),
    "zero": (np.zeros([2], "float32"), np.ones([2], "float32")),
    "scalar": (np.float32(2), np.float32(1)),
}


def save_types(step):
    names = sorted(TYPES)
    tf.raw_ops.SaveV2(
        prefix=str(runs / f"types-{step}"),
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=[tf.convert_to_tensor(TYPES[n][step - 1]) for n in names],
    )


def save_text_in_slices():
    tf.raw_ops.SaveV2(
        prefix=str(runs / "text-1"),
        tensor_names=["text", "text"],
        shape_and_slices=["2 0,1", "2 1,1"],
        tensors=[tf.constant([b"one"]), tf.constant([b"other"])],
    )


save_objects()
if flavour == "3":
    for step in (1, 2):
        save_names("v2", step)
        save_names("v1", step, write_version=v1.train.SaverDef.V1)
        save_names("columns", step, v1.fixed_size_partitioner(2, axis=1))
        save_names("rows", step, v1.fixed_size_partitioner(3))
        save_names("rows-v1", step, v1.fixed_size_partitioner(3), write_version=v1.train.SaverDef.V1)
        save_types(step)
    save_text_in_slices()
