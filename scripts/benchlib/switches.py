"""Saves that need no boot: a live switch, or nothing at all."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Final

from benchlib.desk import Desk, created, replace
from benchlib.series import Interval, Series, covered_s
from benchlib.tool import Arrival, Tool, first, stage_seconds

if TYPE_CHECKING:
    from pathlib import Path

ROUNDS: Final = 8
_REST_S: Final = 1.0
_PATHS: Final = 200
_PACKAGE: Final = "p{number} = ''mkdir $out; echo {number} of {turn} >$out/text'';"


def measure(top: Path, series: Series) -> None:
    """Switch, save what changes nothing, and switch to a system with many new paths."""
    desk = created(top, "switches", mode="auto")
    tool = Tool(desk.folder, "watch")
    try:
        tool.until(lambda arrival: arrival.is_a("cycle_finished"))
        for number in range(ROUNDS + 1):
            time.sleep(_REST_S)
            text = desk.edited(f"switch {number}")
            began_s, events = _saved(desk, tool, text, "ok")
            if number:  # one to warm up
                _add(series, tool, began_s, events)
            time.sleep(_REST_S)
            began_s, events = _saved(desk, tool, f"{text}# {number}\n", "unchanged")
            if number:
                whole_s = events[-1].at_s - began_s
                series.add("unchanged above the evaluation", whole_s - stage_seconds(events)["eval"])
        _many_paths(desk, tool, series)
    finally:
        tool.stop()
    for _ in range(ROUNDS):
        time.sleep(_REST_S)
        rebuild = Tool(desk.folder, "rebuild")
        rebuild.cycle("unchanged")
        series.add("unchanged rebuild", rebuild.ended() - rebuild.started_s)


def _saved(desk: Desk, tool: Tool, text: str, verdict: str) -> tuple[float, tuple[Arrival, ...]]:
    began_s = time.monotonic()
    replace(desk.configuration, text)
    return began_s, tool.cycle(verdict)


def _add(series: Series, tool: Tool, began_s: float, events: tuple[Arrival, ...]) -> None:
    stages = stage_seconds(events)
    whole_s = events[-1].at_s - began_s
    built_s = next(one.at_s for one in events if one.is_a("stage_finished") and one.event["stage"] == "build")
    series.add("switch", whole_s)
    series.add_all("switch", {stage: stages[stage] for stage in ("build", "flip", "switch", "verify")})
    series.add("switch: until the cycle starts", first(events, "cycle_started").at_s - began_s)
    deciding = Interval(built_s, first(events, "action_chosen").at_s)
    series.add("switch: decision", deciding.seconds)
    asking = [wait.when for wait in tool.waits() if wait.when.end_s > built_s]
    series.add("switch: decision itself", deciding.seconds - covered_s(deciding, asking))
    series.add("switch above the build", whole_s - stages["build"])


def _many_paths(desk: Desk, tool: Tool, series: Series) -> None:
    for turn in range(3):
        packages = " ".join(_PACKAGE.format(number=number, turn=turn) for number in range(_PATHS))
        text = re.sub(r"packages = \{[^}]*\};", f"packages = {{ {packages} }};", desk.edited("many"))
        _saved(desk, tool, text, "ok")
        views = [wait.when.seconds for wait in tool.waits() if wait.kind == "store view"]
        series.add("view of 200 paths", views[-1])
