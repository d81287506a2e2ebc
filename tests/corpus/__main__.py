"""Carry out some rows by hand: python tests/corpus PATTERN…; without one, all."""

from __future__ import annotations

import fnmatch
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(1, str(Path(__file__).parents[1]))

from carry_out import Outcome, carry_out, find_clients
from rows import ROWS
from table import describe


def tell(outcome: Outcome) -> None:
    print(describe(outcome), flush=True)
    for client, said in outcome.clients.items():
        if "error" in said:
            print(f"    {client}: {said['error']}", flush=True)
    for surprise in outcome.find_surprises() if not outcome.skipped else ():
        print("    !!", surprise.strip().replace("\n", "\n       "), flush=True)


patterns = sys.argv[1:] or ["*"]
chosen = [row for row in ROWS if any(fnmatch.fnmatch(f"{row.family}/{row.id}", p) for p in patterns)]
with tempfile.TemporaryDirectory(prefix="ckptmeta-corpus-") as folder:
    outcomes = carry_out(chosen, Path(folder), tell, find_clients())
wrong = [o for o in outcomes.values() if not o.skipped and o.find_surprises()]
print(f"{len(outcomes)} rows, {len(wrong)} not as expected")
sys.exit(bool(wrong))
