"""Write checkpoints of stacks (stacks.py) of any size with TensorFlow, their shards sparse files of zeros.

Usage: python write_stacks.py LAYERS {BUILDER WIDTH PREFIX}…

The keys and the object graph are those that TensorFlow saves of the same stack, four wide. TensorFlow writes the
tensors of the asked width, a shard for every few; the zeros at the end of a shard, in the first all behind the object
graph, are then made a hole in its file, which holds the same bytes, so that its checksums hold as well. So 10 GB are on
no disk for long, and in no memory.
"""

import os
import pathlib
import sys
import tempfile

import numpy as np
import tensorflow as tf
from stacks import keras_stack, scoped_stack

from tb_ckptmeta.core.contents import OBJECT_GRAPH_KEY

NARROW = 4
SHARDS = 26


def save_narrow(name, layers, folder):
    """Save the stack, four wide, as a training script does; return the prefix."""
    if name == "keras-stack":
        return tf.train.Checkpoint(model=keras_stack(layers, NARROW)).write(os.path.join(folder, "narrow"))
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        scoped_stack(layers, NARROW)
        session.run(v1.global_variables_initializer())
        return v1.train.Saver().save(session, os.path.join(folder, "narrow"), write_meta_graph=False)


def make_sparse(prefix):
    path = pathlib.Path(f"{prefix}.data-00000-of-00001")
    content = path.read_bytes()
    path.write_bytes(content.rstrip(b"\0"))
    os.truncate(path, len(content))


def save(folder, part, tensors):
    prefix = os.path.join(folder, f"part-{part}")
    tf.raw_ops.SaveV2(
        prefix=prefix,
        tensor_names=list(tensors),
        shape_and_slices=[""] * len(tensors),
        tensors=list(tensors.values()),
    )
    return prefix


def write(layers, name, width, prefix):
    os.makedirs(os.path.dirname(prefix), exist_ok=True)
    with tempfile.TemporaryDirectory(dir=os.path.dirname(prefix)) as folder:
        reader = tf.train.load_checkpoint(save_narrow(name, layers, folder))
        shapes = reader.get_variable_to_shape_map()
        graph = {}
        if shapes.pop(OBJECT_GRAPH_KEY, None) is not None:
            graph = {OBJECT_GRAPH_KEY: tf.constant(reader.get_tensor(OBJECT_GRAPH_KEY))}
        parts = []
        zeros = {rank: tf.zeros([width] * rank) for rank in (1, 2)}  # shared, for 10 GB would not fit
        for part, keys in enumerate(np.array_split(sorted(shapes), SHARDS)):
            tensors = {str(key): zeros[len(shapes[key])] for key in keys}
            parts.append(save(folder, part, {**graph, **tensors} if part == 0 else tensors))
            make_sparse(parts[-1])
        tf.raw_ops.MergeV2Checkpoints(checkpoint_prefixes=parts, destination_prefix=prefix)


asked = iter(sys.argv[2:])
for builder, size, target in zip(asked, asked, asked, strict=True):
    write(int(sys.argv[1]), builder, int(size), target)
