"""Tell the caller, as it happens, what the worker is doing. Runs in the worker."""

from __future__ import annotations

import errno
import json
import time
from pathlib import Path

from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.job import STEPS


class Steps:
    """The worker's real steps, appended to the job's file as they begin."""

    def __init__(self, folder: Path) -> None:
        self._file = (folder / STEPS).open("a", encoding="utf-8", buffering=1)

    def begin(self, name: str) -> None:
        """Say that `name` begins, and so that the step before it has ended."""
        try:
            self._file.write(json.dumps({"name": name, "at": time.time()}) + "\n")
        except OSError as error:
            if error.errno != errno.EBADF:
                raise
            message = "User code has closed files that are not its own (os.close, os.closerange): this worker's, too."
            raise CkptMetaError(Code.BUILDER_FAILED, message) from error
