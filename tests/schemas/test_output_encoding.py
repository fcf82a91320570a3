"""Bytes of a pipe become event data without a byte lost and without a character split."""

import base64

from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from schemas.output import encode_output, whole_characters


@given(st.text(max_size=40), st.integers(min_value=0, max_value=160))
def test_text_cut_anywhere_is_cut_at_a_character(text, cut):
    """The whole part decodes, and at most three bytes are held back."""
    data = text.encode()[:cut]
    whole = whole_characters(data)
    data[:whole].decode()
    assert 0 <= len(data) - whole <= 3


@given(st.binary(max_size=64))
def test_no_byte_is_lost_in_data(data):
    """Text or base64, the bytes come back."""
    text, encoding = encode_output(data)
    back = text.encode() if encoding is UNSET else base64.b64decode(text)
    assert back == data


def test_bytes_that_never_become_a_character_are_not_held_back():
    """A lone continuation byte, or a lead byte that is followed by the wrong one, leaves at once."""
    assert whole_characters(b"abc\x80") == 4
    assert whole_characters(b"\xff") == 1
    assert whole_characters(b"\xe2\x82") == 0
    assert whole_characters("€".encode()) == 3
