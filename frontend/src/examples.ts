/** The examples that the empty states show; they are copied as they stand. */

export const BUILDER_EXAMPLE = `import tensorflow as tf
from tb_ckptmeta import builder

@builder("mnist-mlp", checkpoints="mlp/*")
def mnist_mlp(units: int = 128):
    return tf.keras.Sequential([
        tf.keras.Input((784,)),
        tf.keras.layers.Dense(units, activation="relu"),
        tf.keras.layers.Dense(10),
    ])
`;

export const SAVING_EXAMPLE = `checkpoint = tf.train.Checkpoint(model=model, optimizer=optimizer)
checkpoint.save("LOGDIR/my-run/ckpt")
`;
