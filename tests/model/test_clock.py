from __future__ import annotations

from datetime import UTC, datetime, timedelta

from nixvm_loop.model.clock import Clock, SystemClock


def test_the_system_clock() -> None:
    """The wall clock is in UTC and now; the other one never runs backwards."""
    clock: Clock = SystemClock()
    assert clock.now().utcoffset() == timedelta(0)
    assert abs(clock.now() - datetime.now(UTC)) < timedelta(seconds=5)
    assert clock.monotonic() <= clock.monotonic()
