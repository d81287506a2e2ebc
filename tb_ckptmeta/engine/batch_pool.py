"""Carry out a batch on this machine: threads that wait, worker processes that work. Runs in the caller's process."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from tb_ckptmeta.core.errors import CkptMetaError
from tb_ckptmeta.engine.batch_plan import Item
from tb_ckptmeta.engine.batch_work import Line
from tb_ckptmeta.engine.machine import count_cores, find_memory
from tb_ckptmeta.engine.process import GRACE_SECONDS, OnSteps, Step

Work = Callable[[Item, OnSteps, threading.Event], Line]

_WORKER = 1 << 30
"""What a worker is reckoned to take: TensorFlow's import, a graph, and some user code."""
_COPIES = 3
"""How often the weights are in memory while an export is checked: read, restored, and in the other worker."""


def choose_workers(largest: int = 0, *, root: Path = Path("/")) -> int:
    """Return how many workers this machine bears: one a core, and no more than have memory.

    Args:
        largest: of the checkpoints whose weights are read, the largest one's bytes.
        root: as for `find_memory`.
    """
    return max(1, min(count_cores(root), find_memory(root) // (_WORKER + _COPIES * largest)))


def run_pool(
    items: Sequence[Item],
    work: Work,
    workers: int,
    on_line: Callable[[Line], None],
    on_steps: Callable[[Item, list[Step]], None],
) -> None:
    """Carry out every item, `workers` at a time; `on_line` gets each line as it comes, in the worker's thread.

    When this is interrupted, what runs is ended, and what is done already has its line.

    Raises:
        CkptMetaError: as `on_line`, which ends all.
    """
    queue, cancelled = _Queue(items), threading.Event()
    errors: list[BaseException] = []

    def labour(ended: threading.Event) -> None:
        call: str | None = None
        try:
            while not cancelled.is_set() and (item := queue.take(call)) is not None:
                call = item.call
                on_line(work(item, lambda steps, item=item: on_steps(item, steps), cancelled))  # type: ignore[misc]
        except CkptMetaError as error:
            if not cancelled.is_set():
                errors.append(error)
            cancelled.set()
        except BaseException as error:
            errors.append(error)
            cancelled.set()
        finally:
            ended.set()

    # A thread that is waited for (`join`) counts as ended when an interrupt comes meanwhile.
    ends = [threading.Event() for _ in range(workers)]
    for i, ended in enumerate(ends):
        threading.Thread(target=labour, args=(ended,), name=f"ckptmeta-batch-{i}", daemon=True).start()
    try:
        for ended in ends:
            ended.wait()
    except BaseException:
        cancelled.set()
        for ended in ends:
            ended.wait(GRACE_SECONDS)
        raise
    if errors:
        raise errors[0]


class _Queue:
    """The items by builder call. A worker stays with its call, takes the next that nobody has, then helps others.

    Two workers at the first checkpoint of one call would wait for the same rebuild.
    """

    def __init__(self, items: Sequence[Item]) -> None:
        self._waiting: dict[str, deque[Item]] = {}
        self._begun: dict[str, deque[Item]] = {}
        self._lock = threading.Lock()
        for item in items:
            self._waiting.setdefault(item.call, deque()).append(item)

    def take(self, call: str | None) -> Item | None:
        with self._lock:
            group = self._begun.get(call or "")
            if not group and self._waiting:
                call = next(iter(self._waiting))
                group = self._begun[call] = self._waiting.pop(call)
            if not group:
                group = max(self._begun.values(), key=len, default=None)
            return group.popleft() if group else None
