"""The formats of an export. Runs anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tb_ckptmeta.core.errors import CkptMetaError, Code


@dataclass(frozen=True)
class Format:
    """One format: its name in requests, the suffix of its files and their media type."""

    name: str
    suffix: str
    media_type: str


FORMATS: Mapping[str, Format] = {
    f.name: f
    for f in (
        Format("metagraph", ".meta", "application/octet-stream"),
        Format("metagraph-text", ".pbtxt", "text/plain; charset=utf-8"),
    )
}


def get_format(name: str) -> Format:
    """Return the format of that name.

    Raises:
        CkptMetaError: UNKNOWN_FORMAT, naming those there are.
    """
    if name not in FORMATS:
        raise CkptMetaError(Code.UNKNOWN_FORMAT, f"There is no export format {name!r}. Formats: {', '.join(FORMATS)}.")
    return FORMATS[name]
