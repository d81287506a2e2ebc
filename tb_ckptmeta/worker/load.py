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
from typing import TYPE_CHECKING, Any

import tb_ckptmeta
from tb_ckptmeta.core.builder import Registration, take_registrations
from tb_ckptmeta.core.dependencies import UNSETTLED, Dependencies, digest_file
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.job import Spec
from tb_ckptmeta.worker.user_code import run_user_code

if TYPE_CHECKING:
    from tb_ckptmeta.worker.watch import Watch

SEED = 20240229
_started = time.time_ns()
_before: frozenset[str] = frozenset()
# TensorFlow imports them when they are first asked for.
_LAZY = frozenset({"tensorflow", "keras", "tf_keras"})
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
    global _before, _started
    _started = time.time_ns()
    import tensorflow as tf

    tf.get_logger().setLevel("ERROR")
    # CUDA_VISIBLE_DEVICES is read when devices are first listed: now, before user code can set it.
    tf.config.set_visible_devices([], "GPU")
    # An initializer without a seed draws one: the same builder must give the same bytes.
    random.seed(seed)
    tf.random.set_seed(seed)
    sys.modules["numpy"].random.seed(seed)
    _before = frozenset(sys.modules)
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


def find_dependencies(spec: Spec, watch: Watch) -> Dependencies:
    """Return what user code has read: the source files it imported, and what `watch` has noticed.

    What was generated for this process alone (AutoGraph's modules) is no source. What TensorFlow itself had imported
    before user code ran, and the rest of those packages, is not listed: the caller knows the installation.
    """
    installed = {sysconfig.get_path(p) for p in ("stdlib", "platstdlib", "purelib", "platlib")}
    # A venv may see those of the system, or of its user.
    installed.update(p for p in sys.path if os.path.basename(p) in ("site-packages", "dist-packages"))
    known = {name.partition(".")[0] for name in _before} | sys.stdlib_module_names | _LAZY
    libraries, temporary = tuple(f"{place}{os.sep}" for place in installed), tempfile.gettempdir() + os.sep
    files = {spec.path} if spec.path else set()
    # To look at what a forked process shares with its parent is to copy it.
    for name, module in [(name, module) for name, module in list(sys.modules.items()) if name not in _before]:
        try:
            path = getattr(module, "__file__", None)
        except Exception:  # user code may put anything there
            continue
        if not isinstance(path, str) or not path.endswith(".py"):
            continue
        library = name.partition(".")[0] in known and path.startswith(libraries) and ".." not in path
        if library and not _belongs(name, spec):
            continue  # thousands, of which no more is to be asked
        path = os.path.abspath(path)
        if not path.startswith((_OURS, temporary)):
            files.add(path)
    opened = {p for p, digest in watch.files.items() if digest is None} - set(sys.path)  # python311.zip is looked for
    files |= {p for p in opened if not p.startswith((_OURS, *libraries))}
    found = {path: _digest_settled(path) for path in sorted(files)}
    return Dependencies(
        {**found, **{p: d for p, d in watch.files.items() if d is not None}}, watch.environment, watch.directory
    )


def _digest_settled(path: str) -> str:
    """Return a file's digest, or one that fits nothing where it changed since this worker began."""
    try:
        status = os.stat(path)
    except OSError:
        return ""
    if max(status.st_mtime_ns, status.st_ctime_ns) >= _started:
        return UNSETTLED
    return digest_file(path)


def _belongs(name: str, spec: Spec) -> bool:
    """Tell whether a module is of the same installed package as the SPEC."""
    return spec.module is not None and name.partition(".")[0] == spec.module.partition(".")[0]


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
