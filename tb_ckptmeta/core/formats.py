"""The formats of an export. Runs anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tb_ckptmeta.core.errors import CkptMetaError, Code

FILE = "file"
FOLDER = "folder"
PREFIX = "prefix"
"""How an export lies on a disk: as one file, as a folder, or as several files whose names begin alike."""

STEM = "model"
"""What the names of an export's files begin with until it has its own."""


@dataclass(frozen=True)
class Format:
    """One format: its name in requests, how it lies on a disk, and, of a file, its suffix and media type."""

    name: str
    layout: str
    suffix: str = ""
    media_type: str = "application/zip"


FORMATS: Mapping[str, Format] = {
    f.name: f
    for f in (
        Format("metagraph", FILE, ".meta", "application/octet-stream"),
        Format("metagraph-text", FILE, ".pbtxt", "text/plain; charset=utf-8"),
        Format("saved_model", FOLDER),
        Format("frozen", FILE, ".pb", "application/octet-stream"),
        Format("checkpoint", PREFIX),
        Format("onnx", FILE, ".onnx", "application/octet-stream"),
    )
}

READS_WEIGHTS = frozenset({"frozen", "checkpoint", "onnx"})
"""The formats that take the weights along."""


def get_format(name: str) -> Format:
    """Return the format of that name.

    Raises:
        CkptMetaError: UNKNOWN_FORMAT, naming those there are.
    """
    if name not in FORMATS:
        raise CkptMetaError(Code.UNKNOWN_FORMAT, f"There is no export format {name!r}. Formats: {', '.join(FORMATS)}.")
    return FORMATS[name]
