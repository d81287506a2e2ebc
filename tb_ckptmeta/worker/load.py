"""Import TensorFlow, then the user's module, and take the builders it registers. Runs in the worker."""

from __future__ import annotations

import importlib
import importlib.util
import os
import random
import sys
from collections.abc import Set
from dataclasses import replace
from types import ModuleType
from typing import TYPE_CHECKING, Any

from tb_ckptmeta.core.builder import Registration, take_registrations
from tb_ckptmeta.core.dependencies import UNSETTLED, Dependencies, digest_file
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.job import Spec
from tb_ckptmeta.worker.loaded import find_file, get_loaded
from tb_ckptmeta.worker.looks import is_late, mark
from tb_ckptmeta.worker.user_code import run_user_code

if TYPE_CHECKING:
    from tb_ckptmeta.worker.watch import Watch

SEED = 20240229
# TensorFlow imports them when they are first asked for.
_LAZY = frozenset({"tensorflow", "keras", "tf_keras"})


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
    import tensorflow as tf

    tf.get_logger().setLevel("ERROR")
    # CUDA_VISIBLE_DEVICES is read when devices are first listed: now, before user code can set it.
    tf.config.set_visible_devices([], "GPU")
    # An initializer without a seed draws one: the same builder must give the same bytes.
    random.seed(seed)
    tf.random.set_seed(seed)
    sys.modules["numpy"].random.seed(seed)
    get_loaded()
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
    before user code ran, and the rest of those packages, is not listed where it is installed: the caller knows the
    installation.
    """
    places, loaded, read = watch.places, get_loaded(), watch.find_read()
    sources = {spec.path} if spec.path else set()
    for name, module in loaded.find_newer().items():
        path = find_file(module)
        if path is None:
            continue
        if places.is_own(path) or (places.is_installed(path) and not _is_known(name, loaded.packages, spec)):
            sources.add(path)
    files = {p: digest for p, digest in read.files.items() if not (p in sys.path and not os.path.isfile(p))}
    imported = sorted(sources - files.keys())
    digests = {path: UNSETTLED if is_late(mark(path), watch.began) else digest_file(path) for path in imported}
    return replace(
        read,
        files={**digests, **files, **loaded.digest_files()},
        kinds={path: kind for path, kind in read.kinds.items() if path not in files},
    )


def _is_known(name: str, packages: Set[str], spec: Spec) -> bool:
    """Tell whether an installed module is of Python, or of a package that TensorFlow has imported.

    They are thousands, of which no more is to be asked; unless it is the SPEC's own package.
    """
    package = name.partition(".")[0]
    if spec.module is not None and package == spec.module.partition(".")[0]:
        return False
    return package in packages or package in _LAZY or package in sys.stdlib_module_names


def _import_module(spec: Spec) -> ModuleType:
    # After TensorFlow, so that no file of the user's folder can stand in for one of its modules.
    sys.path.insert(0, spec.folder)
    if spec.path is None:
        assert spec.module is not None
        try:
            return importlib.import_module(spec.module)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{spec.module}.".startswith(f"{error.name}."):
                raise  # it is there, and imports what is not
            message = f"There is no module {spec.module} (looked in {spec.folder} and among installed packages)."
            raise CkptMetaError(Code.MODULE_FAILED, message) from None
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
