"""A ratchet: long functions and files may get shorter, never longer, and no new ones come.

What is too long today stands in lengths.json with its length. `python -m tests.house.lengths` writes it
anew; do so only after making something shorter.
"""

import statistics

from tests.house.lengths import FILE_LINES_MAX, FUNCTION_LINES_MAX, all_function_lengths, allowed, measured


def test_nothing_is_longer_than_it_was() -> None:
    """Split it, or take something out."""
    old, new = allowed(), measured()
    grown = {name: lines for name, lines in new.items() if lines > old.get(name, 0)}
    assert grown == {}, f"longer than {FUNCTION_LINES_MAX} (functions) or {FILE_LINES_MAX} (files) lines"


def test_what_got_shorter_stays_shorter() -> None:
    """Write lengths.json anew: python -m tests.house.lengths."""
    old, new = allowed(), measured()
    assert {name: lines for name, lines in old.items() if new.get(name, 0) < lines} == {}


def test_half_of_all_functions_fit_in_fifteen_lines() -> None:
    """Most of the code can be read a function at a glance."""
    assert statistics.median(all_function_lengths()) <= 15
