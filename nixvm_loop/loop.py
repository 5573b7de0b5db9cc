"""When cycles run: a pure step from state and input to state and effects. Nothing here waits or acts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto
from pathlib import Path  # noqa: TC003  # part of the values
from typing import Final, TypeAlias, assert_never

from nixvm_loop.model.settings import OnChange
from nixvm_loop.model.values import Verdict

# A guest that goes down right after each verified boot is left alone after that many.
REVIVALS: Final = 3


class Phase(Enum):
    """What the loop is doing."""

    IDLE = auto()
    BUILDING = auto()  # a cycle that may still be cancelled without a trace
    CANCELLING = auto()
    APPLYING = auto()  # past the point of no return
    STOPPED = auto()


class Work(Enum):
    """What a cycle is to do."""

    BUILD = auto()
    BOOT = auto()  # a generation that is there


@dataclass(frozen=True, slots=True)
class Ordered:
    """Somebody asked for a cycle, and waits for its end; the ticket names the order."""

    ticket: int
    work: Work


@dataclass(frozen=True, slots=True)
class LoopState:
    """All that the loop remembers.

    Attributes:
        taken: The changes that the running cycle is for.
        waiting: Saves that no cycle has taken yet.
        serving: The order that the running cycle is for.
        orders: Those that no cycle has taken yet.
        lost: Whether the guest went down by itself and no cycle has started it since.
        revivals: How often that was mended since the last save or order, or since it was up for a good while.
        paused: Whether saves wait until the user goes on; orders and a lost guest do not.
        stopping: Why the loop is to end once the running cycle has, None while it goes on.
    """

    on_change: OnChange
    phase: Phase = Phase.IDLE
    taken: frozenset[Path] = frozenset()
    waiting: frozenset[Path] = frozenset()
    serving: Ordered | None = None
    orders: tuple[Ordered, ...] = ()
    lost: bool = False
    revivals: int = 0
    paused: bool = False
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
class GuestLost:
    """The guest rebooted or crashed, so that its domain is off although nobody wants it to be."""


@dataclass(frozen=True, slots=True)
class Settled:
    """The guest has been up for a good while."""


@dataclass(frozen=True, slots=True)
class Pause:
    """The user wants saves to wait, or, if they do, to wait no longer."""


@dataclass(frozen=True, slots=True)
class Stop:
    """The user, or a signal, wants the loop to end."""

    reason: str


Input: TypeAlias = Begin | Changed | Ordered | GuestLost | Settled | Pause | Built | Ended | Stop


@dataclass(frozen=True, slots=True)
class StartCycle:
    """Run a cycle for these changes, none at the first; or for an order; or start the guest again that was lost."""

    paths: frozenset[Path]
    order: Ordered | None = None
    work: Work = Work.BUILD


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
        case Changed(paths):
            return _changed(replace(state, waiting=state.waiting | paths, revivals=0))
        case Begin() | Ordered() | Pause() | Stop():
            return _wanted(state, given)
        case Built() | Ended() | GuestLost() | Settled():
            return _told(state, given)
        case _:
            assert_never(given)


def _wanted(state: LoopState, given: Begin | Ordered | Pause | Stop) -> Step:
    """What the user wants."""
    match given:
        case Begin():
            return _build(state, None) if state.phase is Phase.IDLE else (state, ())
        case Ordered() as order:
            return _if_idle(replace(state, orders=(*state.orders, order), revivals=0))
        case Pause():
            return _if_idle(replace(state, paused=not state.paused))
        case Stop(reason):
            return _stop(state, reason)
        case _:
            assert_never(given)


def _told(state: LoopState, given: Built | Ended | GuestLost | Settled) -> Step:
    """What cycles and the guest say by themselves."""
    match given:
        case Built():
            return _built(state)
        case Ended(verdict):
            return _ended(state, verdict)
        case GuestLost():
            return _lost(state)
        case Settled():
            return replace(state, revivals=0), ()
        case _:
            assert_never(given)


def _next(state: LoopState) -> Step:
    """From idle, what is due: an order, then saves, then the guest."""
    if state.orders:
        first, *rest = state.orders
        state = replace(state, orders=tuple(rest))
        return _build(state, first) if first.work is Work.BUILD else _boot(state, first)
    if state.waiting and not state.paused:
        return _build(state, None)
    if state.lost and state.revivals < REVIVALS:
        return _boot(replace(state, revivals=state.revivals + 1), None)
    return state, ()


def _build(state: LoopState, order: Ordered | None) -> Step:
    started = replace(state, phase=Phase.BUILDING, taken=state.waiting, waiting=frozenset(), serving=order)
    return started, (StartCycle(started.taken, order),)


def _boot(state: LoopState, order: Ordered | None) -> Step:
    started = replace(state, phase=Phase.APPLYING, serving=order, lost=False)
    return started, (StartCycle(frozenset(), order, Work.BOOT),)


def _if_idle(state: LoopState) -> Step:
    return _next(state) if state.phase is Phase.IDLE else (state, ())


def _lost(state: LoopState) -> Step:
    # While a cycle restarts the guest, its ends are that cycle's own business.
    if state.phase is Phase.APPLYING:
        return state, ()
    lost = replace(state, lost=True)
    return _next(lost) if state.phase is Phase.IDLE else (lost, ())


def _changed(state: LoopState) -> Step:
    if not state.waiting or state.paused or state.stopping is not None:
        return state, ()
    if state.phase is Phase.IDLE:
        return _next(state)
    if state.phase is Phase.BUILDING and state.on_change is OnChange.CANCEL:
        return replace(state, phase=Phase.CANCELLING), (CancelBuild(),)
    return state, ()


def _built(state: LoopState) -> Step:
    # The cancellation of a build that had just ended comes too late; the save waits for the next cycle.
    return (replace(state, phase=Phase.APPLYING, lost=False), ()) if state.phase is not Phase.IDLE else (state, ())


def _ended(state: LoopState, verdict: Verdict) -> Step:
    if state.phase is Phase.IDLE:
        return state, ()
    if state.stopping is not None:
        return replace(state, phase=Phase.STOPPED), (Exit(state.stopping),)
    idle = replace(state, phase=Phase.IDLE, taken=frozenset(), serving=None)
    if verdict is Verdict.CANCELLED:
        # What it was for is still to be done, and whoever ordered it follows the next one.
        again = (state.serving,) if state.serving is not None else ()
        idle = replace(idle, waiting=idle.waiting | state.taken, orders=(*again, *idle.orders))
    return _next(idle)


def _stop(state: LoopState, reason: str) -> Step:
    if state.phase is Phase.IDLE:
        return replace(state, phase=Phase.STOPPED), (Exit(reason),)
    if state.stopping is not None:
        return state, ()
    return replace(state, stopping=reason), (StopCycle(),)
