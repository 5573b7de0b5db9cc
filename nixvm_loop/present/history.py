"""What stays above the live region for good: finished cycles with their errors, notices, results. Pure.

These lines are not cut to the terminal's width, so that paths in them stay whole and can be clicked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from nixvm_loop.events import types as ev
from nixvm_loop.events.findings import Finding, ProbeFinished
from nixvm_loop.model.units import format_seconds
from nixvm_loop.model.values import ProbeOutcome, Severity, Verdict
from nixvm_loop.present import findings, status
from nixvm_loop.present.checks import row
from nixvm_loop.present.choice import Verbosity
from nixvm_loop.present.frame import OUTCOME_MARKS, VERDICT_MARKS, check_block, stages_of
from nixvm_loop.present.sanitise import clean
from nixvm_loop.present.words import LINE_LIMIT, MESSAGE_LIMIT, error_lines, problem_line, short_name

if TYPE_CHECKING:
    from nixvm_loop.events.types import DiagnosticSeen, Stamped
    from nixvm_loop.present.state import CycleView, FinishedCycle, ViewState

_ID_CELLS = 22
_PROBE_MARKS = {
    ProbeOutcome.OK: ("✓", "green"),
    ProbeOutcome.FINDING: ("✗", "bold red"),
    ProbeOutcome.NOT_POSSIBLE: ("○", "dim"),
}
_SEVERITY_STYLES = {Severity.ERROR: "bold red", Severity.WARNING: "yellow", Severity.INFO: "cyan"}


def history(before: ViewState, after: ViewState, stamped: Stamped, verbosity: Verbosity) -> list[Text]:
    """The permanent lines that an event adds, given the states before and after it."""
    event = stamped.event
    if isinstance(event, ev.CycleFinished):
        return finished_lines(after.last[0], show_error=after.watching)
    if isinstance(event, ev.Notice):
        return _notice(event) if after.notices is not before.notices else []
    if isinstance(event, ev.DiagnosticSeen):
        return [] if after.cycle is not None else [_problem(event)]
    if isinstance(event, ev.CheckFinished):
        return [] if after.cycle is not None else _check(event)
    if verbosity is Verbosity.VERBOSE and isinstance(event, ev.BuildLog | ev.Console | ev.SwitchLog):
        return [_said(event)]
    return _result(event, stamped)


def _result(event: ev.Event, stamped: Stamped) -> list[Text]:
    if isinstance(event, ev.Status):
        pairs = status.lines(event, stamped.guest)
        return [Text.assemble((f"{label:<{status.LABEL_WIDTH}}", "dim"), text) for label, text in pairs]
    if isinstance(event, ev.ActionChosen) and stamped.cycle is None:
        reasons = clean("; ".join(event.reasons), MESSAGE_LIMIT)
        return [Text.assemble((str(event.action), "bold"), f": {reasons}")]
    if isinstance(event, ProbeFinished):
        return _probe(event)
    if isinstance(event, Finding):
        return _finding(event)
    if isinstance(event, ev.LoopStopped):
        return [Text(f"stopped: {clean(event.reason, LINE_LIMIT)}", style="dim")]
    return []


def finished_lines(one: FinishedCycle, *, show_error: bool) -> list[Text]:
    """A finished cycle: its verdict, its stages' times, and whatever was wrong."""
    mark, style = VERDICT_MARKS[one.verdict]
    said = "" if one.action is None else f", {one.action}"
    said += "" if one.generation is None else f", generation {one.generation}"
    head = Text.assemble(
        (f"{mark} cycle {one.number} {one.verdict}", style),
        f" in {format_seconds(one.seconds)}{said}",
        (f"  {one.at.astimezone():%H:%M:%S}", "dim"),
    )
    lines = [head]
    if one.view is not None and one.view.stages:
        lines.append(_stages(one.view, one))
    if one.view is not None:
        lines += [_problem(diagnostic) for diagnostic in one.view.diagnostics]
        lines += [line for check in one.view.checks if check.ok is False for line in check_block(check)]
    if show_error and one.error is not None:
        lines += [_error_line(line) for line in error_lines(one.error) if line not in _problems_told(one)]
    return lines


def _problems_told(one: FinishedCycle) -> set[str]:
    """The error's first line, if it only says again what a problem line has said."""
    diagnostics = one.view.diagnostics if one.view is not None else ()
    return {f"error: {spot.file}:{spot.line}:{spot.column}: {spot.message}" for spot in diagnostics}


def _stages(view: CycleView, one: FinishedCycle) -> Text:
    unfinished = Text("- ", style="dim") if one.verdict is Verdict.CANCELLED else Text("✗ ", style="bold red")
    items = []
    for stage in stages_of(view):
        known = view.stage(stage)
        if known is not None:
            seconds = known.seconds if known.seconds is not None else (one.at - known.started).total_seconds()
            mark = Text() if known.ok else unfinished
            items.append(Text.assemble(mark, (f"{stage} {format_seconds(max(seconds, 0.0))}", "dim")))
    return Text("  ").join([Text(), *items])


def _problem(diagnostic: DiagnosticSeen) -> Text:
    line = Text(problem_line(diagnostic))
    place = f"{diagnostic.file}:{diagnostic.line}:{diagnostic.column}"
    line.stylize("bold", 0, len(place))
    line.stylize(_SEVERITY_STYLES[diagnostic.severity], len(place) + 2, len(place) + 2 + len(diagnostic.severity))
    return line


def _error_line(line: str) -> Text:
    if line.startswith("  | "):
        return Text(line, style="dim")
    label, _, rest = line.partition(":")
    return Text.assemble((f"{label}:", "bold red" if label == "error" else "cyan"), rest)


def _notice(event: ev.Notice) -> list[Text]:
    style = _SEVERITY_STYLES[event.severity]
    lines = [Text.assemble((f"{event.severity}: ", style), clean(event.message, MESSAGE_LIMIT))]
    if event.hint is not None:
        lines.append(Text.assemble(("hint: ", "cyan"), clean(event.hint, MESSAGE_LIMIT)))
    return lines


def _check(event: ev.CheckFinished) -> list[Text]:
    if event.ok is not True:
        return check_block(event)
    outcome, name, seen = row(event)
    mark, style = OUTCOME_MARKS[outcome]
    return [Text.assemble((f"{mark} ", style), f"{name:<{_ID_CELLS}}", (seen, "dim"))]


def _probe(event: ProbeFinished) -> list[Text]:
    line = Text(findings.probe_line(event))
    mark, style = _PROBE_MARKS[event.outcome]
    line.stylize(style, 0, len(event.outcome))
    return [Text.assemble((f"{mark} ", style), line)]


def _finding(event: Finding) -> list[Text]:
    head, *rest = findings.finding_lines(event)
    lines = [Text(head)]
    lines[0].stylize(_SEVERITY_STYLES[event.severity], 0, head.index(":"))
    for line in rest:
        label = line.index(":") + 1
        lines.append(Text.assemble((line[:label], "cyan"), line[label:]))
    return lines


def _said(event: ev.BuildLog | ev.Console | ev.SwitchLog) -> Text:
    if isinstance(event, ev.Console | ev.SwitchLog):
        who = "console" if isinstance(event, ev.Console) else "switch"
        return Text(f"{who}> {clean(event.line, LINE_LIMIT)}", style="dim")
    return Text(f"{short_name(event.derivation or 'nix')}> {clean(event.line, LINE_LIMIT)}", style="dim")
