"""The live region as a value: view state, size and time in, lines of styled text out. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.text import Text

from nixvm_loop.events.types import ActivityKind
from nixvm_loop.model.units import format_bytes, format_seconds
from nixvm_loop.model.values import Action, Stage, Verdict
from nixvm_loop.present.layout import Cut, Section, fit, pack, spread, stack
from nixvm_loop.present.words import amount, files_waiting, outcome_details, outcome_word

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from nixvm_loop.events.types import CheckFinished, DiagnosticSeen
    from nixvm_loop.present.state import ActivityView, CycleView, FinishedCycle, StageView, ViewState

_RULE_FROM_HEIGHT = 12
_NAME_CELLS = 24
_NAME_SHARE = 3
_SECONDS_CELLS = 6
VERDICT_MARKS = {
    Verdict.OK: ("✓", "green"),
    Verdict.FAILED: ("✗", "bold red"),
    Verdict.CANCELLED: ("-", "dim"),
    Verdict.UNCHANGED: ("=", "green"),
}
OUTCOME_MARKS = {
    "ok": ("✓", "green"),
    "failed": ("✗", "bold red"),
    "warning": ("!", "yellow"),
    "not checked": ("○", "dim"),
}


def render(state: ViewState, width: int, height: int, now: datetime) -> Group:
    """The live region for a terminal of this size; it is at most `height - 1` lines high."""
    return Group(*frame(state, width, height, now))


def frame(state: ViewState, width: int, height: int, now: datetime) -> list[Text]:
    """The lines of the live region, each at most `width` cells wide."""
    rule = [Section([Text("─" * width, style="dim")], rank=9, least=1)] if height >= _RULE_FROM_HEIGHT else []
    last = Section(_last_cycles(state.last, width), rank=8, least=1)
    if state.cycle is None:
        body = [Section([_idle(state, width)], rank=0, least=1)]
    else:
        body = _running(state, state.cycle, width, now)
    return [fit(line, width) for line in stack([*rule, *body, last], height - 1)]


def stages_of(cycle: CycleView) -> tuple[Stage, ...]:
    """The stages of a cycle in order; `build` is shown by its parts where they are known."""
    parts: tuple[Stage, ...] = (Stage.EVAL, Stage.REALISE)
    if cycle.stage(Stage.BUILD) is not None and not any(cycle.stage(part) for part in parts):
        parts = (Stage.BUILD,)
    switched = cycle.action is Action.SWITCH or cycle.stage(Stage.SWITCH) is not None
    restarted = not switched or cycle.action is Action.RESTART
    live: tuple[Stage, ...] = (Stage.SWITCH,) if switched else ()
    boot: tuple[Stage, ...] = (Stage.DOMAIN, Stage.BOOT) if restarted else ()
    return (*parts, Stage.FLIP, *live, *boot, Stage.VERIFY)


def _stage_item(stage: Stage, view: StageView | None, now: datetime) -> Text:
    if view is None:
        return Text(f"○ {stage}", style="dim")
    if view.ok is None:
        return Text.assemble(("● ", "cyan"), (str(stage), "bold"), f" {format_seconds(_since(view.started, now))}")
    mark, style = ("✓ ", "green") if view.ok else ("✗ ", "bold red")
    return Text.assemble((mark, style), str(stage), (f" {format_seconds(view.seconds or 0.0)}", "dim"))


def _idle(state: ViewState, width: int) -> Text:
    mark, style = VERDICT_MARKS[state.last[0].verdict] if state.last else ("○", "dim")
    parts = [Text.assemble((f"{mark} ", style), (state.guest or "nixvm-loop", "bold"))]
    if state.domain_state is not None:
        parts.append(Text(f"domain {state.domain_state}", style="" if state.domain_state == "running" else "yellow"))
    if state.generation is not None:
        parts.append(Text(f"generation {state.generation}"))
    left = Text(" · ").join(parts)
    if not state.watching:
        return left
    waiting = _paused(state.held) if state.paused else _waiting(state.files)
    return spread(left, next((text for text in waiting if left.cell_len + text.cell_len < width), waiting[-1]), width)


def _waiting(files: int) -> tuple[Text, ...]:
    return Text(f"waiting for changes in {files} files", style="dim"), Text("waiting", style="dim")


def _paused(saved: int) -> tuple[Text, ...]:
    """In full, and for narrow terminals."""
    held = f", {files_waiting(saved)}" if saved else ""
    return tuple(Text(text, style="yellow") for text in (f"paused{held}: p goes on", f"paused{held}", "paused"))


def _running(state: ViewState, cycle: CycleView, width: int, now: datetime) -> list[Section]:
    title = Text.assemble(
        (state.guest or "nixvm-loop", "bold"), f"  cycle {cycle.number}", (f"  {cycle.reason}", "dim")
    )
    header = spread(title, Text(format_seconds(_since(cycle.started, now)), style="bold"), width)
    root = state.roots[0] if state.roots else None
    checks = _checks(cycle.checks, width)
    problems = _problems(cycle.diagnostics, root)
    booting = _booting(cycle)
    items = [_stage_item(stage, cycle.stage(stage), now) for stage in stages_of(cycle)]
    stages = min(pack(items, width), pack(items, width, gap=" "), key=len)
    return [
        Section([header], rank=0, least=1),
        Section(stages, rank=1, least=4),
        Section(_newer(state.newer, root), rank=3, least=1),
        Section([Text(f"then: a {state.then}", style="cyan")] if state.then else [], rank=3, least=1),
        Section(_action(cycle), rank=6, least=1),
        Section(problems, rank=2, least=4),
        Section(_building(cycle, width, now), rank=5, least=3),
        Section(booting, rank=5, least=4, cut=Cut.HEAD),
        Section(checks, rank=4, least=3),
    ]


def _newer(paths: Sequence[str], root: str | None) -> list[Text]:
    if not paths:
        return []
    others = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    return [Text(f"saved meanwhile: {_below(paths[0], root)}{others}", style="cyan")]


def _action(cycle: CycleView) -> list[Text]:
    lines = []
    if cycle.action is not None:
        style = "bold" if cycle.action is not Action.NONE else "dim"
        lines.append(Text.assemble((str(cycle.action), style), (f": {'; '.join(cycle.reasons)}", "dim")))
    if cycle.rolled_back_to is not None:
        lines.append(Text(f"back to generation {cycle.rolled_back_to}", style="yellow"))
    return lines


def _problems(diagnostics: Sequence[DiagnosticSeen], root: str | None) -> list[Text]:
    lines = []
    for one in diagnostics:
        style = "bold red" if one.severity == "error" else "yellow"
        place = f"{_below(one.file, root)}:{one.line}:{one.column}"
        lines.append(Text.assemble((f"{one.severity} ", style), (place, "bold"), f": {one.message}"))
    return lines


def _checks(checks: Sequence[CheckFinished], width: int) -> list[Text]:
    failed = [line for check in checks if check.ok is False for line in check_block(check)]
    return [*failed, *pack([_check_item(check) for check in checks if check.ok is not False], width)]


def _check_item(check: CheckFinished) -> Text:
    mark, style = OUTCOME_MARKS[outcome_word(check)]
    return Text.assemble((f"{mark} ", style), (check.check, "dim"))


def check_block(check: CheckFinished) -> list[Text]:
    """A check that did not pass, with what was expected, what was seen, and what to do."""
    mark, style = OUTCOME_MARKS[outcome_word(check)]
    return [
        Text.assemble((f"{mark} ", style), (check.check, "bold")),
        *(Text(f"  {line}") for line in outcome_details(check)),
    ]


def _building(cycle: CycleView, width: int, now: datetime) -> list[Text]:
    realise, evaluation = cycle.stage(Stage.REALISE), cycle.stage(Stage.EVAL)
    running = [view for view in (realise, evaluation, cycle.stage(Stage.BUILD)) if view is not None and view.ok is None]
    if not running:
        return []
    summary = _progress(cycle)
    lines = [summary] if summary.plain else []
    lines += [_activity(view, width, now) for view in cycle.activities]
    if not cycle.activities and cycle.nix_line is not None:
        lines.append(Text(f"  {cycle.nix_line}", style="dim"))
    # As many lines as were ever needed, so that what stands below does not jump.
    lines += [Text()] * (cycle.most_activities - len(cycle.activities))
    return lines


def _progress(cycle: CycleView) -> Text:
    progress = cycle.progress
    parts = []
    if progress.expected:
        parts.append(f"{progress.done} of {progress.expected} built")
    if progress.running:
        parts.append(f"{progress.running} running")
    if progress.fetched:
        parts.append(f"{progress.fetched} downloaded ({format_bytes(progress.fetched_bytes)})")
    text = Text(" · ".join(parts))
    if progress.failed:
        text = Text(" · ").join([text, Text(f"{progress.failed} failed", style="bold red")])
    return text


def _activity(view: ActivityView, width: int, now: datetime) -> Text:
    name_cells = min(_NAME_CELLS, max(width // _NAME_SHARE, 1))
    marks = {ActivityKind.BUILD: "▸", ActivityKind.DOWNLOAD: "↓", ActivityKind.COPY: "→", ActivityKind.WAIT: "…"}
    name = fit(Text(view.name), name_cells)
    name.pad_right(name_cells - name.cell_len)
    since = format_seconds(_since(view.started, now)).rjust(_SECONDS_CELLS)
    line = Text.assemble((f"{marks[view.kind]} ", "cyan"), name, (f" {since}  ", "dim"))
    if view.kind is not ActivityKind.BUILD:
        return line.append(amount(view.done, view.expected))
    return line.append(f"{view.phase}  " if view.phase else "").append(view.line or "", style="dim")


def _booting(cycle: CycleView) -> list[Text]:
    boot = cycle.stage(Stage.BOOT)
    domain = cycle.stage(Stage.DOMAIN)
    starts = domain is not None and domain.ok is None and bool(cycle.console)
    switch = cycle.stage(Stage.SWITCH)
    switches = switch is not None and switch.ok is None
    if not starts and not switches and (boot is None or boot.ok is True):
        return []
    lines = [Text.assemble(("│ ", "cyan"), (line, "dim")) for line in cycle.console]
    if cycle.waiting is not None:
        waited = f"waiting for the guest, attempt {cycle.waiting.attempt}, {format_seconds(cycle.waiting.seconds)}"
        lines.append(Text(waited))
    return lines


def _last_cycles(last: Sequence[FinishedCycle], width: int) -> list[Text]:
    if not last:
        return []
    label = Text("last", style="dim")
    items = [_last_item(one) for one in last]
    return pack([label, *items], width, gap="   ")[:1]


def _last_item(one: FinishedCycle) -> Text:
    mark, style = VERDICT_MARKS[one.verdict]
    done = f" {one.action}" if one.action is not None else ""
    return Text.assemble((f"{mark} ", style), (f"{one.number} ", ""), (f"{format_seconds(one.seconds)}{done}", "dim"))


def _below(path: str, root: str | None) -> str:
    return path.removeprefix(f"{root}/") if root else path


def _since(start: datetime, now: datetime) -> float:
    return max((now - start).total_seconds(), 0.0)
