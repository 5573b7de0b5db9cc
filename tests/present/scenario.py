"""Scripted runs, to test the presenters and to look at them: a loop with good, bad and hostile cycles."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from nixvm_loop.events import types as ev
from nixvm_loop.events.types import ActivityKind, ActivityState, Stamped
from nixvm_loop.model.values import Action, Severity, Stage, Verdict

START = datetime(2026, 11, 23, 8, 0, 0, tzinfo=UTC)
ROOT = "/home/me/guest"
HOSTILE = (
    "\x1b]0;owned\x07\x1b[2J[bold red]red[/] \x9b31m\u202eabc\ud800\x1b[6n\x1bP+q\x1b\\ tail\x07\rfake\x1b]52;c;unended"
)


@dataclass
class Script:
    """Collects events; `at` moves the time on."""

    events: list[Stamped] = field(default_factory=list)
    seconds: float = 0.0
    cycle: int | None = None

    def say(self, *events: ev.Event, after: float = 0.1) -> None:
        """Each event comes `after` seconds after the one before."""
        for event in events:
            self.seconds += after
            time = START + timedelta(milliseconds=round(self.seconds * 1000))
            self.events.append(Stamped(len(self.events) + 1, time, "demo", self.cycle, event))

    def stage(self, stage: Stage, seconds: float, *inside: ev.Event, ok: bool = True) -> None:
        """A whole stage with what happens in it."""
        self.say(ev.StageStarted(stage), after=0.0)
        self.say(*inside, after=seconds / (len(inside) + 1))
        self.say(ev.StageFinished(stage, ok, seconds), after=seconds / (len(inside) + 1))


def activity(
    number: int,
    kind: ActivityKind,
    state: ActivityState,
    name: str,
    *,
    phase: str | None = None,
    done: int | None = None,
    expected: int | None = None,
) -> ev.BuildActivity:
    """A build activity with only what matters."""
    return ev.BuildActivity(number, kind, state, name, phase, done, expected)


def check(name: str, actual: str = "as expected") -> ev.CheckFinished:
    """A check that passed."""
    return ev.CheckFinished(name, True, True, "as expected", actual, None)


FAILED_CHECK = ev.CheckFinished(
    "store-overlay",
    False,
    True,
    "overlay on /nix/store, lower /nix/.ro-store",
    "virtiofs",
    "the overlay is missing from the guest's initrd",
)
BUILD_EVENTS: tuple[ev.Event, ...] = (
    ev.BuildProgress(0, 4, 1, 0),
    activity(1, ActivityKind.DOWNLOAD, ActivityState.STARTED, "/nix/store/" + "a" * 32 + "-openssl-3.0.13"),
    activity(1, ActivityKind.DOWNLOAD, ActivityState.RUNNING, "openssl-3.0.13", done=3_500_000, expected=6_200_000),
    activity(2, ActivityKind.BUILD, ActivityState.STARTED, "/nix/store/" + "b" * 32 + "-etc.drv"),
    activity(2, ActivityKind.BUILD, ActivityState.RUNNING, "etc", phase="buildPhase"),
    ev.BuildLog("etc", "copying /etc/ssh/sshd_config"),
    activity(1, ActivityKind.DOWNLOAD, ActivityState.STOPPED, "openssl-3.0.13", done=6_200_000, expected=6_200_000),
    activity(3, ActivityKind.BUILD, ActivityState.STARTED, "initrd-linux-6.1.119"),
    ev.BuildLog("initrd-linux-6.1.119", "\x1b[32mzstd\x1b[0m: compressing 4213 files"),
    ev.BuildProgress(1, 4, 2, 0),
    activity(2, ActivityKind.BUILD, ActivityState.STOPPED, "etc"),
    activity(3, ActivityKind.BUILD, ActivityState.STOPPED, "initrd-linux-6.1.119"),
    activity(4, ActivityKind.BUILD, ActivityState.STARTED, "nixos-system-demo-24.11"),
    ev.BuildProgress(3, 4, 1, 0),
    activity(4, ActivityKind.BUILD, ActivityState.STOPPED, "nixos-system-demo-24.11"),
    ev.BuildProgress(4, 4, 0, 0),
)
CONSOLE = tuple(
    ev.Console(f"[    {second}.{second}04217] {text}\r")
    for second, text in enumerate(
        (
            "Linux version 6.1.0 (Debian 6.1.119-1)",
            "virtiofs: mounting nix-store-share",
            "overlayfs: upperdir on tmpfs",
            "stage-2: /nix/store is read-only",
            "sshd: host key announced",
            "sshd: listening on port 22",
            "demo login:",
        )
    )
)


def good_cycle(script: Script, number: int, reason: str) -> None:
    """A cycle that restarts the guest and is verified."""
    script.cycle = number
    script.say(ev.CycleStarted(reason))
    script.say(ev.StageStarted(Stage.BUILD), after=0.0)
    script.stage(Stage.EVAL, 1.2)
    script.stage(Stage.REALISE, 3.2, *BUILD_EVENTS)
    script.say(ev.StageFinished(Stage.BUILD, True, 4.4), after=0.0)
    script.say(ev.ActionChosen(Action.RESTART, ("the kernel parameters changed", "the init changed")))
    script.stage(Stage.FLIP, 0.02, ev.GenerationFlipped(number - 1 or None, number))
    script.stage(Stage.DOMAIN, 0.5, ev.DomainState("shut off"), ev.DomainState("running"))
    script.stage(Stage.BOOT, 2.8, *CONSOLE[:4], ev.GuestWaiting(1, 1.2), *CONSOLE[4:], ev.GuestWaiting(2, 2.4))
    names = ("boot-id", "system", "cmdline", "kernel", "store-share", "store-share-readonly", "store-overlay")
    script.stage(Stage.VERIFY, 0.4, *(check(name) for name in names))
    script.say(ev.CycleFinished(Verdict.OK, Action.RESTART, number, 8.2, 0, None))
    script.cycle = None


def bad_cycle(script: Script, number: int) -> None:
    """A cycle whose configuration does not evaluate."""
    script.cycle = number
    script.say(ev.CycleStarted("guest.nix changed"), ev.StageStarted(Stage.EVAL))
    script.say(
        ev.DiagnosticSeen(f"{ROOT}/guest.nix", 12, 3, Severity.ERROR, "syntax error, unexpected '}'"),
        ev.StageFinished(Stage.EVAL, False, 0.3),
        ev.CycleFinished(
            Verdict.FAILED,
            None,
            None,
            0.5,
            3,
            ev.ErrorInfo("the configuration does not evaluate", "look at the place above", ("12| };", "  |   ^")),
        ),
    )
    script.cycle = None


def red_cycle(script: Script, number: int) -> None:
    """A cycle whose guest runs without its overlay."""
    script.cycle = number
    script.say(ev.CycleStarted("guest.nix changed"))
    script.stage(Stage.EVAL, 1.0)
    script.stage(Stage.REALISE, 0.4)
    script.stage(Stage.FLIP, 0.02, ev.GenerationFlipped(number - 1, number))
    script.stage(Stage.DOMAIN, 0.4)
    script.stage(Stage.BOOT, 3.0, *CONSOLE)
    script.stage(Stage.VERIFY, 0.4, check("boot-id"), check("system"), FAILED_CHECK, ok=False)
    error = ev.ErrorInfo("store-overlay: the guest does not run what was built", "see the check above", ())
    script.say(ev.CycleFinished(Verdict.FAILED, Action.RESTART, number, 5.3, 7, error))
    script.cycle = None


def hostile_cycle(script: Script, number: int) -> None:
    """A cycle in which everything that others write is hostile."""
    script.cycle = number
    script.say(
        ev.CycleStarted(HOSTILE),
        ev.StageStarted(Stage.REALISE),
        activity(9, ActivityKind.BUILD, ActivityState.STARTED, HOSTILE, phase=HOSTILE),
        ev.BuildLog(HOSTILE, HOSTILE),
        ev.BuildLog(None, "x" * 1_000_000),
        ev.ActionChosen(Action.RESTART, (HOSTILE,)),
        ev.DiagnosticSeen(HOSTILE, 1, 1, Severity.ERROR, HOSTILE),
        ev.DomainState(HOSTILE),
        ev.StageStarted(Stage.BOOT),
        ev.Console(HOSTILE),
        ev.Console("y" * 1_000_000),
        ev.CheckFinished(HOSTILE, False, True, HOSTILE, HOSTILE, HOSTILE),
        ev.Notice(Severity.WARNING, HOSTILE, HOSTILE),
        ev.CycleFinished(
            Verdict.FAILED, None, None, 1.0, 3, ev.ErrorInfo(HOSTILE, HOSTILE, (HOSTILE, "z" * 1_000_000))
        ),
    )
    script.cycle = None


def whole_run() -> list[Stamped]:
    """A loop with a good, a bad and a red cycle, and its end."""
    script = Script()
    script.say(ev.LoopStarted((ROOT,), 12), ev.DomainState("running"))
    good_cycle(script, 1, "first cycle")
    script.say(ev.ChangesSeen((f"{ROOT}/guest.nix",)))
    bad_cycle(script, 2)
    script.say(ev.ChangesSeen((f"{ROOT}/guest.nix", f"{ROOT}/flake.nix")))
    good_cycle(script, 3, "guest.nix and flake.nix changed")
    red_cycle(script, 4)
    script.say(ev.LoopStopped("interrupted"))
    return script.events


def hostile_run() -> list[Stamped]:
    """A loop with the hostile cycle."""
    script = Script()
    script.say(ev.LoopStarted((HOSTILE,), 1))
    hostile_cycle(script, 1)
    script.say(ev.LoopStopped(HOSTILE))
    return script.events
