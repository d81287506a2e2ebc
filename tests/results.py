"""Read what a batch has written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read_results(path: Path) -> dict[str, Any]:
    """Return the lines of results by run and name; each must be there once."""
    lines = [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]
    found = {f"{line['run']}/{line['name']}": line for line in lines}
    assert len(found) == len(lines)
    return found
