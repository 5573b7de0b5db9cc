from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from nixvm_loop.loop import (
    REVIVALS,
    Begin,
    Built,
    CancelBuild,
    Changed,
    Effect,
    Ended,
    Exit,
    GuestLost,
    Input,
    LoopState,
    Ordered,
    Pause,
    Phase,
    StartCycle,
    Stop,
    StopCycle,
    Work,
    step,
)
from nixvm_loop.model.settings import OnChange
from nixvm_loop.model.values import Verdict

A, B = frozenset({Path("/a")}), frozenset({Path("/b")})


def run(*inputs: Input, on_change: OnChange = OnChange.CANCEL) -> tuple[LoopState, list[Effect]]:
    state, effects = LoopState(on_change), list[Effect]()
    for given_input in inputs:
        state, more = step(state, given_input)
        effects += more
    return state, effects


def test_a_save_during_a_build_cancels_it_and_is_built_with_what_it_was_for() -> None:
    """The newest save wins, and the change of the cancelled cycle is not forgotten."""
    _, effects = run(Begin(), Ended(Verdict.OK), Changed(A), Changed(B), Ended(Verdict.CANCELLED))
    assert effects == [StartCycle(frozenset()), StartCycle(A), CancelBuild(), StartCycle(A | B)]


def test_a_save_past_the_point_of_no_return_is_taken_right_after() -> None:
    """Nothing is cancelled once the flip may have begun."""
    _, effects = run(Begin(), Built(), Changed(A), Ended(Verdict.OK))
    assert effects == [StartCycle(frozenset()), StartCycle(A)]


def test_on_change_finish_lets_the_build_end() -> None:
    """The other policy never cancels."""
    _, effects = run(Begin(), Changed(A), Ended(Verdict.FAILED), on_change=OnChange.FINISH)
    assert effects == [StartCycle(frozenset()), StartCycle(A)]


def test_a_cancellation_that_comes_too_late_loses_no_save() -> None:
    """The build ended in the same moment: the cycle goes on, the save gets its own."""
    _, effects = run(Begin(), Changed(A), Built(), Ended(Verdict.OK))
    assert effects == [StartCycle(frozenset()), CancelBuild(), StartCycle(A)]


def test_stopping_waits_for_the_running_cycle() -> None:
    """The loop exits only after the cycle has ended, and starts nothing more."""
    state, effects = run(Begin(), Changed(A), Stop("SIGINT"), Ended(Verdict.CANCELLED), Changed(B))
    assert effects == [StartCycle(frozenset()), CancelBuild(), StopCycle(), Exit("SIGINT")]
    assert state.phase is Phase.STOPPED


def test_an_order_waits_for_its_turn_and_follows_a_superseded_build() -> None:
    """A running cycle is not disturbed; the order's own build, cancelled by a save, goes on with that save's cycle."""
    order = Ordered(1, Work.BUILD)
    _, effects = run(Begin(), order, Ended(Verdict.OK), Changed(A), Ended(Verdict.CANCELLED))
    assert effects == [StartCycle(frozenset()), StartCycle(frozenset(), order), CancelBuild(), StartCycle(A, order)]


def test_while_paused_saves_wait_and_orders_do_not() -> None:
    """Nothing of what was saved is lost: going on takes it all, and so does an order."""
    paused, effects = run(Begin(), Built(), Ended(Verdict.OK), Pause(), Changed(A), Changed(B))
    assert (paused.waiting, len(effects)) == (A | B, 1)
    assert step(paused, Pause())[1] == (StartCycle(A | B),)
    order = Ordered(1, Work.BUILD)
    assert step(paused, order)[1] == (StartCycle(A | B, order),)
    assert step(paused, GuestLost())[1] == (StartCycle(frozenset(), None, Work.BOOT),)


def test_a_pause_cancels_no_build() -> None:
    """A save during a build would cancel it for a cycle that does not begin."""
    state, effects = run(Begin(), Pause(), Changed(A))
    assert (state.phase, state.waiting, len(effects)) == (Phase.BUILDING, A, 1)


def test_an_order_to_boot_takes_no_save_with_it() -> None:
    """What was saved meanwhile is built right after."""
    order = Ordered(1, Work.BOOT)
    _, effects = run(Begin(), Built(), order, Changed(A), Ended(Verdict.OK), Ended(Verdict.OK))
    assert effects == [StartCycle(frozenset()), StartCycle(frozenset(), order, Work.BOOT), StartCycle(A)]


def test_a_lost_guest_is_started_again_but_not_for_ever() -> None:
    """Also when a build that fails was under way; after a few times in a row it takes a save or an order."""
    revive = StartCycle(frozenset(), None, Work.BOOT)
    _, effects = run(Begin(), GuestLost(), Ended(Verdict.FAILED))
    assert effects == [StartCycle(frozenset()), revive]
    lost = (GuestLost(), Ended(Verdict.OK))
    state, effects = run(Begin(), Built(), Ended(Verdict.OK), *lost * (REVIVALS + 2))
    assert effects == [StartCycle(frozenset()), *[revive] * REVIVALS]
    assert step(state, Changed(A))[1] == (StartCycle(A),)


def test_the_ends_of_a_restart_are_no_loss() -> None:
    """What stops a guest while a cycle restarts it is that cycle."""
    _, effects = run(Begin(), Built(), GuestLost(), Ended(Verdict.OK))
    assert effects == [StartCycle(frozenset())]


inputs = st.one_of(
    st.just(GuestLost()),
    st.just(Pause()),
    st.builds(Ordered, st.integers(1, 9), st.sampled_from(Work)),
    st.just(Begin()),
    st.builds(Changed, st.frozensets(st.sampled_from([Path("/a"), Path("/b"), Path("/c")]), min_size=1)),
    st.just(Built()),
    st.builds(Ended, st.sampled_from(Verdict)),
    st.just(Stop("stop")),
)


class Model:
    """What must be true of any loop: who is owed a cycle, and which cycle runs."""

    def __init__(self) -> None:
        self.running: frozenset[Path] | None = None
        self.owed: frozenset[Path] = frozenset()
        self.exits = 0

    def possible(self, given_input: Input) -> bool:
        return self.running is not None or not isinstance(given_input, Ended | Built)

    def take(self, given_input: Input) -> None:
        match given_input:
            case Ended(verdict):
                if verdict is not Verdict.CANCELLED:
                    self.owed -= self.running or frozenset()
                self.running = None
            case Changed(paths):
                self.owed |= paths
                if self.running is not None:
                    self.running -= paths  # the cycle may have built the older content
            case _:
                pass

    def carry_out(self, effects: tuple[Effect, ...]) -> None:
        for effect in effects:
            if isinstance(effect, StartCycle | Exit):
                assert self.running is None
            if isinstance(effect, StartCycle):
                self.running = effect.paths
            self.exits += isinstance(effect, Exit)


@settings(max_examples=1000)
@given(st.lists(inputs, max_size=30), st.sampled_from(OnChange))
def test_no_order_of_inputs_loses_a_save_or_runs_two_cycles(given_inputs: list[Input], on_change: OnChange) -> None:
    """Every save is waiting, being built, or was in a cycle that ended uncancelled; one cycle runs at a time."""
    state, model = LoopState(on_change), Model()
    for given_input in filter(model.possible, given_inputs):
        model.take(given_input)
        state, effects = step(state, given_input)
        model.carry_out(effects)
        if state.phase is Phase.STOPPED:
            break
        assert model.owed <= state.waiting | state.taken
        assert (model.running is not None) == (state.phase is not Phase.IDLE)
        assert state.phase is not Phase.IDLE or state.paused or not model.owed
    assert model.exits == (state.phase is Phase.STOPPED)
