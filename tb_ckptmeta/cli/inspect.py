"""`tb-ckptmeta inspect`."""

from __future__ import annotations

import argparse

from tb_ckptmeta.cli.choose import get_bare_checkpoint
from tb_ckptmeta.cli.output import clean, describe_bytes, print_json
from tb_ckptmeta.core.tree import Tree, TreeNode, make_tree
from tb_ckptmeta.engine.inspect import Inspector
from tb_ckptmeta.engine.sources import find_sources

_MOST_ROWS = 500


def inspect_checkpoint(options: argparse.Namespace) -> int:
    """Print a checkpoint's tree and its sources; no builder is read, and nothing runs."""
    checkpoint = get_bare_checkpoint(options.prefix)
    contents = Inspector().read(checkpoint)
    tree, sources = make_tree(contents, checkpoint.name), find_sources(checkpoint)
    if options.json:
        listed = [s.as_json() for s in sources]
        print_json({"format": contents.format, **tree.as_json(), "notes": list(contents.notes), "sources": listed})
        return 0
    root = tree.root
    print(clean(f"{checkpoint.prefix}  {contents.format}  {_describe_totals(root)}"))
    _print_tree(tree, everything=options.all)
    for note in contents.notes:
        print(clean(f"note: {note}"))
    print("\nWithout a builder:")
    for source in sources:
        print(clean(f"    {source.kind:<14}{source.description}"))
    return 0


def _print_tree(tree: Tree, *, everything: bool) -> None:
    rows: list[tuple[str, str]] = []
    hidden = 0
    stack = [(child, 1) for child in reversed(tree.root.children)]
    while stack:
        node, depth = stack.pop()
        if node.bookkeeping and not everything:
            hidden += node.variables
            continue
        rows.append(("  " * depth + node.name, _describe(node)))
        stack.extend((child, depth + 1) for child in reversed(node.children))
    width = min(max((len(name) for name, _ in rows), default=0), 60)
    for name, text in rows[:_MOST_ROWS]:
        print(clean(f"{name.ljust(width)}  {text}"))
    if len(rows) > _MOST_ROWS:
        print(f"  … and {len(rows) - _MOST_ROWS} rows more (--json lists all)")
    if tree.left_out:
        print(f"  … and {tree.left_out} variables more")
    if hidden:
        print(f"  ({hidden} of the training's own: optimizer, counters; --all shows them)")


def _describe(node: TreeNode) -> str:
    if node.same_as is not None:
        return f"-> {node.same_as}"
    if node.key is not None:
        return f"{list(node.shape)} {node.dtype}  {describe_bytes(node.bytes)}"
    return _describe_totals(node)


def _describe_totals(node: TreeNode) -> str:
    variables = f"{node.variables} variable" + ("" if node.variables == 1 else "s")
    return f"({variables}, {node.parameters:,} parameters, {describe_bytes(node.bytes)})"
