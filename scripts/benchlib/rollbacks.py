"""A bad save -> the last good generation verified again, in turns with good saves."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from benchlib.desk import Desk, created, replace
from benchlib.tool import Tool, first

if TYPE_CHECKING:
    from pathlib import Path

    from benchlib.series import Series

ROUNDS: Final = 4
_REST_S: Final = 1.0
_GOOD: Final = 'startup = "";'
_PANIC: Final = 'startup = "exit 1";'


def measure(top: Path, series: Series) -> None:
    """Save a system that boots, then one whose kernel panics, again and again."""
    desk = created(top, "rollbacks")
    tool = Tool(desk.folder, "watch")
    try:
        tool.until(lambda arrival: arrival.is_a("cycle_finished"))
        for number in range(ROUNDS):
            series.add("good save", _saved(desk, tool, desk.edited(f"good {number}").replace(_PANIC, _GOOD), "ok"))
            time.sleep(_REST_S)
            bad = desk.edited(f"bad {number}").replace(_GOOD, _PANIC)
            began_s = time.monotonic()
            replace(desk.configuration, bad)
            events = tool.cycle("failed")
            series.add("bad save", events[-1].at_s - began_s)
            panicked_s = first(events, "console", "Kernel panic").at_s
            series.add("panic to rollback", first(events, "rolled_back").at_s - panicked_s)
            time.sleep(_REST_S)
    finally:
        tool.stop()


def _saved(desk: Desk, tool: Tool, text: str, verdict: str) -> float:
    began_s = time.monotonic()
    replace(desk.configuration, text)
    return tool.cycle(verdict)[-1].at_s - began_s
