"""The event union. Types and keys are a public interface: add, never rename."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime  # noqa: TC003  # the decoder reads the annotations
from enum import StrEnum
from typing import TypeAlias

from nixvm_loop.events.findings import Finding, ProbeFinished
from nixvm_loop.events.generations import DefinitionChange, Difference, History
from nixvm_loop.model.values import Action, Severity, Stage, Verdict  # noqa: TC001  # as above

SCHEMA = 1


class ActivityKind(StrEnum):
    """What Nix is busy with."""

    BUILD = "build"
    DOWNLOAD = "download"
    COPY = "copy"
    WAIT = "wait"


class ActivityState(StrEnum):
    """Where an activity stands."""

    STARTED = "started"
    RUNNING = "running"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class ErrorInfo:
    """An error as programs read it."""

    message: str
    hint: str | None
    details: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LoopStarted:
    """`watch` is up and looks at `roots`; `files` of them count."""

    roots: tuple[str, ...]
    files: int


@dataclass(frozen=True, slots=True)
class ChangesSeen:
    """A change set was taken."""

    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CycleStarted:
    """A cycle began, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class StageStarted:
    """A stage began."""

    stage: Stage


@dataclass(frozen=True, slots=True)
class BuildProgress:
    """Nix's own count of derivations."""

    done: int
    expected: int
    running: int
    failed: int


@dataclass(frozen=True, slots=True)
class BuildActivity:
    """One derivation, download or copy; `done` and `expected` are bytes, where known."""

    id: int
    kind: ActivityKind
    state: ActivityState
    name: str
    phase: str | None
    done: int | None
    expected: int | None


@dataclass(frozen=True, slots=True)
class BuildLog:
    """A line of a derivation's log; `derivation` is None when Nix itself spoke."""

    derivation: str | None
    line: str


@dataclass(frozen=True, slots=True)
class DiagnosticSeen:
    """A message at a place in the user's tree; `file` is absolute."""

    file: str
    line: int
    column: int
    severity: Severity
    message: str


@dataclass(frozen=True, slots=True)
class StageFinished:
    """A stage ended."""

    stage: Stage
    ok: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class ActionChosen:
    """What the cycle will do to the guest, and why."""

    action: Action
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GenerationFlipped:
    """`current` now names another generation; `from_` is None at the first."""

    from_: int | None
    to: int


@dataclass(frozen=True, slots=True)
class DomainState:
    """Libvirt's word on the domain: `running`, `paused`, `shut off`, `crashed`."""

    state: str


@dataclass(frozen=True, slots=True)
class Console:
    """A line of the guest's console."""

    line: str


@dataclass(frozen=True, slots=True)
class SwitchLog:
    """A line that `switch-to-configuration` printed in the guest."""

    line: str


@dataclass(frozen=True, slots=True)
class GuestWaiting:
    """The guest has not answered yet; `seconds` since its start."""

    attempt: int
    seconds: float


@dataclass(frozen=True, slots=True)
class CheckFinished:
    """A check; `ok` is null when the guest lacks the means, and `actual` says `not checked`."""

    check: str
    ok: bool | None
    required: bool
    expected: str
    actual: str | None
    hint: str | None


@dataclass(frozen=True, slots=True)
class RolledBack:
    """The way back to an older generation has begun; how it went, the cycle's end tells."""

    from_: int
    to: int


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that the user should know although nothing failed."""

    severity: Severity
    message: str
    hint: str | None


@dataclass(frozen=True, slots=True)
class Status:
    """What `status` knows without asking the guest; ages in seconds."""

    domain: str
    state: str
    domain_error: str | None
    built: int | None
    current: int | None
    booted: int | None
    booted_system: str | None
    runs: int | None
    runs_system: str | None
    booted_age_seconds: float | None
    last_verdict: Verdict | None
    last_cycle: int | None
    last_cycle_age_seconds: float | None
    last_error: str | None
    store_used_bytes: int | None
    store_size_bytes: int | None
    store_used_inodes: int | None
    store_inodes: int | None
    holder: str | None
    store_grown_bytes: int | None = None
    store_nearly_full: bool | None = None


@dataclass(frozen=True, slots=True)
class CycleFinished:
    """A cycle ended."""

    verdict: Verdict
    action: Action | None
    generation: int | None
    seconds: float
    exit_code: int
    error: ErrorInfo | None


@dataclass(frozen=True, slots=True)
class LoopPaused:
    """Saves start no cycles any more, or do so again, and how many saved files wait meanwhile."""

    paused: bool
    waiting: int


@dataclass(frozen=True, slots=True)
class OrderNoted:
    """What a key asked for during a cycle, and follows it: `cycle`, `restart` or `switch`. The last one counts."""

    order: str


@dataclass(frozen=True, slots=True)
class LoopStopped:
    """`watch` ended, and what ended it."""

    reason: str


Event: TypeAlias = (
    LoopStarted
    | ChangesSeen
    | CycleStarted
    | StageStarted
    | BuildProgress
    | BuildActivity
    | BuildLog
    | DiagnosticSeen
    | StageFinished
    | ActionChosen
    | GenerationFlipped
    | DomainState
    | Console
    | GuestWaiting
    | SwitchLog
    | CheckFinished
    | RolledBack
    | ProbeFinished
    | Finding
    | Notice
    | Status
    | History
    | Difference
    | DefinitionChange
    | CycleFinished
    | LoopPaused
    | OrderNoted
    | LoopStopped
)

Emit: TypeAlias = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class Stamped:
    """An event in its place: when, for which guest, in which cycle."""

    seq: int
    time: datetime
    guest: str | None
    cycle: int | None
    event: Event
