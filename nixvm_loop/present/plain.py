"""Line output for pipes, editors and CI: cycle and problem lines and results on stdout, everything else on stderr.

Lines on stderr are indented, so that nothing that a log or a console says can pass for a line that editors match.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from nixvm_loop.events import types as ev
from nixvm_loop.events.findings import Finding, ProbeFinished
from nixvm_loop.events.generations import DefinitionChange, Difference, History
from nixvm_loop.model.units import format_seconds
from nixvm_loop.model.values import Verdict
from nixvm_loop.present import difference, findings, generations, status
from nixvm_loop.present.checks import check_lines
from nixvm_loop.present.choice import Verbosity
from nixvm_loop.present.sanitise import clean
from nixvm_loop.present.words import (
    LINE_LIMIT,
    MESSAGE_LIMIT,
    cycle_finished_line,
    cycle_started_line,
    error_lines,
    files_waiting,
    outcome_of,
    problem_line,
    short_name,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from nixvm_loop.events.types import Stamped
    from nixvm_loop.present.stream import LineWriter

_WAITING_SAID_EVERY_S = 5.0


class PlainSink:
    """Writes each event as lines, at once."""

    def __init__(self, stdout: LineWriter, stderr: LineWriter, verbosity: Verbosity) -> None:
        self._stdout = stdout
        self._stderr = stderr
        self._verbose = verbosity is Verbosity.VERBOSE
        self._watching = False
        self._waited_s = 0.0
        self._unfinished: list[ev.StageFinished] = []

    def handle(self, stamped: Stamped) -> None:
        """Write what one event has to say."""
        if not isinstance(stamped.event, ev.StageFinished):
            self._tell_unfinished(stamped.event)
        self._writers[type(stamped.event)](self, stamped.event, stamped)

    def _say(self, *lines: str) -> None:
        for line in lines:
            self._stderr.line(f"  {line}")

    def _loop_started(self, event: ev.LoopStarted, _: Stamped) -> None:
        self._watching = True
        self._say(f"watching {event.files} files in {clean(', '.join(event.roots), LINE_LIMIT)}")

    def _loop_stopped(self, event: ev.LoopStopped, _: Stamped) -> None:
        self._watching = False
        self._say(f"stopped: {clean(event.reason, LINE_LIMIT)}")

    def _changes(self, event: ev.ChangesSeen, _: Stamped) -> None:
        others = len(event.paths) - 1
        first = clean(event.paths[0], LINE_LIMIT) if event.paths else "nothing"
        self._say(f"changed: {first}" + (f" and {others} more" if others > 0 else ""))

    def _cycle_started(self, event: ev.CycleStarted, stamped: Stamped) -> None:
        self._waited_s = 0.0
        self._stdout.line(cycle_started_line(stamped.cycle or 0))
        self._say(f"reason: {clean(event.reason, LINE_LIMIT)}")

    def _cycle_finished(self, event: ev.CycleFinished, stamped: Stamped) -> None:
        # One place prints errors: the command line for a single cycle; a loop goes on, so here.
        if self._watching and event.error is not None:
            self._say(*error_lines(event.error))
        outcome = outcome_of(event)
        if outcome:
            self._say(f"result: {outcome}")
        self._stdout.line(cycle_finished_line(stamped.cycle or 0, event.verdict, event.seconds))

    def _stage_started(self, event: ev.StageStarted, _: Stamped) -> None:
        if self._verbose:
            self._say(f"stage {event.stage} started")

    def _stage_finished(self, event: ev.StageFinished, _: Stamped) -> None:
        if event.ok:
            self._tell_stage(event, "ok")
        else:
            self._unfinished.append(event)

    def _tell_unfinished(self, then: ev.Event) -> None:
        # Whether a stage failed or was cut short is known by how the cycle ends, which is told next.
        is_cancelled = isinstance(then, ev.CycleFinished) and then.verdict is Verdict.CANCELLED
        unfinished, self._unfinished = self._unfinished, []
        for event in unfinished:
            self._tell_stage(event, "cancelled" if is_cancelled else "failed")

    def _tell_stage(self, event: ev.StageFinished, word: str) -> None:
        self._say(f"stage {event.stage} {word} in {format_seconds(event.seconds)}")

    def _progress(self, event: ev.BuildProgress, _: Stamped) -> None:
        if self._verbose:
            self._say(f"built {event.done} of {event.expected}, {event.running} running, {event.failed} failed")

    def _activity(self, event: ev.BuildActivity, _: Stamped) -> None:
        if event.state is ev.ActivityState.STARTED and (self._verbose or event.kind is not ev.ActivityKind.COPY):
            word = {"build": "building", "download": "downloading", "copy": "copying", "wait": "waiting:"}[event.kind]
            self._say(f"{word} {short_name(event.name)}")

    def _log(self, event: ev.BuildLog, _: Stamped) -> None:
        if self._verbose:
            self._say(f"{short_name(event.derivation or 'nix')}> {clean(event.line, LINE_LIMIT)}")

    def _diagnostic(self, event: ev.DiagnosticSeen, _: Stamped) -> None:
        self._stdout.line(problem_line(event))

    def _action(self, event: ev.ActionChosen, stamped: Stamped) -> None:
        line = f"action {event.action}: {clean('; '.join(event.reasons), MESSAGE_LIMIT)}"
        if stamped.cycle is None:
            self._stdout.line(line)  # a plan, and all that it is about
        else:
            self._say(line)

    def _flipped(self, event: ev.GenerationFlipped, _: Stamped) -> None:
        self._say(f"generation {'none' if event.from_ is None else event.from_} -> {event.to}")

    def _domain(self, event: ev.DomainState, _: Stamped) -> None:
        self._say(f"domain {clean(event.state, LINE_LIMIT)}")

    def _console(self, event: ev.Console, _: Stamped) -> None:
        if self._verbose:
            self._say(f"console> {clean(event.line, LINE_LIMIT)}")

    def _switch_log(self, event: ev.SwitchLog, _: Stamped) -> None:
        if self._verbose:
            self._say(f"switch> {clean(event.line, LINE_LIMIT)}")

    def _paused(self, event: ev.LoopPaused, _: Stamped) -> None:
        held = f", {files_waiting(event.waiting)}" if event.waiting else ": saves start no cycles"
        self._say(f"paused{held}" if event.paused else "no longer paused")

    def _noted(self, event: ev.OrderNoted, _: Stamped) -> None:
        self._say(f"noted: then a {event.order}")

    def _waiting(self, event: ev.GuestWaiting, _: Stamped) -> None:
        if self._verbose or event.seconds - self._waited_s >= _WAITING_SAID_EVERY_S:
            self._waited_s = event.seconds
            self._say(f"waiting for the guest, attempt {event.attempt}, {format_seconds(event.seconds)}")

    def _check(self, event: ev.CheckFinished, stamped: Stamped) -> None:
        if stamped.cycle is None:
            for line in check_lines(event):
                self._stdout.line(line)
        elif self._verbose or event.ok is False:
            self._say(*check_lines(event))

    def _rolled_back(self, event: ev.RolledBack, _: Stamped) -> None:
        self._say(f"going back: generation {event.from_} -> {event.to}")

    def _probe(self, event: ProbeFinished, _: Stamped) -> None:
        self._stdout.line(findings.probe_line(event))

    def _finding(self, event: Finding, _: Stamped) -> None:
        for line in findings.finding_lines(event):
            self._stdout.line(line)

    def _notice(self, event: ev.Notice, _: Stamped) -> None:
        self._say(f"{event.severity}: {clean(event.message, MESSAGE_LIMIT)}")
        if event.hint is not None:
            self._say(f"  hint: {clean(event.hint, MESSAGE_LIMIT)}")

    def _status(self, event: ev.Status, stamped: Stamped) -> None:
        for line in status.text(event, stamped.guest).split("\n"):
            self._stdout.line(line)

    def _history(self, event: History, _: Stamped) -> None:
        for line in generations.lines(event):
            self._stdout.line(line)

    def _difference(self, event: Difference, _: Stamped) -> None:
        for line in difference.lines(event):
            self._stdout.line(line)

    def _definition(self, event: DefinitionChange, _: Stamped) -> None:
        for marked in difference.definition_lines(event):
            self._stdout.line(marked[1])

    _writers: ClassVar[dict[type[Any], Callable[[PlainSink, Any, Stamped], None]]] = {
        ev.LoopStarted: _loop_started,
        ev.LoopStopped: _loop_stopped,
        ev.ChangesSeen: _changes,
        ev.CycleStarted: _cycle_started,
        ev.CycleFinished: _cycle_finished,
        ev.StageStarted: _stage_started,
        ev.StageFinished: _stage_finished,
        ev.BuildProgress: _progress,
        ev.BuildActivity: _activity,
        ev.BuildLog: _log,
        ev.DiagnosticSeen: _diagnostic,
        ev.ActionChosen: _action,
        ev.GenerationFlipped: _flipped,
        ev.DomainState: _domain,
        ev.Console: _console,
        ev.GuestWaiting: _waiting,
        ev.SwitchLog: _switch_log,
        ev.LoopPaused: _paused,
        ev.OrderNoted: _noted,
        ev.CheckFinished: _check,
        ev.RolledBack: _rolled_back,
        ProbeFinished: _probe,
        Finding: _finding,
        ev.Notice: _notice,
        ev.Status: _status,
        History: _history,
        Difference: _difference,
        DefinitionChange: _definition,
    }
