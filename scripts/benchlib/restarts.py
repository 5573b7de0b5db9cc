"""Save -> verified, in turns: the hand recipe on two domains, one-shot `rebuild`, and a running `watch`."""

from __future__ import annotations

import itertools
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from benchlib.desk import Desk, as_created, by_hand, created, replace, run
from benchlib.scenarios import Probe
from benchlib.series import Interval, Series, covered_s
from benchlib.tool import REPO, Arrival, Tool, first, stage_seconds

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_ARMS: Final = (Probe.HAND, Probe.REBUILD, Probe.SAME, Probe.WATCH)
_STAGES: Final = ("build", "flip", "domain", "boot", "verify")
_HOST_KEY: Final = "nixvm-loop-host-key:"
_REST_S: Final = 1.0
_WORK: Final = 5_000_000


class Arm(Protocol):
    """One way from a save to a verified guest."""

    def turn(self, motd: str, series: Series) -> None:
        """Save an edit, wait for the guest, and add what it took."""
        ...


@dataclass(frozen=True, slots=True)
class Recipe:
    """The recipe that one follows by hand."""

    name: str
    desk: Desk
    key: Path

    def turn(self, motd: str, series: Series) -> None:
        """Save, then run the recipe."""
        desk = self.desk
        text = desk.edited(motd)
        began_s = time.monotonic()
        replace(desk.configuration, text)
        said = run(REPO / "scripts/lib/hand-recipe", desk.flake, desk.folder, desk.name, str(desk.port), self.key)
        series.add(self.name, time.monotonic() - began_s)
        marks = [line.split(" ", 1) for line in said.splitlines()]
        for (at, stage), (until, _) in itertools.pairwise(marks):
            series.add(f"{self.name}: {stage}", float(until) - float(at))


@dataclass(frozen=True, slots=True)
class Rebuild:
    """One-shot `rebuild`."""

    desk: Desk

    def turn(self, motd: str, series: Series) -> None:
        """Save, then run it, from its start to its end."""
        text = self.desk.edited(motd)
        began_s = time.monotonic()
        replace(self.desk.configuration, text)
        tool = Tool(self.desk.folder, "rebuild")
        events = tool.cycle("ok")
        _add(series, "rebuild", tool, events, Interval(began_s, tool.ended()))


@dataclass(slots=True)
class Watch:
    """A running `watch`."""

    desk: Desk
    tool: Tool = field(init=False)

    def __post_init__(self) -> None:
        self.tool = Tool(self.desk.folder, "watch")
        self.tool.until(lambda arrival: arrival.is_a("cycle_finished"))

    def turn(self, motd: str, series: Series) -> None:
        """Save, and wait for the verdict."""
        text = self.desk.edited(motd)
        began_s = time.monotonic()
        replace(self.desk.configuration, text)
        events = self.tool.cycle("ok")
        _add(series, "watch", self.tool, events, Interval(began_s, events[-1].at_s))


def _add(series: Series, name: str, tool: Tool, events: tuple[Arrival, ...], whole: Interval) -> None:
    stages = {stage: seconds for stage, seconds in stage_seconds(events).items() if stage in _STAGES}
    until_start_s = first(events, "cycle_started").at_s - whole.start_s
    rest_s = whole.seconds - until_start_s - sum(stages.values())
    series.add(name, whole.seconds)
    series.add_all(name, stages)
    series.add(f"{name}: until the cycle starts", until_start_s)
    series.add(f"{name}: between and after the stages", rest_s)
    waits = [wait for wait in tool.waits() if wait.when.end_s >= whole.start_s]
    others = [wait.when for wait in waits if wait.for_others]
    series.add(f"{name}: own share", whole.seconds - covered_s(whole, others))
    verified_s = events[-1].at_s
    series.add(f"{name}: announced to verified", verified_s - first(events, "console", _HOST_KEY).at_s)
    banner_s = next(wait.when.end_s for wait in waits if wait.kind == "sshd")
    series.add(f"{name}: banner to verified", verified_s - banner_s)


def measure(top: Path, arms: frozenset[Probe], rounds: int, series: Series, say: Callable[[str], None]) -> None:
    """Run the arms in turns; every round begins with another one, after one round that does not count."""
    with ExitStack() as stack:
        taking_part = _set_up(top, arms, stack, say)
        for number in range(rounds + 1):
            kept = series if number else Series()
            for probe in (*_ARMS[number % len(_ARMS) :], *_ARMS[: number % len(_ARMS)]):
                if probe in taking_part:
                    kept.add("processor", _fixed_work_s())
                    taking_part[probe].turn(f"{probe.name} {number}", kept)
                    time.sleep(_REST_S)
            say(f"round {number} of {rounds}" if number else "a round to warm up")


def _fixed_work_s() -> float:
    """How fast the processor is just now: a rented one varies although nothing else runs, and no load shows it."""
    began_s = time.perf_counter()
    sum(range(_WORK))
    return time.perf_counter() - began_s


def _set_up(top: Path, arms: frozenset[Probe], stack: ExitStack, say: Callable[[str], None]) -> dict[Probe, Arm]:
    say("setting up the guests")
    ready: dict[Probe, Arm] = {}
    if arms & {Probe.REBUILD, Probe.SAME}:
        model = created(top, "rebuild")
        if Probe.REBUILD in arms:
            ready[Probe.REBUILD] = Rebuild(model)
        if Probe.SAME in arms:
            ready[Probe.SAME] = Recipe("same", *as_created(top, "same", model))
    if Probe.HAND in arms:
        ready[Probe.HAND] = Recipe("hand", *by_hand(top, "hand"))
    if Probe.WATCH in arms:
        watch = Watch(created(top, "watch"))
        stack.callback(watch.tool.stop)
        ready[Probe.WATCH] = watch
    return ready
