"""Tell when TensorBoard would not read a remote logdir, and have one read it. Runs in TensorBoard's process.

Without TensorFlow TensorBoard reads any fsspec URL. Where TensorFlow is installed, it asks that for the files, whose
own builds know `gs://` alone, and refuses to start on `s3://`. TensorBoard has a switch for doing without TensorFlow
(tensorboard/compat/__init__.py): it must be set before TensorBoard begins, and so before any plugin is asked.
"""

from __future__ import annotations

import importlib.util
import shlex
import sys
import types
from collections.abc import Iterable, Sequence

from tb_ckptmeta.engine.remote import is_remote

LAUNCHER = "tb_ckptmeta.plugin"
_SWITCH = "tensorboard.compat.notf"
_TENSORFLOW_HAS = ("gs", "ram")


def find_refusal(logdirs: Iterable[str], argv: Sequence[str]) -> str:
    """Return why TensorBoard would refuse to read these logdirs, and what to do; an empty text where it would not."""
    schemes = {path.partition("://")[0].lower() for path in logdirs if is_remote(path)} - {*_TENSORFLOW_HAS}
    if not schemes or _SWITCH in sys.modules or not _is_installed("tensorflow") or _is_installed("tensorflow_io"):
        return ""
    shown = ", ".join(f"{scheme}://" for scheme in sorted(schemes))
    command = shlex.join(["python", "-m", LAUNCHER, *argv])
    return (
        f"TensorFlow is installed, so that TensorBoard asks it for the files, and it has no file system for {shown}. "
        f"Start TensorBoard as one that reads them by fsspec: {command}"
    )


def do_without_tensorflow() -> None:
    """Have a TensorBoard that begins after this read files by fsspec; workers have TensorFlow all the same."""
    sys.modules.setdefault(_SWITCH, types.ModuleType(_SWITCH))


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False
