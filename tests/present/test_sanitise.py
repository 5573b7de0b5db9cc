from __future__ import annotations

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixvm_loop.present.sanitise import clean, clean_lines

BIDI = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
NASTY = st.text(
    alphabet=st.one_of(
        st.sampled_from("\x1b\x9b\x90\x9d\x9c\x07\\[]P^_;?0123456789mhJK \t\r\n\x00\x08\x7f\u2028\ud800" + BIDI),
        st.characters(),
    ),
    max_size=200,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain, with [bold]markup[/bold]", "plain, with [bold]markup[/bold]"),
        ("\x1b[31mred\x1b[0m \x1b[38;2;1;2;3mrgb\x1b[m", "red rgb"),
        ("\x9b31mred", "red"),
        ("\x1b]0;title\x07after", "after"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x9d0;title\x9cafter", "after"),
        ("\x1bPq#0;2;0;0;0\x1b\\after", "after"),
        ("\x1b_apc\x1b\\\x1b^pm\x1b\\\x1bXsos\x1b\\after", "after"),
        ("\x1b]0;never ended", "0;never ended"),
        ("\x1b[12;", ""),
        ("text\x1b", "text"),
        ("\x1b(B\x1b7\x1b=\x1bcafter", "after"),
        ("\x1b[6n\x1b[c\x1b[>0q\x1b]11;?\x07query", "query"),
        ("a\tb", "a       b"),
        ("two\r\nlines\r\n", "two lines"),
        ("a\x00b\x08c\x7fd\x85e", "a\ufffdb\ufffdc\ufffdd e"),
        ("user\u202etxt.exe", "user\ufffdtxt.exe"),
        ("half \ud800 a character", "half \ufffd a character"),
        ("line\u2028separator", "line separator"),
        ("zero\u200bwidth\ufeff", "zero\ufffdwidth\ufffd"),
        ("日本語 ünïcode ✓", "日本語 ünïcode ✓"),
        ("trailing   ", "trailing"),
    ],
)
def test_examples(text: str, expected: str) -> None:
    """Escape sequences go with their bodies, what cannot be shown is replaced, and all other text stays."""
    assert clean(text, 100) == expected


def test_limit_is_marked() -> None:
    """A line that is cut ends with an ellipsis; one that fits exactly does not."""
    assert clean("abcdef", 6) == "abcdef"
    assert clean("abcdefg", 6) == "abcde…"
    assert clean("\x1b[1mabcdef\x1b[0m", 6) == "abcdef"


@given(text=NASTY, limit=st.integers(min_value=1, max_value=250))
def test_nothing_harmful_comes_out(text: str, limit: int) -> None:
    """Whatever goes in: no control character, line break, surrogate or change of direction comes out."""
    result = clean(text, limit)
    assert len(result) <= limit
    assert not any(unicodedata.category(char) in {"Cc", "Cs", "Zl", "Zp"} or char in BIDI for char in result)
    result.encode()


@given(text=NASTY)
def test_cleaning_twice_changes_nothing(text: str) -> None:
    """What is clean stays as it is, so that it does not matter where it was cleaned."""
    once = clean(text, 100)
    assert clean(once, 100) == once


@pytest.mark.parametrize("unit", ["x", "\x1b", "\x1b[", "\x9d", "\x1b]0;", "\x1b]0;\x07", "\t", "\u202e", "\x1b[1m"])
def test_a_huge_line_costs_little(unit: str) -> None:
    """Lines of ten megabytes are cut before anything looks at them, whatever they are made of."""
    text = unit * (10_000_000 // len(unit))
    start = time.process_time()
    assert len(clean(text, 200)) <= 200
    assert time.process_time() - start < 0.1


def test_lines() -> None:
    """A text is split before it is cleaned, and its empty lines are left out."""
    assert clean_lines("one\n\n\x1b[1mtwo\x1b[0m\r\n  three\nfour", 50, 3) == ("one", "two", "  three")
