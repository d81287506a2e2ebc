"""Tell what the operating system has refused, and what to do about it. Runs anywhere."""

from __future__ import annotations

import errno
import os
import tempfile

from tb_ckptmeta.core.errors import CkptMetaError, Code

_REMEDIES = {
    errno.ENOSPC: "Temporary files lie in {temporary}: make room there, or name another folder (TMPDIR).",
    errno.EDQUOT: "Temporary files lie in {temporary}: make room there, or name another folder (TMPDIR).",
    errno.EFBIG: "This user may write no file of that size: raise the limit (ulimit -f).",
    errno.EAGAIN: "This user may run no more processes: end some, or raise the limit (ulimit -u).",
    errno.ENOMEM: "The machine has no memory for another process: end something, or use fewer workers.",
    errno.EMFILE: "This process may open no more files: raise the limit (ulimit -n).",
    errno.ENFILE: "The machine may open no more files: end something.",
}


def is_out_of_room(error: OSError) -> bool:
    """Tell whether it is the machine that had no room, rather than a file that is missing or closed to us."""
    return error.errno in _REMEDIES


def refused_by_system(error: OSError) -> CkptMetaError:
    """Return what the operating system has refused, as an error of ours."""
    reason = error.strerror or str(error) or type(error).__name__
    place = f" ({os.fsdecode(error.filename)})" if isinstance(error.filename, (str, bytes)) else ""
    temporary = tempfile.tempdir or os.environ.get("TMPDIR") or "/tmp"  # its function would look for one that has room
    remedy = _REMEDIES.get(error.errno or 0, "").format(temporary=temporary)
    return CkptMetaError(Code.WORKER_FAILED, f"The system refused: {reason}{place}. {remedy}".rstrip())
