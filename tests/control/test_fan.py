from __future__ import annotations

from nixvm_loop.control import Standing
from nixvm_loop.control.fan import Fan
from nixvm_loop.errors import BuildError, NixvmLoopError
from nixvm_loop.events import types as ev
from nixvm_loop.events.emitter import Emitter
from nixvm_loop.model.clock import SystemClock
from nixvm_loop.model.values import Severity, Stage, Verdict
from tests.control.support import SUPERSEDED, finished

STARTED = ev.CycleStarted("changed: configuration.nix")


class Ears:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.heard: list[ev.Event] = []
        self.ends: list[NixvmLoopError | None] = []

    def hear(self, stamped: ev.Stamped) -> None:
        assert not self.ends
        self.heard.append(stamped.event)

    def end(self, error: NixvmLoopError | None) -> None:
        self.ends.append(error)


def play(fan: Fan, cycle: int | None, *events: ev.Event) -> None:
    emit = Emitter((fan,), SystemClock(), guest="demo").bound(cycle=cycle)
    for event in events:
        emit(event)


def test_an_order_hears_its_own_cycle_and_nothing_else() -> None:
    """Not the one that runs when it comes, nor the one after."""
    fan, ears = Fan(), Ears()
    play(fan, 6, STARTED, ev.StageStarted(Stage.BOOT))
    ticket = fan.join(ears)
    play(
        fan,
        6,
        finished(),
    )
    assert (ears.heard, ears.ends) == ([], [])
    fan.begin([ticket])
    play(fan, 7, STARTED, finished())
    play(fan, 8, STARTED, finished())
    assert ears.heard == [STARTED, finished()]
    assert ears.ends == [None]


def test_orders_hear_what_is_told_before_the_cycle_has_its_number() -> None:
    """Such as that another process holds the guest; but not what concerns the loop alone."""
    fan, ears = Fan(), Ears()
    fan.begin([fan.join(ears)])
    waiting = ev.Notice(Severity.INFO, "waiting", None)
    play(fan, None, waiting, ev.LoopStarted(("/flake",), 3), ev.LoopStopped("SIGINT"))
    assert ears.heard == [waiting]


def test_one_cycle_serves_several_orders() -> None:
    """Each of them hears all of it; an order that was not begun with it goes on waiting."""
    fan, one, two, three = Fan(), Ears(), Ears(), Ears()
    tickets = [fan.join(one), fan.join(two)]
    fan.join(three)
    fan.begin(tickets)
    play(fan, 1, STARTED, finished())
    assert one.heard == two.heard == [STARTED, finished()]
    assert (three.heard, three.ends) == ([], [])


def test_a_superseded_order_follows_the_newer_cycle() -> None:
    """The end that counts is that of the cycle which took its place."""
    fan, ears = Fan(), Ears()
    ticket = fan.join(ears)
    fan.begin([ticket])
    play(fan, 1, STARTED, SUPERSEDED)
    assert ears.ends == []
    fan.begin([ticket])
    play(fan, 2, STARTED, finished())
    assert ears.heard == [STARTED, SUPERSEDED, STARTED, finished()]
    assert ears.ends == [None]


def test_an_interrupted_cycle_ends_its_orders() -> None:
    """No cycle follows one that the user stopped."""
    fan, ears = Fan(), Ears()
    fan.begin([fan.join(ears)])
    play(fan, 1, STARTED, finished(130, ev.ErrorInfo("interrupted", None, ()), Verdict.CANCELLED))
    assert ears.ends == [None]


def test_a_cycle_that_cannot_begin_fails_its_orders() -> None:
    """Where no cycle tells its end, the error does; whoever waits for another cycle is not concerned."""
    fan, ears, other = Fan(), Ears(), Ears()
    fan.begin([fan.join(ears)])
    fan.join(other)
    error = BuildError("no")
    fan.fail(error)
    assert (ears.ends, other.ends) == ([error], [])


def test_who_has_left_hears_nothing() -> None:
    """Before or during the cycle, and beginning an order whose listener has left is fine."""
    fan, early, late = Fan(), Ears(), Ears()
    tickets = [fan.join(early), fan.join(late)]
    fan.leave(tickets[0])
    fan.begin(tickets)
    play(fan, 1, STARTED)
    fan.leave(tickets[1])
    fan.leave(tickets[1])
    play(fan, 1, finished())
    assert (early.heard, late.heard, late.ends) == ([], [STARTED], [])


def test_the_console_is_told_from_the_cycles_beginning_to_its_end() -> None:
    """Who joins late hears the lines so far, then each new one, and nothing but lines."""
    fan, ears = Fan(), Ears()
    play(fan, 1, STARTED, ev.Console("of an older boot"), finished())
    play(fan, 2, STARTED, ev.StageStarted(Stage.BOOT), ev.Console("one"))
    fan.join_console(ears)
    play(fan, 2, ev.Console("two"), ev.GuestWaiting(1, 0.5), SUPERSEDED)
    assert ears.heard == [ev.Console("one"), ev.Console("two")]
    assert ears.ends == [None]


def test_without_a_cycle_there_is_no_console_to_tell_of() -> None:
    """It is over at once, because the client may have the console for itself."""
    fan, ears = Fan(), Ears()
    play(fan, 1, STARTED, ev.Console("one"), finished())
    fan.join_console(ears)
    assert (ears.heard, ears.ends) == ([], [None])


def test_it_knows_where_watch_is() -> None:
    """The running cycle, the stage it began last, and neither between cycles."""
    fan = Fan()
    assert str(fan.standing) == "waiting for changes"
    play(fan, 3, STARTED)
    assert str(fan.standing) == "in cycle 3"
    play(
        fan,
        3,
        ev.StageStarted(Stage.BUILD),
        ev.StageStarted(Stage.EVAL),
        ev.StageFinished(Stage.EVAL, ok=True, seconds=1),
    )
    assert fan.standing == Standing(3, Stage.EVAL)
    assert str(fan.standing) == "in cycle 3, stage eval"
    play(fan, 3, finished())
    assert fan.standing == Standing()
    play(fan, None, ev.LoopPaused(paused=True, waiting=0))
    assert str(fan.standing) == "paused: saves start no cycles"
    play(fan, 4, STARTED)
    assert str(fan.standing) == "in cycle 4"
    play(fan, 4, finished())
    assert str(fan.standing) == "paused: saves start no cycles"
    play(fan, None, ev.LoopPaused(paused=False, waiting=0))
    assert fan.standing == Standing()
