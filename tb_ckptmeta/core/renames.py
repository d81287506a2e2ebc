"""Rename rules: what the checkpoint calls FROM is what the model calls TO. Runs anywhere.

Names are paths of segments between slashes: a variable's name (`net/dense/kernel`), the edges of an object graph from
the model's root (`encoder/dense/_kernel`), an array's path in a Keras file. As in
`tf.compat.v1.train.init_from_checkpoint`, the checkpoint's side comes first.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from tb_ckptmeta.core.contents import ObjectGraph
from tb_ckptmeta.core.errors import CkptMetaError, Code
from tb_ckptmeta.core.walk import Pairs

Path = tuple[str, ...]

MOST_RENAMES = 1000
"""How many rules apply at a time: nobody reviews more."""

NOTHING = "."
"""How a rule writes no segments: `.=tower` puts the whole checkpoint below `tower`, `tower=.` leaves `tower` out."""


@dataclass(frozen=True)
class Rename:
    """One rule. `source` stands for whole segments of the checkpoint's paths, wherever they are, or at their beginning
    alone (`anchored`); without segments, for the beginning itself."""

    source: Path
    target: Path
    anchored: bool = False

    def __str__(self) -> str:
        return f"{self.describe_source()}={self.describe_target()}"

    def describe_source(self) -> str:
        return self._describe(self.source)

    def describe_target(self) -> str:
        return self._describe(self.target)

    def _describe(self, path: Path) -> str:
        return "/" * self.anchored + "/".join(path) if path else NOTHING


def parse_rename(text: str) -> Rename:
    """Read a rule `FROM=TO`.

    Raises:
        CkptMetaError: BAD_REQUEST.
    """
    source, equals, target = text.partition("=")
    rename = Rename(_split(source), _split(target), source.strip().startswith("/"))
    if not equals or not source.strip("/ ") or not target.strip("/ ") or rename.source == rename.target:
        raise CkptMetaError(
            Code.BAD_REQUEST,
            f"{text!r} is no rename. Write FROM=TO, what the checkpoint says first: net=tower/model_v1; .=tower where "
            "the model has one scope more, tower=. where it has one less.",
        )
    return rename


def can_be_written(rename: Rename) -> bool:
    """Tell whether a rule reads back as what it is: a part with `=` or a slash in it, a dict's key say, does not."""
    try:
        return parse_rename(str(rename)) == rename
    except CkptMetaError:
        return False


def parse_renames(texts: Iterable[str]) -> tuple[Rename, ...]:
    """Read several rules, which apply together: none sees what another has made.

    Raises:
        CkptMetaError: BAD_REQUEST, also where two rules rename the same thing.
    """
    renames = tuple(dict.fromkeys(parse_rename(text) for text in texts))
    if len(renames) > MOST_RENAMES:
        raise CkptMetaError(
            Code.BAD_REQUEST, f"{len(renames)} renames are too many; at most {MOST_RENAMES} apply at a time."
        )
    sources = Counter((r.source, r.anchored) for r in renames)
    for rename in renames:
        if sources[rename.source, rename.anchored] > 1:
            raise CkptMetaError(
                Code.BAD_REQUEST, f"Two renames give {rename.describe_source()} another name. Say it once."
            )
    return renames


def _split(text: str) -> Path:
    return tuple(part for part in text.strip().split("/") if part not in ("", NOTHING))


def rename_path(renames: Sequence[Rename], path: Path) -> Path:
    """Return the model's name for the checkpoint's `path`; at each place, the rule for most segments applies."""
    return Renaming(renames).apply(path)[0]


class Renaming:
    """Some rules, ready to be applied to many paths."""

    def __init__(self, renames: Iterable[Rename]) -> None:
        self._begin = next((r for r in renames if not r.source), None)
        # What says most comes first.
        ordered = sorted((r for r in renames if r.source), key=lambda r: (-len(r.source), not r.anchored))
        self._by_first: dict[str, list[Rename]] = defaultdict(list)
        for rename in ordered:
            self._by_first[rename.source[0]].append(rename)

    def apply(self, path: Path) -> tuple[Path, list[Rename]]:
        """Return the model's name for a path, and the rules that made it."""
        renamed: list[str] = [] if self._begin is None else [*self._begin.target]
        used = [] if self._begin is None else [self._begin]
        at = 0
        while at < len(path):
            for rename in self._by_first.get(path[at], ()):
                if path[at : at + len(rename.source)] == rename.source and not (rename.anchored and at):
                    renamed += rename.target
                    used.append(rename)
                    at += len(rename.source)
                    break
            else:
                renamed.append(path[at])
                at += 1
        return tuple(renamed), used

    def find_root(self, model: ObjectGraph) -> int | None:
        """Return the object that the checkpoint's beginning stands for; None where the model has no such object."""
        return _follow(model, 0, () if self._begin is None else self._begin.target)

    def pair(self, model: ObjectGraph, saved: ObjectGraph, others: Pairs) -> Pairs:
        """Pair what the rules say first, wherever they apply, and then as `others` does."""
        root = self.find_root(model)

        def pairs(node: int, model_node: int) -> Iterator[tuple[int, int]]:
            ways = [r for name in saved.nodes[node].children for r in self._by_first.get(name, ())]
            for rename in sorted(ways, key=lambda r: (-len(r.source), not r.anchored)):
                if rename.anchored and model_node != root:
                    continue
                child = _follow(saved, node, rename.source)
                model_child = _follow(model, model_node, rename.target)
                if child is not None and model_child is not None:
                    yield child, model_child
            yield from others(node, model_node)

        return pairs


def _follow(graph: ObjectGraph, node: int, path: Path) -> int | None:
    for name in path:
        below = graph.nodes[node].children.get(name)
        if below is None:
            return None
        node = below
    return node
