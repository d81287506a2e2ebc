"""A run's own folder is given as the logdir: what pattern was meant, and from where it would match."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

BUILDERS = ("--builders", Path(__file__).with_name("blocks.py"))

Cli = Callable[..., Any]


def test_scan_and_verify_of_a_runs_own_folder_name_the_folder_above(cli: Cli, blocks: Path) -> None:
    told = (
        f"no builder's pattern matches the path below the logdir, ckpt-1; below {blocks} it is clf/ckpt-1, "
        "as in clf/* (clf): make that folder the logdir"
    )
    scanned = cli("scan", ".", *BUILDERS, "--json", cwd=blocks / "clf")
    verified = cli("verify", ".", *BUILDERS, "--json", cwd=blocks / "clf")
    assert [c["pairing"]["reason"] for c in scanned.document["checkpoints"]] == [told]
    (verdict,) = verified.document["verdicts"]
    assert (verified.status, verdict["error"]["code"]) == (1, "no_builder")
    assert verdict["error"]["message"].startswith(f"Checkpoint ckpt-1 has no builder: {told}. Or say which one")
