"""A gzip file of a beginning that was compressed before, and an end."""

from __future__ import annotations

import gzip
import zlib

from hypothesis import given
from hypothesis import strategies as st

from tb_ckptmeta.engine.gzipped import deflate, finish_gzip


@given(st.lists(st.binary(max_size=900), max_size=3), st.lists(st.binary(max_size=200), min_size=1, max_size=3))
def test_gzip_file_of_any_beginning_and_end_is_both(parts: list[bytes], ends: list[bytes]) -> None:
    deflated, beginning = deflate(parts), b"".join(parts)
    for end in ends:
        file = finish_gzip(deflated, end)
        assert gzip.decompress(file) == beginning + end
        # One member, for browsers read no other.
        reader = zlib.decompressobj(wbits=31)
        assert reader.decompress(file) == beginning + end
        assert reader.eof
        assert reader.unused_data == b""
