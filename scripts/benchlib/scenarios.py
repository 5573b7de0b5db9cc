"""The scenarios: what is measured, and the bounds that the figures are held to."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from benchlib.series import Statistic, Unit


class Probe(Enum):
    """What can be measured; several scenarios may use one."""

    HAND = "the hand recipe on a domain made by hand"
    SAME = "the hand recipe on the domain that nixvm-loop defines"
    REBUILD = "a one-shot nixvm-loop rebuild"
    WATCH = "a cycle of a running nixvm-loop watch"
    SAVES = "saves during a running watch"
    STARTS = "short commands"
    IDLE = "a watch that has nothing to do"
    TREE = "a watch on a large tree"
    ROLLBACKS = "saves that do not boot"
    SWITCHES = "saves that need no boot"


RESTARTS: Final = frozenset({Probe.HAND, Probe.SAME, Probe.REBUILD, Probe.WATCH})
"""Those that restart a guest: measured in turns."""


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table.

    Attributes:
        series: Whose samples are shown.
        limit: What the statistic must not exceed, or with `against` the ratio; None where a figure is just shown.
        against: The series whose median the median is divided by.
    """

    title: str
    series: str
    unit: Unit = Unit.SECONDS
    statistic: Statistic = Statistic.MEDIAN
    limit: float | None = None
    against: str | None = None


@dataclass(frozen=True, slots=True)
class Scenario:
    """A question, the probes that answer it, and the rows that show the answer."""

    name: str
    title: str
    probes: tuple[Probe, ...]
    rows: tuple[Row, ...]


def _stages(arm: str, *names: str) -> tuple[Row, ...]:
    return tuple(Row(f"  {name}", f"{arm}: {name}") for name in names)


_RECIPE = ("build", "flip and define", "stop and start", "boot until ssh answers", "last ssh command")
_CYCLE = ("build", "flip", "domain", "boot", "verify")
_PROCESSOR = Row("a fixed piece of work, before each turn", "processor", Unit.MILLISECONDS)
_PERCENT = 0.01
_MIB = 2**20
_MS = 0.001

SCENARIOS: Final = (
    Scenario(
        "restart-rebuild",
        "save -> verified, one-shot rebuild",
        (Probe.HAND, Probe.SAME, Probe.REBUILD),
        (
            Row("hand recipe, its own domain", "hand"),
            *_stages("hand", *_RECIPE),
            Row("hand recipe, nixvm-loop's domain", "same", against="hand"),
            *_stages("same", *_RECIPE),
            Row("nixvm-loop rebuild, against the hand recipe", "rebuild", limit=0.80, against="hand"),
            Row("nixvm-loop rebuild, against the recipe on its domain", "rebuild", against="same"),
            *_stages("rebuild", "until the cycle starts", *_CYCLE, "between and after the stages"),
            _PROCESSOR,
        ),
    ),
    Scenario(
        "restart-watch",
        "save -> verified, running watch",
        (Probe.HAND, Probe.SAME, Probe.WATCH),
        (
            Row("hand recipe, its own domain", "hand"),
            Row("hand recipe, nixvm-loop's domain", "same", against="hand"),
            Row("nixvm-loop watch, against the hand recipe", "watch", limit=0.70, against="hand"),
            Row("nixvm-loop watch, against the recipe on its domain", "watch", against="same"),
            *_stages("watch", "until the cycle starts", *_CYCLE, "between and after the stages"),
            _PROCESSOR,
        ),
    ),
    Scenario(
        "own-share",
        "nixvm-loop's own share of a cycle",
        (Probe.REBUILD, Probe.WATCH),
        (
            Row("rebuild, from the program's start to its end", "rebuild: own share", limit=0.3),
            Row("watch, from the save to the verdict", "watch: own share", limit=0.3),
        ),
    ),
    Scenario(
        "save-to-nix",
        "save -> nix started",
        (Probe.SAVES,),
        (
            Row("median", "save to nix", Unit.MILLISECONDS, limit=100 * _MS),
            Row("95th percentile", "save to nix", Unit.MILLISECONDS, Statistic.P95, limit=200 * _MS),
        ),
    ),
    Scenario(
        "sshd-to-verified",
        "sshd listens -> verified",
        (Probe.REBUILD, Probe.WATCH),
        tuple(
            row
            for arm in ("rebuild", "watch")
            for row in (
                Row(f"{arm}, from the host key on the console, before", f"{arm}: announced to verified", limit=1.3),
                Row(f"{arm}, from sshd's first byte, after", f"{arm}: banner to verified", limit=1.3),
            )
        ),
    ),
    Scenario(
        "rollback",
        "a bad save -> the last good generation verified",
        (Probe.ROLLBACKS,),
        (
            Row("good save -> verified", "good save"),
            Row("bad save -> rolled back and verified", "bad save", limit=2.2, against="good save"),
            Row("the panic's line -> the rollback's start", "panic to rollback", statistic=Statistic.MAX, limit=2.0),
        ),
    ),
    Scenario(
        "switch",
        'save -> verified with mode = "auto", when nothing takes a boot',
        (Probe.HAND, Probe.SWITCHES),
        (
            Row("hand recipe, its own domain", "hand"),
            Row("nixvm-loop watch, against the hand recipe", "switch", limit=0.25, against="hand"),
            *_stages("switch", "until the cycle starts", "build", "decision", "flip", "switch", "verify"),
            Row("the same, above nix build's own time", "switch above the build", limit=1.5),
            Row(
                "the decision, less what guest and libvirt took",
                "switch: decision itself",
                Unit.MILLISECONDS,
                limit=50 * _MS,
            ),
            Row("the store's view made new, 200 new paths seen", "view of 200 paths", limit=0.5),
        ),
    ),
    Scenario(
        "unchanged",
        "a save that changes nothing in the system",
        (Probe.SWITCHES,),
        (
            Row("running watch, above the evaluation", "unchanged above the evaluation", limit=0.5),
            Row("one-shot rebuild, its start included", "unchanged rebuild", limit=1.3),
        ),
    ),
    Scenario(
        "help",
        "nixvm-loop --help",
        (Probe.STARTS,),
        (
            Row("python -c pass", "pass", Unit.MILLISECONDS),
            Row("nixvm-loop --help", "help", Unit.MILLISECONDS, limit=6, against="pass"),
        ),
    ),
    Scenario(
        "status",
        "nixvm-loop status, the guest running",
        (Probe.STARTS,),
        (Row("nixvm-loop status", "status", Unit.MILLISECONDS, limit=400 * _MS),),
    ),
    Scenario(
        "idle",
        "a watch that has nothing to do, the guest running",
        (Probe.IDLE,),
        tuple(
            row
            for output in ("json", "live")
            for row in (
                Row(f"-o {output}, share of a core", f"{output}: core", Unit.PERCENT, limit=0.5 * _PERCENT),
                Row(f"-o {output}, memory (RSS)", f"{output}: rss", Unit.MEBIBYTES, limit=90.0 * _MIB),
                Row(f"-o {output}, its own part of it (PSS)", f"{output}: pss", Unit.MEBIBYTES),
            )
        ),
    ),
    Scenario(
        "large-tree",
        "a git tree of 100,000 files",
        (Probe.TREE,),
        (
            Row("program's start -> loop_started, in the flake", "tree: start", limit=2.0),
            Row("program's start -> loop_started, by watch.paths", "tree: start by paths", limit=2.0),
            Row("checkout of 10,000 files: git's own time", "tree: checkout"),
            Row("checkout's end -> changes_seen", "tree: seen"),
            Row("paths in the change set", "tree: paths", Unit.COUNT),
            Row("cycles that came of it", "tree: cycles", Unit.COUNT, Statistic.MAX, limit=1),
        ),
    ),
)
