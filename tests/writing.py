"""Have checkpoints written by write.py, in a training process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from reading import COMPARABLE

WRITE = Path(__file__).with_name("write.py")


def write_checkpoints(rows: Iterable[Mapping[str, Any]], builders: Iterable[str], keras: str, place: Path) -> Any:
    """Write PLACE/runs and PLACE/kept under one Keras, "3" or "legacy", and return write.py's report."""
    for name in ("runs", "kept"):
        (place / name).mkdir(parents=True)
    request = {
        "builders": list(builders),
        "runs": str(place / "runs"),
        "kept": str(place / "kept"),
        "report": str(place / "written.json"),
        "rows": list(rows),
    }
    (place / "write.json").write_text(json.dumps(request), encoding="utf-8")
    ended = subprocess.run(
        [sys.executable, str(WRITE), str(place / "write.json")],
        cwd=place,
        env={**os.environ, **COMPARABLE, "TF_USE_LEGACY_KERAS": str(int(keras == "legacy"))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-4000:]
    return json.loads((place / "written.json").read_text(encoding="utf-8"))
