"""Let a file appear at its path whole or not at all. Runs anywhere."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from tb_ckptmeta.core.errors import CkptMetaError, Code


def land_bytes(content: bytes, path: Path, *, overwrite: bool) -> None:
    """Write `content` to `path`, at once.

    Raises:
        CkptMetaError: OUTPUT_EXISTS, OUTPUT_UNWRITABLE.
    """
    temporary, file = _open_beside(path)
    try:
        with file:
            file.write(content)
        _finish(temporary, path, overwrite)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def land_file(
    source: Path, path: Path, *, overwrite: bool, before: Callable[[Path], object] = lambda temporary: None
) -> None:
    """Copy the file `source` to `path`, at once; `before` is told where the copy lies until then.

    Raises:
        CkptMetaError: OUTPUT_EXISTS, OUTPUT_UNWRITABLE; as `before`.
    """
    temporary, file = _open_beside(path)
    try:
        with file, source.open("rb") as reader:
            shutil.copyfileobj(reader, file, 1 << 20)
        before(temporary)
        _finish(temporary, path, overwrite)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def _open_beside(path: Path) -> tuple[Path, BinaryIO]:
    """Open a new file in the folder of `path`, so that moving it there is one step of the file system."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        return temporary, temporary.open("xb")
    except OSError as error:
        raise unwritable(path, error) from error


def _finish(temporary: Path, path: Path, overwrite: bool) -> None:
    if overwrite:
        os.replace(temporary, path)
        return
    try:
        # Unlike a rename, a link fails where something stands already, even if it came a moment ago.
        os.link(temporary, path)
    except FileExistsError:
        raise output_exists(path) from None
    except OSError:  # a file system without hard links
        if os.path.lexists(path):
            raise output_exists(path) from None
        os.replace(temporary, path)


def output_exists(path: Path) -> CkptMetaError:
    """Return the refusal to overwrite `path`."""
    return CkptMetaError(Code.OUTPUT_EXISTS, f"{path} exists, and is not overwritten unless you say so (--overwrite).")


def unwritable(path: Path, error: OSError) -> CkptMetaError:
    """Return the error of a path that cannot be written."""
    return CkptMetaError(
        Code.OUTPUT_UNWRITABLE, f"{path} cannot be written: {error.strerror or error}. Choose another output."
    )
