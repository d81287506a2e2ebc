"""What the command line and TensorBoard share speaks to people of both: a flag is said to be whose it is."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "tb_ckptmeta"

# What only the command line comes to: batches, and where an export is written to.
OF_THE_COMMAND_LINE = re.compile(r"engine/batch\w*|engine/line_file|engine/deliver|core/landing")
FLAG = re.compile(r"(?:^|[ (])--[a-z]")
SAID = re.compile(r"command line|TensorBoard|HTTP")


def list_shared() -> list[str]:
    names = [p.relative_to(PACKAGE).with_suffix("").as_posix() for p in PACKAGE.glob("*/*.py")]
    shared = [n for n in names if n.startswith(("core/", "engine/", "worker/"))]
    return sorted(n for n in shared if not OF_THE_COMMAND_LINE.fullmatch(n))


def find_texts(tree: ast.AST) -> Iterator[str]:
    """Yield the texts of a module with more than one word, its docstrings apart."""
    inner = {id(v) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for v in node.values}
    alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(v.value) if isinstance(v, ast.Constant) else "{}" for v in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner | alone:
            yield node.value


@pytest.mark.parametrize("name", list_shared())
def test_message_of_a_shared_layer_says_whose_a_flag_is(name: str) -> None:
    tree = ast.parse((PACKAGE / f"{name}.py").read_text(encoding="utf-8"))
    assert [t for t in find_texts(tree) if " " in t.strip() and FLAG.search(t) and not SAID.search(t)] == []
