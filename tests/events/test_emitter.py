from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from nixvm_loop.events import types as ev
from nixvm_loop.events.emitter import Emitter

if TYPE_CHECKING:
    import pytest

    from nixvm_loop.events.types import Stamped

TIME = datetime(2026, 11, 23, tzinfo=UTC)
EVENT = ev.Console("x")


class Stopped:
    """A clock that stands still."""

    def now(self) -> datetime:
        return TIME

    def monotonic(self) -> float:
        return 0.0


class Recorder:
    """A sink that remembers."""

    def __init__(self) -> None:
        self.seen: list[Stamped] = []

    def handle(self, stamped: Stamped) -> None:
        self.seen.append(stamped)


class Broken:
    """A sink that fails."""

    def handle(self, stamped: Stamped) -> None:
        raise RuntimeError(f"no {stamped.seq}")


def test_events_are_stamped_in_order() -> None:
    """Each event gets the next number, the time, and the guest and cycle that the emitter speaks for."""
    recorder = Recorder()
    emit = Emitter((recorder,), Stopped())
    emit(EVENT)
    emit.bound(guest="demo")(EVENT)
    emit.bound(guest="demo").bound(cycle=3)(EVENT)
    emit(EVENT)
    assert [(one.seq, one.time, one.guest, one.cycle) for one in recorder.seen] == [
        (1, TIME, None, None),
        (2, TIME, "demo", None),
        (3, TIME, "demo", 3),
        (4, TIME, None, None),
    ]


def test_a_broken_sink_is_logged_and_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    """A presenter's fault reaches the log with its traceback, and the others still hear of the event."""
    recorder = Recorder()
    with caplog.at_level(logging.ERROR):
        Emitter((Broken(), recorder), Stopped())(EVENT)
    assert [one.event for one in recorder.seen] == [EVENT]
    assert "a sink failed on Console" in caplog.text
    assert "RuntimeError: no 1" in caplog.text


def test_one_more_listener_shares_the_numbers() -> None:
    """A listener that joins later hears the same stream, numbers going on."""
    first, second = Recorder(), Recorder()
    emit = Emitter((first,), Stopped())
    emit(EVENT)
    emit.with_sink(second)(EVENT)
    emit(EVENT)
    assert [one.seq for one in first.seen] == [1, 2, 3]
    assert [one.seq for one in second.seen] == [2]
