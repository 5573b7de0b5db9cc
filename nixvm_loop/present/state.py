"""What the screen knows, as frozen values. All text in here has been made harmless."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from nixvm_loop.events.types import ActivityKind, CheckFinished, DiagnosticSeen, ErrorInfo
    from nixvm_loop.model.values import Action, Stage, Verdict


@dataclass(frozen=True, slots=True)
class StageView:
    """A stage; `seconds` and `ok` are None while it runs."""

    stage: Stage
    started: datetime
    seconds: float | None = None
    ok: bool | None = None


@dataclass(frozen=True, slots=True)
class ActivityView:
    """A derivation being built, a download or a copy that is under way; `done` and `expected` are bytes."""

    id: int
    kind: ActivityKind
    name: str
    started: datetime
    phase: str | None = None
    line: str | None = None
    done: int | None = None
    expected: int | None = None


@dataclass(frozen=True, slots=True)
class ProgressView:
    """Nix's own count of derivations, and what was downloaded to the end."""

    done: int = 0
    expected: int = 0
    running: int = 0
    failed: int = 0
    fetched: int = 0
    fetched_bytes: int = 0


@dataclass(frozen=True, slots=True)
class WaitingView:
    """The guest has not answered yet."""

    attempt: int
    seconds: float


@dataclass(frozen=True, slots=True)
class CycleView:
    """The cycle under way.

    Attributes:
        most_activities: How many activities ran at once so far; keeps the screen's height steady.
        nix_line: What Nix itself said last.
        console: The last lines of the guest's console.
    """

    number: int
    reason: str
    started: datetime
    stages: tuple[StageView, ...] = ()
    activities: tuple[ActivityView, ...] = ()
    most_activities: int = 0
    progress: ProgressView = ProgressView()
    nix_line: str | None = None
    action: Action | None = None
    reasons: tuple[str, ...] = ()
    console: tuple[str, ...] = ()
    waiting: WaitingView | None = None
    checks: tuple[CheckFinished, ...] = ()
    diagnostics: tuple[DiagnosticSeen, ...] = ()
    rolled_back_to: int | None = None

    def stage(self, stage: Stage) -> StageView | None:
        """What is known of `stage`, None before it began."""
        return next((view for view in self.stages if view.stage is stage), None)


@dataclass(frozen=True, slots=True)
class FinishedCycle:
    """A cycle that ended, and when; `view` is what was known of it."""

    number: int
    verdict: Verdict
    action: Action | None
    generation: int | None
    seconds: float
    at: datetime
    error: ErrorInfo | None
    view: CycleView | None


@dataclass(frozen=True, slots=True)
class ViewState:
    """Everything that the screen shows.

    Attributes:
        paused: Whether it waits although there are saves.
        held: How many saved files wait in the pause.
        then: What was asked for by a key, and follows the running cycle.
        watching: Whether a loop runs; a single cycle's error is left to whoever started it.
        newer: Paths of a change set that came while a cycle ran.
        last: The last finished cycles, the newest first.
        notices: What was said lately, so that it is said once.
    """

    guest: str | None = None
    watching: bool = False
    paused: bool = False
    held: int = 0
    then: str = ""
    roots: tuple[str, ...] = ()
    files: int = 0
    domain_state: str | None = None
    generation: int | None = None
    newer: tuple[str, ...] = ()
    cycle: CycleView | None = None
    last: tuple[FinishedCycle, ...] = ()
    notices: tuple[str, ...] = ()
