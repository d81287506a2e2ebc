"""A builder that counts its runs, and reads more than its module: a helper, two files and the environment."""

import json
import os
from pathlib import Path

import counted_sizes
import tensorflow as tf

from tb_ckptmeta import builder

HERE = Path(__file__).parent

with (HERE / "modules.txt").open("a") as marks:
    marks.write("module\n")


@builder("counted", checkpoints="mlp/*")
def counted(units: int = counted_sizes.HIDDEN):
    with (HERE / "runs.txt").open("a") as marks:
        marks.write("run\n")
    settings = json.loads((HERE / "settings.json").read_text())
    words = tf.io.gfile.GFile(str(HERE / "words.txt")).read().split()
    os.environ["COUNTED_OWN"] = str(os.getpid())
    return tf.keras.Sequential(
        [
            tf.keras.Input((784,), name="image"),
            tf.keras.layers.Dense(units, activation=settings["activation"], name="hidden"),
            tf.keras.layers.Dense(10, name=words[0]),
        ],
        name=os.environ.get("COUNTED_NAME", "mlp") + os.environ["COUNTED_OWN"][:0],
    )
