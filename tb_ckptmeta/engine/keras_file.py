"""Have Keras' own files read by a worker: their HDF5 is a C library's matter. Runs in the caller's process."""

from __future__ import annotations

import os

from tb_ckptmeta.core.contents import Contents, StoredTensor
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.job import Limits, ReadKeras
from tb_ckptmeta.engine.process import run_worker
from tb_ckptmeta.engine.temporary import temporary_folder

LIMITS = Limits(seconds=120.0, memory=2 << 30)
"""What reading one file may take; only the metadata is read."""

_LOST = frozenset({Code.BUILDER_TIMEOUT, Code.BUILDER_OUT_OF_MEMORY, Code.BUILDER_CRASHED, Code.BUILDER_EXITED})


def read_keras_contents(path: str, format: str, limits: Limits = LIMITS) -> Contents:
    """Read the paths, shapes and dtypes of the arrays in a `.weights.h5` or `.keras` file.

    Raises:
        CkptMetaError: CHECKPOINT_MISSING, CHECKPOINT_CORRUPT, CHECKPOINT_UNREADABLE, UNSUPPORTED_CHECKPOINT,
            H5PY_MISSING.
    """
    with temporary_folder() as folder:
        try:
            value = run_worker(ReadKeras(os.path.abspath(path), limits), folder, f"The reader of {path}")
        except CkptMetaError as error:
            if error.code not in _LOST:
                raise
            # A builder's limits and a builder's hints are not what this is about.
            raise CkptMetaError(
                Code.CHECKPOINT_UNREADABLE,
                f"{path} could not be read: its reader was ended ({error.code.value}), as no file of Keras' should "
                f"need more than {limits.seconds:g} s and {limits.memory >> 20} MiB.",
                error.details,
            ) from error
    tensors = {k: StoredTensor(tuple(s), d, b) for k, (s, d, b) in value["tensors"].items()}
    return Contents(format, tensors, None, value["fingerprint"], keras=value["keras"])
