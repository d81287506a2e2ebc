"""Take the verdict of a checkpoint and a rebuilt model. Runs in the caller's process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tb_ckptmeta.core.arguments import Scalar
from tb_ckptmeta.core.compare import compare
from tb_ckptmeta.core.contents import Contents
from tb_ckptmeta.core.errors import CkptMetaError
from tb_ckptmeta.core.leftovers import add_places, find_leftovers, find_places, name_closest
from tb_ckptmeta.core.propose import count_bound, propose_renames
from tb_ckptmeta.core.rebuilt import Rebuilt
from tb_ckptmeta.core.renames import Rename
from tb_ckptmeta.core.verdict import ERROR, Row, Verdict


def verify(
    checkpoint: str,
    builder: str | None,
    arguments: Mapping[str, Scalar],
    rebuilt: Rebuilt,
    contents: Contents,
    renames: Sequence[Rename] = (),
) -> Verdict:
    """Return the verdict under the rules `renames`; `checkpoint` and `builder` name the two in it."""
    found = compare(rebuilt, contents, renames)
    left = find_leftovers(rebuilt, contents, found)
    proposed = propose_renames(rebuilt, contents, found, left, renames)
    applied = [{**row, "applied": True} for row in count_bound(rebuilt, contents, found, renames)]
    under = proposed.comparison or found
    missing = mark_explained(name_closest(found.missing, left.model, left.saved), under.missing, "name")
    unexpected = mark_explained(name_closest(found.unexpected, left.saved, left.model), under.unexpected, "key")
    shapes = mark_explained(found.shape_mismatches, under.shape_mismatches, "name")
    dtypes = mark_explained(found.dtype_mismatches, under.dtype_mismatches, "name")
    places = find_places(contents, found) if missing or unexpected or shapes or dtypes else {}
    return Verdict(
        checkpoint,
        builder,
        arguments,
        found.status,
        found.variables,
        found.bound,
        add_places(missing, places),
        add_places(unexpected, places),
        add_places(shapes, places),
        add_places(dtypes, places),
        found.bookkeeping,
        [*applied, *({**row, "applied": False} for row in proposed.rows)],
        found.notes,
        ambiguous_renames=proposed.ambiguous,
        renamed_status=proposed.status,
    )


def mark_explained(rows: Sequence[Row], left: Sequence[Row], field: str) -> list[Row]:
    """Return rows with `explained`: whether the proposed renames would take them away."""
    stays = {row[field] for row in left}
    return [{**row, "explained": row[field] not in stays} for row in rows]


def make_error_verdict(
    checkpoint: str, builder: str | None, arguments: Mapping[str, Scalar], error: CkptMetaError
) -> Verdict:
    """Return the verdict that says why there is none."""
    return Verdict(checkpoint, builder, arguments, ERROR, error=error)
