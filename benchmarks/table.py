"""Measurements as rows of a table in Markdown, and the units that they are told in."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence


def print_table(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table under its title."""
    print(f"\n{title}\n")
    for cells in (head, ["---"] * len(head), *rows):
        print(f"| {' | '.join(cells)} |", flush=True)


def take_turns(subjects: Mapping[str, Callable[[], float]], times: int) -> dict[str, float]:
    """Return subject -> the median of what it says, each asked so many times, in turn: A B A B …

    What else the machine does meanwhile then falls on all alike.
    """
    return {name: statistics.median(values) for name, values in ask_in_turn(subjects, times).items()}


def ask_in_turn(subjects: Mapping[str, Callable[[], float]], times: int) -> dict[str, list[float]]:
    """Return subject -> all that it says, as `take_turns` asks."""
    said: dict[str, list[float]] = {name: [] for name in subjects}
    for _ in range(times):
        for name, measure in subjects.items():
            said[name].append(measure())
    return said


def as_milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:,.1f} ms" if seconds < 0.1 else f"{seconds * 1000:,.0f} ms"


def as_megabytes(size: float) -> str:
    return f"{size / 1e6:,.0f} MB"


def as_kilobytes(size: float) -> str:
    return f"{size / 1e3:,.1f} kB"


def as_ratio(number: float) -> str:
    return f"{number:.2f}"
