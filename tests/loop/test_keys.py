from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from nixvm_loop import config
from nixvm_loop.cycle.context import Context, Link
from nixvm_loop.decide import Wish
from nixvm_loop.events import types as ev
from nixvm_loop.events.emitter import Emitter
from nixvm_loop.generation.store import Generations
from nixvm_loop.journal import Journal
from nixvm_loop.loop import Begin, Built, Ended, StartCycle, Stop, step
from nixvm_loop.model.clock import SystemClock
from nixvm_loop.model.values import Verdict
from nixvm_loop.runner import Runner

if TYPE_CHECKING:
    from pathlib import Path

    from nixvm_loop.events.types import Stamped
    from nixvm_loop.loop import Input


class Desk:
    """A runner whose loop is stepped by hand, and what it told."""

    def __init__(self, folder: Path) -> None:
        (folder / "nixvm-loop.toml").write_text('[guests.demo]\nflake = "."\nstate_dir = "state"\n')
        settings = config.select(config.load(folder / "nixvm-loop.toml"), "demo")
        clock = SystemClock()
        self.told: list[ev.Event] = []
        context = Context(
            settings,
            clock,
            Emitter((self,), clock, guest="demo"),
            Generations(settings.state_dir),
            Journal(settings.state_dir),
            Link(settings),
        )
        self.runner = Runner(context, folder / "nixvm-loop.toml", lambda: settings)

    def handle(self, stamped: Stamped) -> None:
        """Take an event."""
        self.told.append(stamped.event)

    def give(self, *inputs: Input) -> list[StartCycle]:
        """Let the loop take these, and what was typed since; the cycles that it starts."""
        started = []
        while not self.runner._inputs.empty():
            inputs = (*inputs, self.runner._inputs.get_nowait())
        for given in inputs:
            self.runner._state, effects = step(self.runner._state, given)
            started += [effect for effect in effects if isinstance(effect, StartCycle)]
        return started

    def type(self, keys: str) -> None:
        """Type these."""
        for key in keys:
            self.runner.on_key(key)

    def wish(self, started: StartCycle) -> Wish:
        """What a cycle is for."""
        assert started.order is not None
        return self.runner._orders[started.order.ticket].wish


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """Its first cycle has ended."""
    made = Desk(tmp_path)
    made.give(Begin(), Built(), Ended(Verdict.OK))
    return made


@pytest.mark.parametrize(
    ("keys", "last"),
    [("r", Wish.RESTART), ("rs", Wish.SWITCH), ("srs", Wish.SWITCH), ("s ", Wish.AS_NEEDED), ("rr", Wish.RESTART)],
)
def test_the_last_key_counts(desk: Desk, keys: str, last: Wish) -> None:
    """Of those that come before a cycle is started for them; there is one cycle, and nothing is told beside it."""
    desk.type(keys)
    (started,) = desk.give()
    assert desk.wish(started) is last
    assert desk.told == []


@pytest.mark.parametrize(
    ("keys", "last", "told"),
    [
        ("s", None, []),
        ("ssss", None, []),
        ("r", Wish.RESTART, ["restart"]),
        ("rs", Wish.SWITCH, ["restart", "switch"]),
        ("rrss ", Wish.AS_NEEDED, ["restart", "switch", "cycle"]),
    ],
)
def test_during_a_cycle_the_last_key_says_what_follows(
    desk: Desk, keys: str, last: Wish | None, told: list[str]
) -> None:
    """A key that is held down is one order; a second thought replaces the first, and is told."""
    desk.type("s")
    (serving,) = desk.give()
    assert desk.wish(serving) is Wish.SWITCH
    desk.type(keys)
    assert desk.told == [ev.OrderNoted(order) for order in told]
    started = desk.give(Built(), Ended(Verdict.OK))
    assert [desk.wish(one) for one in started] == ([] if last is None else [last])


def test_an_order_that_was_served_is_forgotten(desk: Desk) -> None:
    """A loop that runs for weeks keeps none; one that a newer save cancelled is kept for the cycle that follows."""
    desk.type("r")
    (served,) = desk.give()
    assert served.order is not None
    desk.give(Built(), Ended(Verdict.OK))
    desk.runner._forget(served.order.ticket)
    assert desk.runner._orders == {}
    desk.type("r")
    (again,) = desk.give()
    assert desk.wish(again) is Wish.RESTART


def test_whoever_stops_is_told_of_nothing_more(desk: Desk) -> None:
    """No cycle follows, so no key promises one."""
    desk.type("s")
    desk.give()
    desk.runner._stopping = True
    desk.give(Stop("SIGINT"))
    desk.type("r")
    assert not any(isinstance(event, ev.OrderNoted) for event in desk.told)


def test_what_waits_in_a_pause_is_counted(desk: Desk, tmp_path: Path) -> None:
    """Each time that it is another number, and again when it is over."""
    files = [tmp_path / name for name in ("a", "b")]
    for paused, waiting in ((False, ()), (True, ()), (True, files), (True, files), (False, files)):
        desk.runner._state = replace(desk.runner._state, paused=paused, waiting=frozenset(waiting))
        desk.runner._tell_of_pause()
    told = [(event.paused, event.waiting) for event in desk.told if isinstance(event, ev.LoopPaused)]
    assert told == [(True, 0), (True, 2), (False, 0)]
