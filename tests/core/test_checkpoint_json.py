"""Checkpoints that are written many at a time are written as one by one."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from tb_ckptmeta.core.checkpoint import UNPAIRED, Checkpoint, Pairing
from tb_ckptmeta.core.checkpoint_json import encode_checkpoints

TEXT = st.text(st.characters())  # lone surrogates too: a file's name need not be Unicode
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT
PAIRINGS = st.just(UNPAIRED) | st.builds(
    Pairing, st.none() | TEXT, st.dictionaries(TEXT, SCALARS, max_size=2), TEXT, st.tuples(TEXT) | st.just(())
)
CHECKPOINTS = st.builds(
    Checkpoint,
    id=TEXT,
    run=TEXT,
    name=TEXT,
    prefix=TEXT,
    step=st.none() | st.integers(0),
    bytes=st.integers(0),
    modified=st.floats(0.0, 1e12),
    format=st.none() | TEXT,
    state=TEXT,
    problem=TEXT,
    pattern_path=TEXT,
    root=TEXT,
    pairing=PAIRINGS,
)


@given(st.lists(CHECKPOINTS, max_size=4))
def test_checkpoints_are_encoded_as_their_own_json_says(checkpoints: list[Checkpoint]) -> None:
    twice = checkpoints + checkpoints
    assert encode_checkpoints(twice) == [json.dumps(c.as_json(), allow_nan=False) for c in twice]
