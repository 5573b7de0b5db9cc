"""When cycles run: a pure step from state and input to state and effects. Nothing here waits or acts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto
from pathlib import Path  # noqa: TC003  # part of the values
from typing import TypeAlias, assert_never

from nixvm_loop.model.settings import OnChange
from nixvm_loop.model.values import Verdict


class Phase(Enum):
    """What the loop is doing."""

    IDLE = auto()
    BUILDING = auto()  # a cycle that may still be cancelled without a trace
    CANCELLING = auto()
    APPLYING = auto()  # past the point of no return
    STOPPED = auto()


@dataclass(frozen=True, slots=True)
class LoopState:
    """All that the loop remembers.

    Attributes:
        taken: The changes that the running cycle is for.
        waiting: Saves that no cycle has taken yet.
        stopping: Why the loop is to end once the running cycle has, None while it goes on.
    """

    on_change: OnChange
    phase: Phase = Phase.IDLE
    taken: frozenset[Path] = frozenset()
    waiting: frozenset[Path] = frozenset()
    stopping: str | None = None


@dataclass(frozen=True, slots=True)
class Begin:
    """The loop starts; the first cycle needs no save."""


@dataclass(frozen=True, slots=True)
class Changed:
    """A change set was seen."""

    paths: frozenset[Path]


@dataclass(frozen=True, slots=True)
class Built:
    """The running cycle passed the point of no return."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The running cycle is over."""

    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Stop:
    """The user, or a signal, wants the loop to end."""

    reason: str


Input: TypeAlias = Begin | Changed | Built | Ended | Stop


@dataclass(frozen=True, slots=True)
class StartCycle:
    """Run a cycle for these changes; none at the first."""

    paths: frozenset[Path]


@dataclass(frozen=True, slots=True)
class CancelBuild:
    """End the running cycle if it has not yet passed the point of no return."""


@dataclass(frozen=True, slots=True)
class StopCycle:
    """End the running cycle as soon as the guest is safe."""


@dataclass(frozen=True, slots=True)
class Exit:
    """The loop is over."""

    reason: str


Effect: TypeAlias = StartCycle | CancelBuild | StopCycle | Exit
Step: TypeAlias = tuple[LoopState, tuple[Effect, ...]]


def step(state: LoopState, given: Input) -> Step:
    """The next state, and what is to be done."""
    if state.phase is Phase.STOPPED:
        return state, ()
    match given:
        case Begin():
            return _start(state) if state.phase is Phase.IDLE else (state, ())
        case Changed(paths):
            return _changed(replace(state, waiting=state.waiting | paths))
        case Built():
            return _built(state)
        case Ended(verdict):
            return _ended(state, verdict)
        case Stop(reason):
            return _stop(state, reason)
        case _:
            assert_never(given)


def _start(state: LoopState) -> Step:
    started = replace(state, phase=Phase.BUILDING, taken=state.waiting, waiting=frozenset())
    return started, (StartCycle(started.taken),)


def _changed(state: LoopState) -> Step:
    if not state.waiting or state.stopping is not None:
        return state, ()
    if state.phase is Phase.IDLE:
        return _start(state)
    if state.phase is Phase.BUILDING and state.on_change is OnChange.CANCEL:
        return replace(state, phase=Phase.CANCELLING), (CancelBuild(),)
    return state, ()


def _built(state: LoopState) -> Step:
    # The cancellation of a build that had just ended comes too late; the save waits for the next cycle.
    return (replace(state, phase=Phase.APPLYING), ()) if state.phase is not Phase.IDLE else (state, ())


def _ended(state: LoopState, verdict: Verdict) -> Step:
    if state.phase is Phase.IDLE:
        return state, ()
    if state.stopping is not None:
        return replace(state, phase=Phase.STOPPED), (Exit(state.stopping),)
    # What a cancelled cycle was for is still to be done.
    carried = state.taken if verdict is Verdict.CANCELLED else frozenset()
    idle = replace(state, phase=Phase.IDLE, taken=frozenset(), waiting=state.waiting | carried)
    return _start(idle) if idle.waiting else (idle, ())


def _stop(state: LoopState, reason: str) -> Step:
    if state.phase is Phase.IDLE:
        return replace(state, phase=Phase.STOPPED), (Exit(reason),)
    if state.stopping is not None:
        return state, ()
    return replace(state, stopping=reason), (StopCycle(),)
