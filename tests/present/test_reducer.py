from __future__ import annotations

from dataclasses import fields, is_dataclass
from functools import reduce as fold
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from nixvm_loop.events import types as ev
from nixvm_loop.events.names import TYPE_NAMES
from nixvm_loop.events.types import ActivityKind, ActivityState, Stamped
from nixvm_loop.model.values import Action, Severity, Stage, Verdict
from nixvm_loop.present.reducer import ANYWHERE, CONSOLE_LINES, IN_CYCLE, LAST_CYCLES, RESULTS, reduce
from nixvm_loop.present.state import CycleView, ViewState
from tests.present.scenario import START, Script, activity, bad_cycle, good_cycle, hostile_run, whole_run

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def run(events: Iterable[Stamped]) -> ViewState:
    return fold(reduce, events, ViewState())


def in_cycle(*events: ev.Event) -> CycleView:
    script = Script(cycle=1)
    script.say(ev.CycleStarted("first"), *events)
    cycle = run(script.events).cycle
    assert cycle is not None
    return cycle


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from strings(item)
    elif is_dataclass(value):
        for field in fields(value):
            yield from strings(getattr(value, field.name))


def test_every_event_type_is_decided_on() -> None:
    """An event type that is added must be given a place, in the state or among the results."""
    assert set(TYPE_NAMES) == set(ANYWHERE) | set(IN_CYCLE) | RESULTS


def test_whole_run_leaves_the_last_cycles() -> None:
    """After a run no cycle is open, and the last ones stand there with verdict and error, the newest first."""
    state = run(whole_run())
    assert state.cycle is None
    assert not state.watching
    assert [(one.number, one.verdict) for one in state.last] == [
        (4, Verdict.FAILED),
        (3, Verdict.OK),
        (2, Verdict.FAILED),
        (1, Verdict.OK),
    ]
    assert state.last[0].error is not None
    assert (state.guest, state.generation, state.domain_state) == ("demo", 4, "running")


def test_after_a_rollback_the_guest_is_on_the_older_generation() -> None:
    """The cycle was about generation 9; what runs is generation 7."""
    script = Script(cycle=1)
    failed = ev.CycleFinished(Verdict.FAILED, Action.RESTART, 9, 9.0, 6, None)
    script.say(ev.CycleStarted("first"), ev.GenerationFlipped(7, 9), ev.RolledBack(9, 7), failed)
    state = run(script.events)
    assert (state.generation, state.last[0].generation) == (7, 9)


def test_only_the_last_cycles_are_kept() -> None:
    """A loop that runs for days does not grow."""
    script = Script()
    for number in range(1, 30):
        bad_cycle(script, number)
    state = run(script.events)
    assert [one.number for one in state.last] == [29, 28, 27, 26, 25][:LAST_CYCLES]
    assert [one.view is None for one in state.last] == [False, True, True, True, True]


def test_stages_are_timed() -> None:
    """A stage runs from its start and is finished with the seconds that the event says."""
    cycle = in_cycle(
        ev.StageStarted(Stage.EVAL), ev.StageFinished(Stage.EVAL, True, 1.5), ev.StageStarted(Stage.REALISE)
    )
    done, running = cycle.stage(Stage.EVAL), cycle.stage(Stage.REALISE)
    assert done is not None
    assert (done.ok, done.seconds) == (True, 1.5)
    assert running is not None
    assert (running.ok, running.seconds) == (None, None)


def test_activities_come_and_go() -> None:
    """A derivation shows its phase and its last log line until it stops; a download is counted with its bytes."""
    name = "/nix/store/" + "b" * 32 + "-etc.drv"
    started = (
        activity(1, ActivityKind.BUILD, ActivityState.STARTED, name),
        activity(2, ActivityKind.DOWNLOAD, ActivityState.STARTED, "openssl"),
        activity(1, ActivityKind.BUILD, ActivityState.RUNNING, name, phase="buildPhase"),
        activity(2, ActivityKind.DOWNLOAD, ActivityState.RUNNING, "openssl", done=5, expected=9),
        ev.BuildLog(name, "first"),
        ev.BuildLog("other", "not mine"),
        ev.BuildLog("etc", "\x1b[1msecond\x1b[0m"),
    )
    build, download = in_cycle(*started).activities
    assert (build.name, build.phase, build.line) == ("etc", "buildPhase", "second")
    assert (download.done, download.expected) == (5, 9)
    ended = in_cycle(
        *started,
        activity(2, ActivityKind.DOWNLOAD, ActivityState.STOPPED, "openssl", done=9),
        activity(1, ActivityKind.BUILD, ActivityState.STOPPED, name),
        activity(77, ActivityKind.BUILD, ActivityState.STOPPED, "never started"),
    )
    assert ended.activities == ()
    assert (ended.progress.fetched, ended.progress.fetched_bytes, ended.most_activities) == (1, 9, 2)


def test_console_keeps_its_tail() -> None:
    """Only the last lines of the console are kept, without empty ones."""
    cycle = in_cycle(*(ev.Console(f"line {number}\r") for number in range(20)), ev.Console("\r"))
    assert cycle.console == tuple(f"line {number}" for number in range(20 - CONSOLE_LINES, 20))


def test_a_newer_save_is_seen() -> None:
    """A change set during a cycle is shown until the next cycle takes it."""
    script = Script(cycle=1)
    script.say(ev.CycleStarted("first"), ev.ChangesSeen(("/a",)))
    assert run(script.events).newer == ("/a",)
    script.say(ev.CycleStarted("next"))
    assert run(script.events).newer == ()


def test_what_changes_nothing_gives_the_same_state() -> None:
    """The screen is not redrawn for a console between cycles, a repeated domain state or a repeated notice."""
    script = Script()
    notice = ev.Notice(Severity.WARNING, "on_reboot is restart", None)
    script.say(ev.LoopStarted(("/r",), 1), ev.DomainState("running"), notice)
    state = run(script.events)
    for event in (ev.Console("x"), ev.DomainState("running"), notice, ev.BuildLog(None, "x")):
        assert reduce(state, Stamped(9, START, "demo", None, event)) is state


def test_state_holds_no_harmful_text() -> None:
    """Whatever a run says, the state's texts are short and free of control characters."""
    for count in range(1, len(hostile_run()) + 1):
        for text in strings(run(hostile_run()[:count])):
            assert len(text) <= 4000
            assert "\x1b" not in text
            assert text.replace("\ufffd", "").isprintable()


@given(st.permutations(whole_run()[:60]))
def test_any_order_is_taken(events: list[Stamped]) -> None:
    """No order of events makes the reducer fail: a presenter must outlive what it did not expect."""
    run(events)


def test_cycles_follow_each_other() -> None:
    """A second cycle starts empty."""
    script = Script()
    good_cycle(script, 1, "first")
    script.cycle = 2
    script.say(ev.CycleStarted("second"))
    cycle = run(script.events).cycle
    assert cycle is not None
    assert cycle == CycleView(number=2, reason="second", started=cycle.started)
