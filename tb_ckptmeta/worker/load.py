"""Import TensorFlow, then the user's module, and take the builders it registers. Runs in the worker."""

from __future__ import annotations

import importlib
import importlib.util
import os
import random
import sys
import sysconfig
import tempfile
import time
from types import ModuleType
from typing import Any

import tb_ckptmeta
from tb_ckptmeta.core.builder import Registration, take_registrations
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.job import Spec
from tb_ckptmeta.worker.user_code import run_user_code

SEED = 20240229
_started = time.time_ns()
_OURS = os.path.dirname(os.path.abspath(tb_ckptmeta.__file__)) + os.sep


def import_tensorflow(seed: int = SEED) -> Any:
    """Import TensorFlow for the CPU, with fixed seeds.

    Raises:
        CkptMetaError: TENSORFLOW_MISSING.
    """
    if importlib.util.find_spec("tensorflow") is None:
        raise CkptMetaError(
            Code.TENSORFLOW_MISSING,
            "TensorFlow is not installed beside tb_ckptmeta, and a rebuild needs it: "
            'pip install "tensorboard-plugin-ckptmeta[tensorflow]", or your own build of TensorFlow.',
        )
    global _started
    _started = time.time_ns()
    import tensorflow as tf

    tf.get_logger().setLevel("ERROR")
    # CUDA_VISIBLE_DEVICES is read when devices are first listed: now, before user code can set it.
    tf.config.set_visible_devices([], "GPU")
    # An initializer without a seed draws one: the same builder must give the same bytes.
    random.seed(seed)
    tf.random.set_seed(seed)
    sys.modules["numpy"].random.seed(seed)
    return tf


def load_builders(spec: Spec) -> tuple[Registration, ...]:
    """Import the module of a SPEC and return the builders it registers, in order.

    Raises:
        CkptMetaError: MODULE_FAILED with the user's traceback.
    """
    take_registrations()
    run_user_code(f"{spec.given}", Code.MODULE_FAILED, lambda: _import_module(spec))
    return take_registrations()


def get_builder(spec: Spec, name: str) -> Registration:
    """Import the module of a SPEC and return one builder.

    Raises:
        CkptMetaError: as `load_builders`; UNKNOWN_BUILDER, naming those there are; DUPLICATE_BUILDER.
    """
    registrations = load_builders(spec)
    found = [r for r in registrations if r.name == name]
    if len(found) > 1:
        raise CkptMetaError(
            Code.DUPLICATE_BUILDER,
            f"Builder {name!r} is registered more than once: {' and '.join(r.source for r in found)}. Rename one.",
        )
    if found:
        return found[0]
    names = ", ".join(sorted(r.name for r in registrations)) or "none"
    raise CkptMetaError(
        Code.UNKNOWN_BUILDER, f"{spec.given} registers no builder {name!r} (any more). It registers: {names}."
    )


def list_files(spec: Spec) -> list[tuple[str, int, int]]:
    """Return (path, time in nanoseconds, size) of the source files that building a model has imported.

    Only user code: what stands in the installed libraries does not change while TensorBoard runs, and what was
    generated for this process alone (AutoGraph's modules) is no source.
    """
    installed = {sysconfig.get_path(p) for p in ("stdlib", "platstdlib", "purelib", "platlib")}
    # A venv may see those of the system, or of its user.
    installed.update(p for p in sys.path if os.path.basename(p) in ("site-packages", "dist-packages"))
    libraries, temporary = tuple(f"{place}{os.sep}" for place in installed), tempfile.gettempdir() + os.sep
    files = {spec.path} if spec.path else set()
    for module in list(sys.modules.values()):
        path = getattr(module, "__file__", None)
        if not isinstance(path, str) or not path.endswith(".py"):
            continue
        if path.startswith(libraries) and ".." not in path and not _belongs(module, spec):
            continue  # thousands, of which no more is to be asked
        path = os.path.abspath(path)
        ours = path.startswith((_OURS, temporary))
        if not ours and (not path.startswith(libraries) or _belongs(module, spec)):
            files.add(path)
    listed = []
    for path in sorted(files):
        try:
            status = os.stat(path)
        except OSError:
            continue
        # Changed since this worker began: which of the two it has imported is not known, so no stamp fits.
        settled = status.st_mtime_ns < _started
        listed.append((path, status.st_mtime_ns if settled else -1, status.st_size))
    return listed


def _belongs(module: ModuleType, spec: Spec) -> bool:
    """Tell whether a module is of the same installed package as the SPEC."""
    return spec.module is not None and module.__name__.partition(".")[0] == spec.module.partition(".")[0]


def _import_module(spec: Spec) -> ModuleType:
    # After TensorFlow, so that no file of the user's folder can stand in for one of its modules.
    sys.path.insert(0, spec.folder)
    if spec.path is None:
        assert spec.module is not None
        return importlib.import_module(spec.module)
    if not os.path.isfile(spec.path):
        raise CkptMetaError(Code.MODULE_FAILED, f"There is no file {spec.given}.")
    stem = os.path.splitext(os.path.basename(spec.path))[0]
    name = stem if stem.isidentifier() and stem not in sys.modules else f"ckptmeta_builders_{abs(hash(spec.path))}"
    found = importlib.util.spec_from_file_location(name, spec.path)
    assert found is not None
    module = importlib.util.module_from_spec(found)
    # Before it runs: dataclasses and pickle look their module up.
    sys.modules[name] = module
    # Compiled from the source itself: a .pyc is trusted by the second, and an edit may be faster.
    with open(spec.path, "rb") as file:
        code = compile(file.read(), spec.path, "exec", dont_inherit=True)
    exec(code, module.__dict__)
    return module
