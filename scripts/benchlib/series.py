"""Samples and what they come to: pure."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_PERCENT = 100


class Statistic(Enum):
    """Which number stands for a series."""

    MEDIAN = "median"
    P95 = "95th percentile"
    MAX = "max"


class Unit(Enum):
    """What a series counts; the value is the name, after its factor."""

    SECONDS = (1, "s", 2)
    MILLISECONDS = (1000, "ms", 0)
    PERCENT = (_PERCENT, "%", 2)
    MEBIBYTES = (1 / 2**20, "MiB", 1)
    COUNT = (1, "", 0)

    def text(self, value: float) -> str:
        """The value as people read it."""
        factor, name, digits = self.value
        return f"{value * factor:.{digits}f} {name}".rstrip()


@dataclass
class Series:
    """Named lists of samples, in seconds, bytes, shares or counts."""

    samples: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def add(self, name: str, value: float) -> None:
        """Add a sample."""
        self.samples[name].append(value)

    def add_all(self, prefix: str, values: Mapping[str, float]) -> None:
        """Add a sample to each of several series, `PREFIX: NAME`."""
        for name, value in values.items():
            self.add(f"{prefix}: {name}", value)


def quantile(samples: Sequence[float], share: float) -> float:
    """The smallest sample that `share` of them do not exceed. Raises ValueError when there is none."""
    if not samples:
        raise ValueError("no samples")
    return sorted(samples)[max(math.ceil(share * len(samples)), 1) - 1]


def stands_for(samples: Sequence[float], statistic: Statistic) -> float:
    """The number that stands for the samples. Raises ValueError when there is none."""
    match statistic:
        case Statistic.MEDIAN:
            return statistics.median(samples)
        case Statistic.P95:
            return quantile(samples, 0.95)
        case Statistic.MAX:
            return max(samples)


@dataclass(frozen=True, slots=True)
class Interval:
    """From one moment to a later one, in seconds of one clock."""

    start_s: float
    end_s: float

    @property
    def seconds(self) -> float:
        """Its length, none if it is reversed."""
        return max(self.end_s - self.start_s, 0.0)

    def within(self, other: Interval) -> Interval:
        """The part that lies in `other`."""
        return Interval(max(self.start_s, other.start_s), min(self.end_s, other.end_s))


def covered_s(whole: Interval, parts: Iterable[Interval]) -> float:
    """How much of `whole` at least one of the parts covers."""
    covered, reached_s = 0.0, whole.start_s
    for part in sorted((part.within(whole) for part in parts), key=lambda part: part.start_s):
        rest = Interval(max(part.start_s, reached_s), part.end_s)
        covered += rest.seconds
        reached_s = max(reached_s, rest.end_s)
    return covered
