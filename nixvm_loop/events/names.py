"""What each event is called in its JSON."""

from __future__ import annotations

from typing import Any, Final

from nixvm_loop.events.findings import Finding, ProbeFinished
from nixvm_loop.events.generations import DefinitionChange, Difference, History
from nixvm_loop.events.types import (
    ActionChosen,
    BuildActivity,
    BuildLog,
    BuildProgress,
    ChangesSeen,
    CheckFinished,
    Console,
    CycleFinished,
    CycleStarted,
    DiagnosticSeen,
    DomainState,
    GenerationFlipped,
    GuestWaiting,
    LoopPaused,
    LoopStarted,
    LoopStopped,
    Notice,
    OrderNoted,
    RolledBack,
    StageFinished,
    StageStarted,
    Status,
    SwitchLog,
)

TYPE_NAMES: Final[dict[type[Any], str]] = {
    LoopStarted: "loop_started",
    ChangesSeen: "changes_seen",
    CycleStarted: "cycle_started",
    StageStarted: "stage_started",
    BuildProgress: "build_progress",
    BuildActivity: "build_activity",
    BuildLog: "build_log",
    DiagnosticSeen: "diagnostic",
    StageFinished: "stage_finished",
    ActionChosen: "action_chosen",
    GenerationFlipped: "generation_flipped",
    DomainState: "domain_state",
    Console: "console",
    GuestWaiting: "guest_waiting",
    SwitchLog: "switch_log",
    CheckFinished: "check_finished",
    RolledBack: "rolled_back",
    ProbeFinished: "probe_finished",
    Finding: "finding",
    Notice: "notice",
    Status: "status",
    History: "history",
    Difference: "difference",
    DefinitionChange: "definition_change",
    CycleFinished: "cycle_finished",
    LoopPaused: "loop_paused",
    OrderNoted: "order_noted",
    LoopStopped: "loop_stopped",
}
