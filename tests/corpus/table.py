"""The corpus as tables: a line for a terminal, and docs/models.md."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Iterable, Mapping

from carry_out import Outcome, describe_reading
from rows.row import Row

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
    clients = ", ".join(c if "error" not in o and o["within"] else f"NOT {c}" for c, o in outcome.clients.items())
    return (
        f"{head} {outcome.status} {outcome.bound}/{outcome.variables} of {outcome.weights} "
        f"{outcome.nodes} nodes, {_number(outcome.difference)}, {clients}, {outcome.seconds:.0f} s"
        + "".join(f"\n    . {note}" for note in (*outcome.notes, outcome.check_note) if note)
    )


BEGIN, END = "<!-- made by `make corpus` -->\n", "<!-- to here -->\n"


def put_into_page(page: str, rows: Iterable[Row], outcomes: Mapping[str, Outcome]) -> str:
    """Return docs/models.md with these outcomes in its tables; a row that was not carried out stays as it was."""
    before, _, rest = page.partition(BEGIN)
    tables, _, after = rest.partition(END)
    lines = {}
    family = ""
    for line in tables.splitlines():
        titles = [f for f, title in FAMILIES.items() if line == f"## {title}"]
        family = titles[0] if titles else family
        if line.startswith("| "):
            cells = line.split(" | ")
            lines[family, cells[0].removeprefix("| "), cells[1]] = line
    kept = []
    for row in rows:
        outcome = outcomes.get(row.id)
        line = _line(outcome) if outcome and not outcome.skipped else lines.get((row.family, row.name, _keras(row)))
        if line is not None:
            kept.append((row.family, line))
    return "".join([before, BEGIN, *_make_tables(kept), END, after])


def _make_tables(lines: list[tuple[str, str]]) -> Iterable[str]:
    cells = [line.split(" | ") for _, line in lines]
    refused = sum(c[6].startswith("`") for c in cells)
    largest = max((float(c[7]) for c in cells if not c[6].startswith("`") and c[7]), default=0.0)
    yield f"\n{len(lines)} models: {len(lines) - refused} exported, the largest difference {_number(largest)}; "
    yield f"{refused} refused.\n\nMade with {_versions()}.\n"
    for family, title in FAMILIES.items():
        yield f"\n## {title}\n\n"
        yield "| model | Keras | saved | weights | bound | nodes | verdict | difference | read by |\n"
        yield "|---|---|---|---|---|---|---|---|---|\n"
        yield from (f"{line}\n" for f, line in lines if f == family)


def _keras(row: Row) -> str:
    without = row.family in ("modules", "tf1") and row.keras == "3"
    return "none" if without else "3" if row.keras == "3" else "tf_keras"


def _line(outcome: Outcome) -> str:
    row = outcome.row
    cells = [row.name, _keras(row), row.how, str(outcome.weights)]
    if outcome.broken:
        cells += ["", "", "`broken`", "", outcome.broken]
    elif outcome.error is not None:
        hint = f"; {row.remark}" if row.remark else ""
        cells += ["", "", f"`{outcome.error.code.value}`", "", outcome.error.message + hint]
    else:
        unread = [f"not {c}: `{said}`" for c, o in outcome.clients.items() if (said := describe_reading(o))]
        cells += [f"{outcome.bound} of {outcome.variables}", f"{outcome.nodes:,}", outcome.status]
        cells += [_number(outcome.difference), ("; ".join(unread) or "all") + _random(row.random)]
    return "| " + " | ".join(c.replace("|", "\\|").replace("\n", " ") for c in cells) + " |"


def _random(outputs: tuple[str, ...]) -> str:
    return f" ({', '.join(outputs)} random: not compared)" if outputs else ""


def _number(value: float | None) -> str:
    return "" if value is None else "0" if value == 0 else f"{value:.1e}"


def _versions() -> str:
    found = [f"Python {platform.python_version()}"]
    for package in ("tensorflow", "keras", "tf_keras", "keras-hub", "tf2onnx", "onnxruntime", "openvino"):
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return ", ".join(found)
