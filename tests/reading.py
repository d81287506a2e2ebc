"""Have exports read by clients.py, in processes that cannot reach the models' source."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

CLIENTS = Path(__file__).with_name("clients.py")
COMPARABLE = {
    "CUDA_VISIBLE_DEVICES": "-1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "KERAS_BACKEND": "tensorflow",
    # Where the processor has them, oneDNN's kernels add up a frozen graph's constants in another order than variables.
    "TF_ENABLE_ONEDNN_OPTS": "0",
}
"""The environment of processes whose numbers are compared to the last bits."""

# A client that ends its process, or changes TensorFlow's state, is no other one's matter.
ALONE = ("tf2onnx --checkpoint", "OpenVINO")

Outcomes = dict[str, dict[str, dict[str, Any]]]


def read_exports(rows: Sequence[Mapping[str, Any]], folder: Path, hidden: Sequence[str]) -> Outcomes:
    """Return row -> client -> outcome, for rows as clients.py takes them."""
    outcomes: Outcomes = defaultdict(dict)
    groups = [
        [c for c in dict.fromkeys(c for r in rows for c in r["clients"]) if c not in ALONE],
        *([c] for c in ALONE),
    ]
    for index, group in enumerate(groups):
        todo = [{**r, "clients": [c for c in r["clients"] if c in group]} for r in rows]
        todo = [r for r in todo if r["clients"]]
        while todo:
            lost = _run(todo, folder / f"read-{index}-{len(todo)}", hidden, outcomes)
            if lost is None:
                break
            # What ended the process is said of its row; the others go on in another one.
            row, client, reason = lost
            outcomes[row][client] = {"error": reason}
            todo = [{**r, "clients": [c for c in r["clients"] if c not in outcomes[r["id"]]]} for r in todo]
            todo = [r for r in todo if r["clients"]]
    return dict(outcomes)


def _run(
    rows: list[dict[str, Any]], folder: Path, hidden: Sequence[str], outcomes: Outcomes
) -> tuple[str, str, str] | None:
    """Run one process; return the row and client that it was lost at, and how, or None."""
    scratch = folder / "scratch"
    scratch.mkdir(parents=True)
    report = folder / "report.jsonl"
    report.touch()
    request = {"rows": rows, "scratch": str(scratch), "report": str(report), "hidden": list(hidden)}
    (folder / "request.json").write_text(json.dumps(request), encoding="utf-8")
    ended = subprocess.run(
        [sys.executable, "-I", str(CLIENTS), str(folder / "request.json")],
        cwd=folder,
        env={**os.environ, **COMPARABLE},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [json.loads(line) for line in report.read_text(encoding="utf-8").splitlines()]
    for line in lines:
        if "outcome" in line:
            outcomes[line["row"]][line["client"]] = line["outcome"]
    if ended.returncode == 0:
        assert lines[-1] == {"foreign": []}, lines[-1]
        return None
    assert lines, ended.stderr
    assert "outcome" not in lines[-1], ended.stderr
    return lines[-1]["row"], lines[-1]["client"], f"ended its process with {ended.returncode}"
