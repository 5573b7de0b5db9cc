"""Durations, sizes and shares as people write them, and back."""

from __future__ import annotations

import re

_DURATION_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_SIZE_UNITS_BYTES = {
    "B": 1,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
}
_NUMBER_AND_UNIT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+)\s*")
_PERCENT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*%\s*")
_MINUTE_S = 60.0
_FULL_PERCENT = 100.0
_KIB = 1024.0


def parse_duration(text: str) -> float:
    """Seconds of a duration such as `40ms`, `2s` or `1.5m`; raises ValueError with a sentence for the user."""
    return _parse(text, _DURATION_UNITS_S, 'a duration with its unit, such as "40ms", "2s" or "5m"')


def parse_size(text: str) -> int:
    """Bytes of a size such as `512MiB` or `2GiB`; raises ValueError with a sentence for the user."""
    expected = 'a size with its unit, such as "512MiB" or "2GiB"'
    try:
        return int(_parse(text, _SIZE_UNITS_BYTES, expected))
    except OverflowError as error:  # hundreds of digits are infinity
        raise ValueError(f"expected {expected}") from error


def parse_share(text: str) -> float:
    """The part of one that a percentage such as `80%` says; raises ValueError with a sentence for the user."""
    match = _PERCENT.fullmatch(text)
    if match is None or float(match[1]) > _FULL_PERCENT:
        raise ValueError('expected a percentage up to 100, such as "80%"')
    return float(match[1]) / _FULL_PERCENT


def format_seconds(seconds: float) -> str:
    """A duration in one reading: `0.4s`, `12.3s`, `2m 05s`."""
    if round(seconds, 1) < _MINUTE_S:
        return f"{seconds:.1f}s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m {rest:02d}s"


def format_bytes(size_bytes: float) -> str:
    """A size in the largest binary unit that keeps it above one: `3.2 MiB`."""
    value = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < _KIB:
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= _KIB
    return f"{value:.1f} TiB"


def _parse(text: str, units: dict[str, float] | dict[str, int], expected: str) -> float:
    match = _NUMBER_AND_UNIT.fullmatch(text)
    if match is None or match[2] not in units:
        raise ValueError(f"expected {expected}")
    return float(match[1]) * units[match[2]]
