"""Today's way to a graph of a checkpoint: python script.py BUILDER ARGUMENTS PREFIX FOLDER, whose process is measured.

The model is built with its weights, restored, and saved as a SavedModel, which holds its graph.
"""

import json
import sys

import models
import tensorflow as tf

name, arguments, prefix, folder = sys.argv[1:]
model = getattr(models, name.replace("-", "_"))(**json.loads(arguments))
tf.train.Checkpoint(model=model).restore(prefix).expect_partial()
tf.saved_model.save(model, folder)
