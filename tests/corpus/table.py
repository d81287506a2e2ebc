"""The corpus as tables: a line for a terminal, and docs/models.md."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Iterable

from carry_out import Outcome

FAMILIES = {
    "applications": "Architectures of keras.applications",
    "hub": "Families of keras-hub",
    "layers": "Layers of Keras",
    "traps": "What restores silently to something else",
    "modules": "`tf.Module`, trackables, functions, tables",
    "tf1": "Graphs of TensorFlow 1",
}


def describe(outcome: Outcome) -> str:
    """Return an outcome as one line for a terminal."""
    row = outcome.row
    head = f"{row.family + '/' + row.id:42}"
    if outcome.skipped:
        return f"{head} skipped: {outcome.skipped}"
    if outcome.broken:
        return f"{head} broken"
    if outcome.error is not None:
        return f"{head} refused: {outcome.error.code.value}: {outcome.error.message}"
    clients = " ".join(c if "error" not in o and o["within"] else f"NOT {c}" for c, o in outcome.clients.items())
    return (
        f"{head} {outcome.status} {outcome.bound}/{outcome.variables} of {outcome.weights} "
        f"{outcome.nodes} nodes, {_number(outcome.difference)}, {clients}, {outcome.seconds:.0f} s"
        + "".join(f"\n    . {note}" for note in (*outcome.notes, outcome.check_note) if note)
    )


BEGIN, END = "<!-- made by `make corpus` -->\n", "<!-- to here -->\n"


def put_into_page(page: str, outcomes: Iterable[Outcome]) -> str:
    """Return docs/models.md with these outcomes in its tables' place."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return "".join([before, BEGIN, *_make_tables([o for o in outcomes if not o.skipped]), END, after])


def _make_tables(outcomes: list[Outcome]) -> Iterable[str]:
    exported = [o for o in outcomes if o.error is None]
    largest = max((o.difference for o in exported if o.difference is not None), default=0.0)
    yield f"\n{len(outcomes)} models: {len(exported)} exported, the largest difference {_number(largest)}; "
    yield f"{len(outcomes) - len(exported)} refused.\n\nMade with {_versions()}.\n"
    for family, title in FAMILIES.items():
        yield f"\n## {title}\n\n"
        yield "| model | Keras | saved | weights | bound | nodes | verdict | difference | read by |\n"
        yield "|---|---|---|---|---|---|---|---|---|\n"
        yield from (_line(outcome) for outcome in outcomes if outcome.row.family == family)


def _line(outcome: Outcome) -> str:
    row = outcome.row
    keras = "none" if row.family in ("modules", "tf1") and row.keras == "3" else "3" if row.keras == "3" else "tf_keras"
    head = f"| {row.name} | {keras} | {row.how} | {outcome.weights} |"
    if outcome.error is not None:
        message = outcome.error.message.replace("|", "\\|").replace("\n", " ")
        hint = f"; {row.remark}" if row.remark else ""
        return f"{head} | | `{outcome.error.code.value}` | | {message}{hint} |\n"
    unread = [f"not {c}: {o['error']}" for c, o in outcome.clients.items() if "error" in o]
    read = "" if not unread else "; ".join(unread)
    return (
        f"{head} {outcome.bound} of {outcome.variables} | {outcome.nodes:,} | {outcome.status} | "
        f"{_number(outcome.difference)} | {read or 'all'}{_random(row.random)} |\n"
    )


def _random(outputs: tuple[str, ...]) -> str:
    return f" ({', '.join(outputs)} random: not compared)" if outputs else ""


def _number(value: float | None) -> str:
    return "" if value is None else "0" if value == 0 else f"{value:.1e}"


def _versions() -> str:
    found = [f"Python {platform.python_version()}"]
    for package in ("tensorflow", "keras", "tf_keras", "keras-hub"):
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return ", ".join(found)
