from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from nixvm_loop.loop import (
    Begin,
    Built,
    CancelBuild,
    Changed,
    Effect,
    Ended,
    Exit,
    Input,
    LoopState,
    Phase,
    StartCycle,
    Stop,
    StopCycle,
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


inputs = st.one_of(
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
        assert state.phase is not Phase.IDLE or not model.owed
    assert model.exits == (state.phase is Phase.STOPPED)
