"""Folds events into the view's state. Pure: the same events give the same screen, live and replayed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from nixvm_loop.events import types as ev
from nixvm_loop.events.findings import Finding, ProbeFinished
from nixvm_loop.events.generations import DefinitionChange, Difference, History
from nixvm_loop.events.types import ActivityKind, ActivityState, Stamped
from nixvm_loop.model.values import Verdict
from nixvm_loop.present.sanitise import clean
from nixvm_loop.present.state import (
    ActivityView,
    CycleView,
    FinishedCycle,
    StageView,
    ViewState,
    WaitingView,
)
from nixvm_loop.present.words import LINE_LIMIT, clean_check, clean_diagnostic, clean_error, short_name

if TYPE_CHECKING:
    from datetime import datetime

CONSOLE_LINES = 6
LAST_CYCLES = 5
_DIAGNOSTICS = 50
_CHECKS = 200
_NOTICES = 20
_PATHS = 20

_InCycle = Callable[[CycleView, Any, "datetime"], CycleView]
_Anywhere = Callable[[ViewState, Any, Stamped], ViewState]


def reduce(state: ViewState, stamped: Stamped) -> ViewState:
    """The state after an event; the same object when the event changes nothing that is shown."""
    event = stamped.event
    if stamped.guest is not None and stamped.guest != state.guest:
        state = replace(state, guest=clean(stamped.guest, LINE_LIMIT))
    anywhere = ANYWHERE.get(type(event))
    if anywhere is not None:
        state = anywhere(state, event, stamped)
    in_cycle = IN_CYCLE.get(type(event))
    if in_cycle is None or state.cycle is None:
        return state
    cycle = in_cycle(state.cycle, event, stamped.time)
    return state if cycle is state.cycle else replace(state, cycle=cycle)


def _loop_started(state: ViewState, event: ev.LoopStarted, _: Stamped) -> ViewState:
    roots = tuple(clean(root, LINE_LIMIT) for root in event.roots[:_PATHS])
    return replace(state, watching=True, roots=roots, files=event.files)


def _loop_stopped(state: ViewState, _event: ev.LoopStopped, _: Stamped) -> ViewState:
    return replace(state, watching=False, cycle=None)


def _changes_seen(state: ViewState, event: ev.ChangesSeen, _: Stamped) -> ViewState:
    if state.cycle is None:
        return state
    return replace(state, newer=tuple(clean(path, LINE_LIMIT) for path in event.paths[:_PATHS]))


def _cycle_started(state: ViewState, event: ev.CycleStarted, stamped: Stamped) -> ViewState:
    cycle = CycleView(number=stamped.cycle or 0, reason=clean(event.reason, LINE_LIMIT), started=stamped.time)
    return replace(state, cycle=cycle, newer=(), then="")


def _cycle_finished(state: ViewState, event: ev.CycleFinished, stamped: Stamped) -> ViewState:
    finished = FinishedCycle(
        number=stamped.cycle or 0,
        verdict=event.verdict,
        action=event.action,
        generation=event.generation,
        seconds=event.seconds,
        at=stamped.time,
        error=None if event.error is None else clean_error(event.error),
        view=state.cycle,
    )
    older = (replace(one, view=None) for one in state.last[: LAST_CYCLES - 1])
    # What is current after a cycle that failed, its flips have told.
    gave_up = event.verdict is Verdict.FAILED
    generation = state.generation if event.generation is None or gave_up else event.generation
    return replace(state, cycle=None, last=(finished, *older), generation=generation)


def _domain_state(state: ViewState, event: ev.DomainState, _: Stamped) -> ViewState:
    now = clean(event.state, LINE_LIMIT)
    return state if now == state.domain_state else replace(state, domain_state=now)


def _flipped(state: ViewState, event: ev.GenerationFlipped, _: Stamped) -> ViewState:
    return replace(state, generation=event.to)


def _notice(state: ViewState, event: ev.Notice, _: Stamped) -> ViewState:
    message = clean(event.message, LINE_LIMIT)
    if message in state.notices:
        return state
    return replace(state, notices=(message, *state.notices)[:_NOTICES])


def _stage_started(cycle: CycleView, event: ev.StageStarted, time: datetime) -> CycleView:
    others = tuple(view for view in cycle.stages if view.stage is not event.stage)
    return replace(cycle, stages=(*others, StageView(event.stage, time)))


def _stage_finished(cycle: CycleView, event: ev.StageFinished, time: datetime) -> CycleView:
    view = cycle.stage(event.stage) or StageView(event.stage, time)
    others = tuple(other for other in cycle.stages if other.stage is not event.stage)
    return replace(cycle, stages=(*others, replace(view, seconds=event.seconds, ok=event.ok)))


def _progress(cycle: CycleView, event: ev.BuildProgress, _: datetime) -> CycleView:
    progress = replace(
        cycle.progress, done=event.done, expected=event.expected, running=event.running, failed=event.failed
    )
    return cycle if progress == cycle.progress else replace(cycle, progress=progress)


def _activity(cycle: CycleView, event: ev.BuildActivity, time: datetime) -> CycleView:
    known = next((view for view in cycle.activities if view.id == event.id), None)
    if event.state is ActivityState.STOPPED:
        return _activity_stopped(cycle, event, known)
    before = known or ActivityView(id=event.id, kind=event.kind, name=short_name(event.name), started=time)
    after = replace(
        before,
        phase=before.phase if event.phase is None else clean(event.phase, LINE_LIMIT),
        done=before.done if event.done is None else event.done,
        expected=before.expected if event.expected is None else event.expected,
    )
    if known is None:
        activities = (*cycle.activities, after)
    else:
        activities = tuple(after if view is known else view for view in cycle.activities)
    return replace(cycle, activities=activities, most_activities=max(cycle.most_activities, len(activities)))


def _activity_stopped(cycle: CycleView, event: ev.BuildActivity, known: ActivityView | None) -> CycleView:
    if known is None:
        return cycle
    progress = cycle.progress
    if known.kind is ActivityKind.DOWNLOAD:
        size = event.done if event.done is not None else known.done or 0
        progress = replace(progress, fetched=progress.fetched + 1, fetched_bytes=progress.fetched_bytes + size)
    activities = tuple(view for view in cycle.activities if view is not known)
    return replace(cycle, activities=activities, progress=progress)


def _log(cycle: CycleView, event: ev.BuildLog, _: datetime) -> CycleView:
    line = clean(event.line, LINE_LIMIT)
    if not line:
        return cycle
    if event.derivation is None:
        return replace(cycle, nix_line=line)
    name = short_name(event.derivation)
    activities = tuple(
        replace(view, line=line) if view.name == name and view.kind is ActivityKind.BUILD else view
        for view in cycle.activities
    )
    return replace(cycle, activities=activities)


def _diagnostic(cycle: CycleView, event: ev.DiagnosticSeen, _: datetime) -> CycleView:
    return replace(cycle, diagnostics=(*cycle.diagnostics, clean_diagnostic(event))[:_DIAGNOSTICS])


def _action(cycle: CycleView, event: ev.ActionChosen, _: datetime) -> CycleView:
    reasons = tuple(clean(reason, LINE_LIMIT) for reason in event.reasons)
    return replace(cycle, action=event.action, reasons=reasons)


def _console(cycle: CycleView, event: ev.Console, _: datetime) -> CycleView:
    line = clean(event.line, LINE_LIMIT)
    return replace(cycle, console=(*cycle.console, line)[-CONSOLE_LINES:]) if line else cycle


def _waiting(cycle: CycleView, event: ev.GuestWaiting, _: datetime) -> CycleView:
    return replace(cycle, waiting=WaitingView(event.attempt, event.seconds))


def _switch_log(cycle: CycleView, event: ev.SwitchLog, _: datetime) -> CycleView:
    line = clean(event.line, LINE_LIMIT)
    return replace(cycle, console=(*cycle.console, line)[-CONSOLE_LINES:]) if line else cycle


def _check(cycle: CycleView, event: ev.CheckFinished, _: datetime) -> CycleView:
    others = tuple(check for check in cycle.checks if check.check != event.check)
    return replace(cycle, checks=(*others, clean_check(event))[:_CHECKS])


def _rolled_back(cycle: CycleView, event: ev.RolledBack, _: datetime) -> CycleView:
    return replace(cycle, rolled_back_to=event.to)


def _rolled_back_anywhere(state: ViewState, event: ev.RolledBack, _: Stamped) -> ViewState:
    return replace(state, generation=event.to)


def _loop_paused(state: ViewState, event: ev.LoopPaused, _: Stamped) -> ViewState:
    return replace(state, paused=event.paused, held=event.waiting)


def _order_noted(state: ViewState, event: ev.OrderNoted, _: Stamped) -> ViewState:
    return replace(state, then=clean(event.order, LINE_LIMIT))


ANYWHERE: dict[type[Any], _Anywhere] = {
    ev.LoopStarted: _loop_started,
    ev.LoopPaused: _loop_paused,
    ev.OrderNoted: _order_noted,
    ev.LoopStopped: _loop_stopped,
    ev.ChangesSeen: _changes_seen,
    ev.CycleStarted: _cycle_started,
    ev.CycleFinished: _cycle_finished,
    ev.DomainState: _domain_state,
    ev.GenerationFlipped: _flipped,
    ev.RolledBack: _rolled_back_anywhere,
    ev.Notice: _notice,
}
IN_CYCLE: dict[type[Any], _InCycle] = {
    ev.StageStarted: _stage_started,
    ev.StageFinished: _stage_finished,
    ev.BuildProgress: _progress,
    ev.BuildActivity: _activity,
    ev.BuildLog: _log,
    ev.DiagnosticSeen: _diagnostic,
    ev.ActionChosen: _action,
    ev.Console: _console,
    ev.GuestWaiting: _waiting,
    ev.SwitchLog: _switch_log,
    ev.CheckFinished: _check,
    ev.RolledBack: _rolled_back,
}
# Results of commands: printed once, never part of the screen's state.
RESULTS: frozenset[type[Any]] = frozenset({ev.Status, ProbeFinished, Finding, History, Difference, DefinitionChange})
