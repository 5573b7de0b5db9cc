from __future__ import annotations

import pytest
from benchlib.series import Interval, Series, Statistic, Unit, covered_s, quantile, stands_for
from hypothesis import given
from hypothesis import strategies as st


def test_the_95th_percentile_is_a_sample_that_few_exceed() -> None:
    """Of 40 samples two may be slower than the 95th percentile, and of 20 one."""
    assert quantile([float(number) for number in range(1, 41)], 0.95) == 38
    assert quantile([float(number) for number in range(1, 21)], 0.95) == 19
    assert quantile([3.0], 0.95) == 3.0


def test_no_samples_have_no_figure() -> None:
    """A measurement that gave nothing is an error, not a zero."""
    with pytest.raises(ValueError, match="no samples"):
        quantile([], 0.95)


@pytest.mark.parametrize(
    ("statistic", "expected"), [(Statistic.MEDIAN, 2.5), (Statistic.P95, 9.0), (Statistic.MAX, 9.0)]
)
def test_each_statistic_is_what_its_name_says(statistic: Statistic, expected: float) -> None:
    """The order of the samples does not matter."""
    assert stands_for([9.0, 1.0, 3.0, 2.0], statistic) == expected


@pytest.mark.parametrize(
    ("unit", "value", "text"),
    [
        (Unit.SECONDS, 4.256, "4.26 s"),
        (Unit.MILLISECONDS, 0.0551, "55 ms"),
        (Unit.PERCENT, 0.0021, "0.21 %"),
        (Unit.MEBIBYTES, 69 * 2**20, "69.0 MiB"),
        (Unit.COUNT, 10_000.0, "10000"),
    ],
)
def test_units_are_scaled_and_named(unit: Unit, value: float, text: str) -> None:
    """Samples are kept in seconds, bytes and shares; people read other units."""
    assert unit.text(value) == text


def test_stages_are_series_of_their_arm() -> None:
    """Two rounds give two samples of each stage."""
    series = Series()
    series.add_all("watch", {"build": 1.0, "boot": 2.0})
    series.add_all("watch", {"build": 1.5, "boot": 2.5})
    assert dict(series.samples) == {"watch: build": [1.0, 1.5], "watch: boot": [2.0, 2.5]}


def test_overlapping_waits_count_once() -> None:
    """What happens while something else is waited for is nobody's own time, and nothing outside the whole counts."""
    whole = Interval(10.0, 20.0)
    waits = [
        Interval(13.0, 15.0),
        Interval(8.0, 11.0),
        Interval(14.0, 16.0),
        Interval(13.5, 14.5),
        Interval(19.0, 30.0),
    ]
    assert covered_s(whole, waits) == pytest.approx(1.0 + 3.0 + 1.0)


def test_waits_elsewhere_cover_nothing() -> None:
    """Spans of other cycles in the same log do not count for this one."""
    assert covered_s(Interval(10.0, 20.0), [Interval(1.0, 2.0), Interval(20.0, 21.0), Interval(30.0, 40.0)]) == 0.0


_MOMENTS = st.integers(min_value=0, max_value=40)


@given(st.lists(st.tuples(_MOMENTS, _MOMENTS)))
def test_what_is_covered_is_what_counting_seconds_gives(pairs: list[tuple[int, int]]) -> None:
    """For any waits the union is that of the single seconds they hold."""
    seconds = {second for start, end in pairs for second in range(max(start, 10), min(end, 30))}
    waits = [Interval(float(start), float(end)) for start, end in pairs]
    assert covered_s(Interval(10.0, 30.0), waits) == pytest.approx(len(seconds))
