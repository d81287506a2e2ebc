"""Find the lines of a batch's results that are of no checkpoint of it. Runs in the caller's process.

They stay, and so do their exports: a logdir that could not be listed in full must not cost any, and an export may be
all that is to be kept of a checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tb_ckptmeta.core.checkpoint import Checkpoint
from tb_ckptmeta.engine.batch import stands
from tb_ckptmeta.engine.batch_plan import Item, Task
from tb_ckptmeta.engine.batch_results import Outcome


@dataclass(frozen=True)
class Others:
    """Lines of checkpoints that are `gone` from the logdirs, and of those that were not asked for (`unasked`).

    `standing`: where their exports stand still, relative to the folder. `dropped`: the lines went, as the batch began
    anew.
    """

    gone: Sequence[Outcome] = ()
    unasked: Sequence[Outcome] = ()
    standing: frozenset[str] = field(default_factory=frozenset)
    dropped: bool = False


def find_others(
    outcomes: Mapping[str, Outcome],
    items: Iterable[Item],
    checkpoints: Iterable[Checkpoint],
    logdirs: Sequence[str],
    task: Task,
    *,
    dropped: bool = False,
) -> Others:
    """Find what outcomes, by prefix, are of none of the items.

    Args:
        checkpoints: all that the logdirs hold, asked for or not.
    """
    asked, there = {item.checkpoint.prefix for item in items}, {checkpoint.prefix for checkpoint in checkpoints}
    above = tuple(logdir.rstrip("/") + "/" for logdir in logdirs)
    others = [outcome for outcome in outcomes.values() if outcome.prefix not in asked]
    gone = [o for o in others if o.prefix.startswith(above) and o.prefix not in there]
    unasked = [o for o in others if not o.prefix.startswith(above) or o.prefix in there]
    outputs = {o.output for o in others if o.output is not None}
    standing = frozenset(o for o in outputs if task.folder is not None and stands(task.folder, o))
    return Others(gone, unasked, standing, dropped)
