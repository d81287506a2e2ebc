"""Put an export where it was asked for: whole, or not at all. Runs in the caller's process."""

from __future__ import annotations

import io
import os
import re
import secrets
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from tb_ckptmeta.core.checkpoint import Checkpoint
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.formats import FILE, FOLDER, PREFIX, STEM, Format
from tb_ckptmeta.core.job import Spec
from tb_ckptmeta.core.landing import land_file, output_exists, unwritable

_CHUNK = 1 << 20
_MARK = "saved_model.pb"
_SAVED_MODEL = {_MARK, "variables", "assets", "assets.extra", "fingerprint.pb", "keras_metadata.pb", "debug"}
"""What a SavedModel's folder holds: one that holds anything else is not replaced."""
MayReplace = Callable[[Sequence[Path]], bool]
"""Tells whether the files, or the folder, that stand at a place may be replaced."""
OnLanding = Callable[[Path, Mapping[Path, Path]], object]
"""Told what is about to come to a place: each file where it will stand -> where it lies."""
_PART = re.compile(r"\.(index|data-\d{5}-of-\d{5})$")


def check_output(
    format: Format,
    output: Path,
    checkpoint: Checkpoint,
    specs: Iterable[Spec] = (),
    *,
    overwrite: bool,
    may_replace: MayReplace = lambda taken: False,
) -> None:
    """Find out before the work begins whether its outcome may stand at `output`, where it replaces no builders either.

    Raises:
        CkptMetaError: OUTPUT_EXISTS, OUTPUT_UNWRITABLE; as `may_replace`.
    """
    if not output.absolute().parent.is_dir():
        raise CkptMetaError(Code.OUTPUT_UNWRITABLE, f"There is no folder {output.parent} to write {output.name} into.")
    if format.layout == FILE and output.is_dir():
        raise CkptMetaError(Code.OUTPUT_UNWRITABLE, f"{output} is a folder; give the path of a file.")
    own = [Path(os.path.realpath(f)) for f in checkpoint.files]
    real = Path(os.path.realpath(output))
    if format.layout == FILE and real.exists() and not real.is_file():  # /dev/null, say: to write is to replace
        raise CkptMetaError(Code.OUTPUT_UNWRITABLE, f"{output} is no file but a device, a pipe or the like.")
    if format.layout == FILE and any(_PART.search(path.name) for path in (output, real)):
        message = f"{output} has the name of a checkpoint's part, and could replace one. Choose another output."
        raise CkptMetaError(Code.OUTPUT_EXISTS, message)
    taken = list_taken(format, output)
    if format.layout == FOLDER:
        clash = any(real in f.parents for f in own)
    elif format.layout == FILE:
        clash = real in own
    else:
        clash = any(Path(os.path.realpath(f)) in own for f in taken)
    if any(spec.path and Path(os.path.realpath(spec.path)) == real for spec in specs):
        message = f"{output} is the file that registers the builder, and is not overwritten. Choose another output."
        raise CkptMetaError(Code.OUTPUT_EXISTS, message)
    if clash:
        message = f"{output} is, or holds, the checkpoint itself, and is not overwritten. Choose another output."
        raise CkptMetaError(Code.OUTPUT_EXISTS, message)
    if taken and not overwrite and not may_replace(taken):
        raise output_exists(taken[0])
    if format.layout == FOLDER and taken:
        _require_saved_model(output)
    try:
        with tempfile.TemporaryFile(dir=real.parent):
            pass
    except OSError as error:
        raise unwritable(output, error) from error


def list_taken(format: Format, output: Path) -> list[Path]:
    """Return the files, or the folder, that stand where an export would."""
    if format.layout == PREFIX:
        return _find_prefixed(output)
    return [output] if os.path.lexists(output) else []


def deliver(
    folder: Path,
    format: Format,
    output: Path,
    *,
    overwrite: bool,
    copy: bool = False,
    may_replace: MayReplace = lambda taken: False,
    on_landing: OnLanding = lambda output, files: None,
) -> int:
    """Put the export in `folder` to `output` and return how many bytes it has.

    What it shares with the checkpoint is linked, or copied where that cannot be or `copy` is asked for.

    Raises:
        CkptMetaError: OUTPUT_EXISTS, OUTPUT_UNWRITABLE; as `may_replace` and `on_landing`.
    """
    size = count_bytes(folder)
    if not overwrite:
        taken = list_taken(format, output)
        # Where nothing stands, what comes there meanwhile is not replaced either.
        overwrite = bool(taken) and may_replace(taken)
    if format.layout == FILE:
        source = folder / (STEM + format.suffix)
        # Of a link the file that it leads to is written.
        real = Path(os.path.realpath(output))
        land_file(source, real, overwrite=overwrite, before=lambda lies: on_landing(output, {output: lies}))
    elif format.layout == FOLDER:
        _deliver_folder(folder, output, overwrite, copy, on_landing)
    else:
        _deliver_prefix(folder, output, overwrite, on_landing)
    return size


def count_bytes(folder: Path) -> int:
    """Return how many bytes the files of an export have, those it shares with the checkpoint included."""
    return sum(path.stat().st_size for path in _list_files(folder))


@dataclass(frozen=True)
class Download:
    """An export on its way to a client: `size` in bytes is None where that shows only at its end."""

    filename: str
    media_type: str
    size: int | None
    chunks: Iterator[bytes]


def open_download(folder: Path, format: Format, name: str) -> Download:
    """Return an export as one file: itself, or a zip archive that is made while it is sent.

    Raises:
        CkptMetaError: CHECKPOINT_MISSING where files that it shares with the checkpoint are gone.
    """
    gone = [p for p in _list_files(folder) if not p.exists()]
    if gone:
        raise CkptMetaError(
            Code.CHECKPOINT_MISSING,
            f"The checkpoint's file {os.path.basename(os.path.realpath(gone[0]))} is gone, and the export is made of "
            "it. Export again from a checkpoint that stays.",
        )
    if format.layout == FILE:
        path = folder / (STEM + format.suffix)
        return Download(name + format.suffix, format.media_type, path.stat().st_size, _read(path))
    return Download(f"{name}.zip", format.media_type, None, _zip(folder, format, name))


def _read(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk


def _zip(folder: Path, format: Format, name: str) -> Iterator[bytes]:
    """Yield a zip archive, not compressed; nothing of it lies on a disk.

    The files of a folder stand below the folder `name`, those of a prefix begin with it.
    """
    sink = _Sink()
    with zipfile.ZipFile(cast(IO[bytes], sink), "w", zipfile.ZIP_STORED) as archive:
        for path in _list_files(folder):
            relative = path.relative_to(folder).as_posix()
            own = f"{name}/{relative}" if format.layout == FOLDER else name + relative.removeprefix(STEM)
            # One time for all: the same export gives the same bytes.
            with archive.open(zipfile.ZipInfo(own), "w", force_zip64=True) as member:
                for chunk in _read(path):
                    member.write(chunk)
                    yield sink.take()
    yield sink.take()


class _Sink(io.RawIOBase):
    """A file that cannot be sought in, and hands out what was written."""

    def __init__(self) -> None:
        super().__init__()
        self._written = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._written += data
        return len(data)

    def take(self) -> bytes:
        taken = bytes(self._written)
        self._written.clear()
        return taken


def _list_files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if not p.is_dir())


def _deliver_folder(folder: Path, output: Path, overwrite: bool, copy: bool, on_landing: OnLanding) -> None:
    given = output
    # Of a link, such as `current -> 3`, the folder that it leads to is written.
    output = Path(os.path.realpath(output))
    temporary = output.with_name(f".{output.name}.{secrets.token_hex(6)}.tmp")
    old = output.with_name(f".{output.name}.{secrets.token_hex(6)}.old")
    try:
        for path in _list_files(folder):
            target = temporary / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            _link_or_copy(path, target, path.is_symlink() and not copy)
        on_landing(given, {given / p.relative_to(temporary): p for p in _list_files(temporary)})
        if os.path.lexists(output):
            if not overwrite:
                raise output_exists(output)
            _require_saved_model(output)
            output.rename(old)
        try:
            temporary.rename(output)
        except OSError:
            if old.exists():
                old.rename(output)
            raise
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise unwritable(output, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _deliver_prefix(folder: Path, output: Path, overwrite: bool, on_landing: OnLanding) -> None:
    """Put several files beside each other; the index comes last, and without it there is no checkpoint."""
    old = _find_prefixed(output)
    if old and not overwrite:
        raise output_exists(old[0])
    files = sorted(_list_files(folder), key=lambda p: p.suffix == ".index")
    targets = [output.with_name(output.name + p.name.removeprefix(STEM)) for p in files]
    hidden = [t.with_name(f".{t.name}.{secrets.token_hex(6)}.tmp") for t in targets]
    try:
        # All that can fail for want of room comes before anything is replaced.
        for path, temporary in zip(files, hidden, strict=True):
            shutil.copyfile(path, temporary)
        on_landing(output, dict(zip(targets, hidden, strict=True)))
        for path in sorted(old, key=lambda p: p.suffix != ".index"):
            path.unlink()
        for temporary, target in zip(hidden, targets, strict=True):
            temporary.rename(target)
    except OSError as error:
        raise unwritable(output, error) from error
    finally:
        for temporary in hidden:
            temporary.unlink(missing_ok=True)


def _find_prefixed(output: Path) -> list[Path]:
    """Return the files of the checkpoint that stands at a prefix."""
    try:
        names = sorted(os.listdir(output.absolute().parent))
    except OSError:
        return []
    ends = (".index", ".meta")
    return [
        output.with_name(n)
        for n in names
        if n in [output.name + e for e in ends] or n.startswith(f"{output.name}.data-")
    ]


def _require_saved_model(output: Path) -> None:
    """Refuse to replace anything but a SavedModel: a mistyped path must not cost a folder of somebody's work."""
    if not (output / _MARK).is_file():
        raise CkptMetaError(
            Code.OUTPUT_EXISTS, f"{output} exists and is no SavedModel: it is never overwritten. Choose another output."
        )
    more = sorted(set(os.listdir(output)) - _SAVED_MODEL)
    if more:
        raise CkptMetaError(
            Code.OUTPUT_EXISTS,
            f"{output} holds more than a SavedModel ({', '.join(more[:3])}): it is never overwritten. Choose another "
            "output.",
        )


def _link_or_copy(path: Path, target: Path, link: bool) -> None:
    if link:
        try:
            # A hard link outlives the checkpoint's removal from its own folder.
            os.link(os.path.realpath(path), target)
            return
        except OSError:  # another file system, or one without links
            pass
    shutil.copyfile(path, target)
