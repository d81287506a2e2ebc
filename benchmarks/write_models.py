"""Save models of models.py as a training script does: python write_models.py FOLDER {BUILDER JSON-ARGUMENTS}…

Each is saved as FOLDER/BUILDER-PLACE/ckpt-1, PLACE being its place among the arguments.
"""

import json
import os
import sys

import models
import tensorflow as tf

asked = iter(sys.argv[2:])
for place, (name, arguments) in enumerate(zip(asked, asked, strict=True)):
    model = getattr(models, name.replace("-", "_"))(**json.loads(arguments))
    prefix = os.path.join(sys.argv[1], f"{name}-{place}", "ckpt-1")
    tf.train.Checkpoint(model=model).write(prefix)
