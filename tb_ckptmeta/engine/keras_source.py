"""Read a Keras configuration as text, and tell which Keras it is of; it is not deserialised here.

Runs in the caller's process.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

from tb_ckptmeta.core.checkpoint import Checkpoint
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.source import FoundSource
from tb_ckptmeta.engine.checkpoint_file import open_file
from tb_ckptmeta.engine.event_file import find_keras_text
from tb_ckptmeta.engine.sources import check_source_confined, find_event_files

MOST_BYTES = 16 << 20
_CONFIG = "config.json"
_METADATA = "metadata.json"
_MOST_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class Configuration:
    """A configuration: `keras` is "3", "legacy" or None where it does not say, `path` the file that holds it."""

    text: str
    keras: str | None
    path: str


def read_configuration(checkpoint: Checkpoint, source: FoundSource) -> Configuration:
    """Read a checkpoint's Keras configuration.

    Raises:
        CkptMetaError: SOURCE_MISSING where there is none, SOURCE_UNREADABLE, OUTSIDE_LOGDIR, CHECKPOINT_UNREADABLE.
    """
    if source.path is not None:
        check_source_confined(source.path, checkpoint)
        return _read_archive(source.path)
    paths = find_event_files(checkpoint)
    for path in paths:
        check_source_confined(path, checkpoint)
        text = find_keras_text(path)
        if text is not None:
            return Configuration(text, _find_keras(_parse(text, path), None), path)
    raise CkptMetaError(
        Code.SOURCE_MISSING,
        f"No event file of this run holds a Keras configuration ({len(paths)} looked through). "
        "keras.callbacks.TensorBoard logs one for a Functional or Sequential model, and none for a subclassed one: "
        "register a builder.",
        "\n".join(paths),
    )


def _read_archive(path: str) -> Configuration:
    with open_file(path, Code.SOURCE_MISSING) as file:
        try:
            with zipfile.ZipFile(cast(BinaryIO, _Bounded(file))) as archive:
                text = _read_member(archive, _CONFIG, path)
                metadata = _parse(_read_member(archive, _METADATA, path), path)
        except KeyError as error:
            raise _unreadable(path, f"there is no such member in it ({error})") from None
        except (zipfile.BadZipFile, ValueError, EOFError, NotImplementedError, RuntimeError, zlib.error) as error:
            raise _unreadable(path, f"it is no zip archive as Keras writes it ({error})") from None
    return Configuration(text, _find_keras(_parse(text, path), metadata), path)


def _read_member(archive: zipfile.ZipFile, name: str, path: str) -> str:
    with archive.open(name) as member:
        data = member.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise _unreadable(path, f"its {name} is larger than {MOST_BYTES >> 20} MiB")
    return data.decode("utf-8", "replace")


def _parse(text: str, path: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise _unreadable(path, "what it holds as a configuration is no JSON object")
    return value


def _find_keras(config: dict[str, Any], metadata: dict[str, Any] | None) -> str | None:
    """Return which Keras wrote a configuration: by the version beside it, or by what only one of them writes."""
    version = (metadata or config).get("keras_version")
    if isinstance(version, str):
        return "legacy" if version.startswith(("0.", "1.", "2.")) else "3"
    module = config.get("module")
    if not isinstance(module, str):
        return "legacy"  # the JSON of Keras 2 names classes alone
    return "legacy" if module.partition(".")[0] == "tf_keras" else "3"


def _unreadable(path: str, reason: str) -> CkptMetaError:
    return CkptMetaError(Code.SOURCE_UNREADABLE, f"The Keras configuration in {path} cannot be read: {reason}.")


class _Bounded:
    """A file of which little is read at once: `zipfile` reads an archive's directory as large as that claims to be."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(_MOST_AT_ONCE + 1 if size < 0 else min(size, _MOST_AT_ONCE + 1))
        if len(data) > _MOST_AT_ONCE:
            raise ValueError("its directory is larger than any model's")
        return data

    def seekable(self) -> bool:
        return True
