"""Write a record when `model.fit` begins. Runs in the training script's process.

Nothing here imports Keras before a callback is asked for: which Keras it must be of is known only then.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import warnings
from collections.abc import Mapping
from typing import Any

from tb_ckptmeta.core.arguments import Scalar
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.record import check_record, record

KERAS_3 = "keras"
KERAS_2 = "tf_keras"


def record_callback(
    directory: str | os.PathLike[str],
    builder: str,
    /,
    *,
    checkpoints: str = "*",
    arguments: Mapping[str, Scalar] | None = None,
) -> Any:
    """Return a Keras callback that calls `record` as the training begins; the parameters are those of `record`.

    It is a `keras.callbacks.Callback`, or tf_keras' where that is what the script uses, and `fit` of either takes it.
    What keeps the record from being written then (a full disk, a file in its place that is none) is a `RuntimeWarning`:
    a training is worth more than its record.

    Raises:
        CkptMetaError: INVALID_RECORD at once where a value does not fit; KERAS_MISSING.
    """
    check_record(directory, builder, checkpoints, arguments)
    base = importlib.import_module(f"{_find_keras()}.callbacks").Callback

    class RecordCallback(base):  # type: ignore[misc, valid-type]
        """Writes down which builder makes the checkpoints of a directory."""

        def on_train_begin(self, logs: Any = None) -> None:
            try:
                record(directory, builder, checkpoints=checkpoints, arguments=arguments)
            except CkptMetaError as error:
                warnings.warn(f"The training goes on without a record. {error.message}", RuntimeWarning, stacklevel=2)

        # What tf_keras asks of every callback, and Keras 3 does not have: with both imported, either may train.
        def _implements_train_batch_hooks(self) -> bool:
            return False

        _implements_test_batch_hooks = _implements_predict_batch_hooks = _implements_train_batch_hooks

    return RecordCallback()


def _find_keras() -> str:
    """Return the package of the Keras that the script uses: the one imported, else the one that `tf.keras` is.

    TensorFlow itself imports Keras 3, unless told otherwise: beside it tf_keras was imported by the script.

    Raises:
        CkptMetaError: KERAS_MISSING.
    """
    legacy = os.environ.get("TF_USE_LEGACY_KERAS") in ("1", "True", "true")
    for name in (KERAS_2, KERAS_3):
        if name in sys.modules:
            return name
    for name in (KERAS_2, KERAS_3) if legacy else (KERAS_3, KERAS_2):
        if importlib.util.find_spec(name) is not None:
            return name
    raise CkptMetaError(
        Code.KERAS_MISSING,
        "Neither keras nor tf_keras is installed, so that there can be no callback. Call tb_ckptmeta.record where the "
        "training begins.",
    )
