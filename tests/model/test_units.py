from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nixvm_loop.model.units import format_bytes, format_seconds, parse_duration, parse_share, parse_size

if TYPE_CHECKING:
    from collections.abc import Callable

BINARY = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
DECIMAL = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


@given(number=st.integers(0, 10**6), unit=st.sampled_from(sorted(SECONDS)), blank=st.sampled_from(["", " "]))
def test_durations_are_read(number: int, unit: str, blank: str) -> None:
    """A whole number with any unit is that many of it, in seconds."""
    assert parse_duration(f"{number}{blank}{unit}") == pytest.approx(number * SECONDS[unit])


@given(number=st.integers(0, 2**20), unit=st.sampled_from(sorted(BINARY | DECIMAL)))
def test_sizes_are_read(number: int, unit: str) -> None:
    """A whole number with any unit is exactly that many bytes."""
    assert parse_size(f"{number}{unit}") == number * (BINARY | DECIMAL)[unit]


@given(percent=st.integers(0, 100))
def test_shares_are_read(percent: int) -> None:
    """A percentage is its part of one."""
    assert parse_share(f"{percent}%") == percent / 100


@pytest.mark.parametrize("text", ["", "10", "ms", "-1s", "1 day", "1,5s", "s1", "1s2", "1e3s", "nan s", ".5s"])
def test_what_is_no_duration(text: str) -> None:
    """A duration without its unit, or with one that is not known, is refused with a sentence."""
    with pytest.raises(ValueError, match=r"^expected a duration with its unit"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["", "10", "GiB", "-1GiB", "1gib", "1 G", "0x10B", "1GiB1"])
def test_what_is_no_size(text: str) -> None:
    """A size without its unit, or with one that is not known, is refused with a sentence."""
    with pytest.raises(ValueError, match=r"^expected a size with its unit"):
        parse_size(text)


@pytest.mark.parametrize("text", ["", "80", "0.8", "100.1%", "-1%", "80%%", "%"])
def test_what_is_no_share(text: str) -> None:
    """Only a percentage up to 100 is a share."""
    with pytest.raises(ValueError, match=r"^expected a percentage"):
        parse_share(text)


@given(seconds=st.floats(0, 10**6))
def test_seconds_come_back(seconds: float) -> None:
    """A formatted duration, read again, differs by no more than its rounding."""
    text = format_seconds(seconds)
    if minutes := re.fullmatch(r"(\d+)m (\d\d)s", text):
        assert int(minutes[2]) < 60
        assert int(minutes[1]) * 60 + int(minutes[2]) == pytest.approx(seconds, abs=0.5)
    else:
        assert parse_duration(text) < 60
        assert parse_duration(text) == pytest.approx(seconds, abs=0.0501)


@given(size_bytes=st.integers(0, 2**50))
def test_bytes_come_back(size_bytes: int) -> None:
    """A formatted size, read again, differs by no more than its rounding, and its number is a short one."""
    text = format_bytes(size_bytes)
    number, unit = text.split()
    assert parse_size(text) == pytest.approx(size_bytes, abs=0.0501 * BINARY[unit])
    assert unit == "TiB" or float(number) <= 1024


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0s"), (0.44, "0.4s"), (12.34, "12.3s"), (59.94, "59.9s"), (59.96, "1m 00s"), (125, "2m 05s")],
)
def test_seconds_are_formatted(seconds: float, text: str) -> None:
    """Tenths below a minute, minutes and seconds above."""
    assert format_seconds(seconds) == text


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (3.2 * 2**20, "3.2 MiB"), (2**41, "2.0 TiB")],
)
def test_bytes_are_formatted(size_bytes: float, text: str) -> None:
    """The largest unit that keeps the number above one."""
    assert format_bytes(size_bytes) == text


@pytest.mark.parametrize(("parse", "text"), [(parse_duration, "9" * 400 + "h"), (parse_duration, "9" * 400 + "ms")])
def test_a_number_beyond_measure(parse: Callable[[str], float], text: str) -> None:
    """Hundreds of digits are a very large number, which the reader's range then refuses."""
    assert parse(text) > 10**300
