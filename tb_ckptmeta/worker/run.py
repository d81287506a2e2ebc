"""Carry out one request and leave its result. Runs in the worker."""

from __future__ import annotations

import faulthandler
import gc
import json
import os
import signal
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.job import (
    RESULT,
    Check,
    Describe,
    Differences,
    Export,
    Job,
    ReadKeras,
    Rebuild,
    Reference,
    read_job,
)
from tb_ckptmeta.core.system import is_out_of_room, refused_by_system
from tb_ckptmeta.worker.flavour import settle_keras, settle_module_keras
from tb_ckptmeta.worker.load import SEED, import_tensorflow
from tb_ckptmeta.worker.steps import Steps
from tb_ckptmeta.worker.user_code import describe_error, format_user_traceback

_COLLECT_EVERY = (200_000, 20, 100)


def run(folder: Path, warm: str | None = None) -> NoReturn:
    """Run the request of `folder`, write its result there, and end the process.

    The result is {"value": …} or {"error": {"code", "message", "details"}}; or {"keras": …} where TensorFlow has been
    imported with one Keras (`warm`) and the request needs the other. None is left where user code ended the process;
    the guardian tells how.
    """
    # The stack of a crash, or of a hang when the guardian asks for it, goes to the captured output.
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1, all_threads=False)
    sys.dont_write_bytecode = True
    # A model's building makes objects by the hundred thousand, and nearly all of them stay: looking through them again
    # and again was a fifth of it. Not never, for what user code leaves behind in cycles is memory.
    gc.set_threshold(*_COLLECT_EVERY)
    job = read_job(folder)
    try:
        keras = _settle(job)
        if warm is not None and keras is not None and keras != warm:
            result: Mapping[str, Any] = {"keras": keras}
        else:
            result = {"value": _run_job(job, keras, folder, Steps(folder), warm is not None)}
    except CkptMetaError as error:
        result = {"error": error.as_json()}
    except BaseException as error:
        lost = _find_lost_data(error, job, folder)
        if lost is not None:
            result = {"error": lost.as_json()}
        elif isinstance(job, (Check, Reference)) and isinstance(error, Exception):
            message = f"The export could not be checked: {describe_error(error)}"
            result = {"error": CkptMetaError(Code.CHECK_FAILED, message, format_user_traceback(error)).as_json()}
        else:
            result = {"error": _describe_defect(error).as_json()}
    temporary = folder / (RESULT + ".tmp")
    temporary.write_text(json.dumps(result, allow_nan=False, default=str), encoding="utf-8")
    temporary.replace(folder / RESULT)
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads that user code left running must not keep the process.
    os._exit(0)


def _find_lost_data(error: BaseException, job: Job, folder: Path) -> CkptMetaError | None:
    """Return what is wrong with the weights that a job has read, if that is what its error says."""
    read = job.export if isinstance(job, Rebuild) else job
    if not isinstance(read, (Check, Export, Reference)) or not isinstance(error, Exception):
        return None
    if "tensorflow" not in sys.modules:  # then nothing has been read
        return None
    from tb_ckptmeta.worker.lost_data import find_lost_data

    return find_lost_data(error, read.prefix, folder)


def _describe_defect(error: BaseException) -> CkptMetaError:
    if isinstance(error, OSError) and is_out_of_room(error):
        return refused_by_system(error)
    return CkptMetaError(
        Code.WORKER_FAILED,
        f"The worker failed with {describe_error(error)}. This is a defect of tb_ckptmeta, or of its fit to the "
        "installed TensorFlow; please report it with the details.",
        # Whole, our frames included: this one is for us.
        "".join(traceback.format_exception(error)),
    )


def _settle(job: Job) -> str | None:
    """Settle which Keras a job needs, for TensorFlow reads it at import; None where that is the same."""
    match job:
        case Describe():
            return settle_module_keras(job.spec)
        case Rebuild() | Reference():
            return settle_keras(job.source)
    return None


def _run_job(job: Job, keras: str | None, folder: Path, steps: Steps, warm: bool) -> Any:
    if isinstance(job, ReadKeras):
        from tb_ckptmeta.worker.keras_file import read_keras_file

        return read_keras_file(job, folder, steps)
    if isinstance(job, Differences):
        from tb_ckptmeta.worker.differences import measure_differences

        return measure_differences(job, folder, steps)
    # Everything that imports TensorFlow is imported here, once the environment it reads is settled.
    if not warm:
        steps.begin("importing TensorFlow")
    # What a builder draws at random is not the checkpoint's: let the reference draw otherwise, and the check find out.
    import_tensorflow(SEED + 1 if isinstance(job, Reference) else SEED)
    match job:
        case Describe():
            from tb_ckptmeta.worker.describe import describe

            return describe(job, folder, steps)
        case Rebuild():
            from tb_ckptmeta.worker.rebuild import rebuild

            assert keras is not None
            return rebuild(job, keras, folder, steps)
        case Reference():
            from tb_ckptmeta.worker.reference import make_reference

            assert keras is not None
            return make_reference(job, keras, folder, steps)
        case Check():
            from tb_ckptmeta.worker.check import check

            return check(job, folder, steps)
