"""The values that the stages hand on, under the names that DESIGN and the field give them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime  # noqa: TC003  # pydantic and dataclasses.fields read it at run time
from enum import StrEnum
from pathlib import Path  # noqa: TC003  # as above


class Stage(StrEnum):
    """A cycle's parts, in their order; `build` is made of `eval` and `realise`.

    After the flip, a guest that is switched live has `switch` in the place of `domain` and `boot`.
    """

    BUILD = "build"
    EVAL = "eval"
    REALISE = "realise"
    FLIP = "flip"
    SWITCH = "switch"
    DOMAIN = "domain"
    BOOT = "boot"
    VERIFY = "verify"


class Action(StrEnum):
    """What a cycle does to the guest."""

    NONE = "none"
    SWITCH = "switch"
    RESTART = "restart"


class Verdict(StrEnum):
    """How a cycle ended."""

    OK = "ok"
    FAILED = "failed"
    CANCELLED = "cancelled"
    UNCHANGED = "unchanged"


class Severity(StrEnum):
    """How much a message matters."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


class Outcome(StrEnum):
    """What a check showed; `NOT_CHECKED` when the guest lacks the means."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_CHECKED = "not checked"


class Area(StrEnum):
    """What `doctor` looks at, in its order."""

    HOST = "host"
    CONFIG = "config"
    DOMAIN = "domain"
    GUEST = "guest"
    LOGS = "logs"


class ProbeOutcome(StrEnum):
    """How one of `doctor`'s probes ended; `NOT_POSSIBLE` when what it asks did not answer, or was not there to ask."""

    OK = "ok"
    FINDING = "finding"
    NOT_POSSIBLE = "not possible"


@dataclass(frozen=True, slots=True)
class ChangeSet:
    """The paths (absolute) whose content changed since the last cycle, sorted."""

    paths: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class Artifacts:
    """What a build gave: toplevel, and read from it kernel, initrd and kernel parameters (without `init=`).

    Attributes:
        label: The system's name for people (`nixos-version` or the bootspec's label).
    """

    toplevel: Path
    kernel: Path
    initrd: Path
    kernel_params: tuple[str, ...]
    label: str


@dataclass(frozen=True, slots=True)
class System:
    """A system in the store as the decision about the action sees it: what of it only a boot puts in place.

    Attributes:
        cmdline: The whole command line that it boots, or booted, with.
        modules: The folder of the kernel's modules, None when it has none.
        release: The kernel's, as the modules' folder tells it.
        init_interface: What stage 1 and stage 2 agree on, as `init-interface-version` says.
        store_mounts: The entries of its fstab at `/nix` and below: device, mount point, type and options each.
        switchable: Whether it has a `switch-to-configuration`.
    """

    toplevel: Path
    cmdline: str
    kernel: Path
    initrd: Path
    modules: Path | None = None
    release: str | None = None
    init_interface: str = ""
    store_mounts: tuple[tuple[str, ...], ...] = ()
    switchable: bool = False


@dataclass(frozen=True, slots=True)
class Generation:
    """Artifacts and command line, kept and rooted under a number in the state directory."""

    number: int
    directory: Path
    toplevel: Path
    kernel: Path
    initrd: Path
    cmdline: str


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """A message at a place in the user's tree. `file` is absolute; line and column count from 1."""

    file: Path
    line: int
    column: int
    severity: Severity
    message: str


@dataclass(frozen=True, slots=True)
class Check:
    """One thing verified in the guest. `actual` is None only when nothing was seen.

    Attributes:
        id: DESIGN's check id, or the name of a user's check.
        required: Whether its failure means that the guest does not run what was built.
    """

    id: str
    outcome: Outcome
    required: bool
    expected: str
    actual: str | None
    hint: str | None = None

    @property
    def ok(self) -> bool | None:
        """True or False as the guest showed it, None when it could not be checked."""
        return None if self.outcome is Outcome.NOT_CHECKED else self.outcome is Outcome.PASSED


@dataclass(frozen=True, slots=True)
class SshTarget:
    """Where the guest's sshd is reached: an address that needs no further look-up by libvirt."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Decision:
    """The action for a cycle and the reasons for it, in words."""

    action: Action
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CycleRecord:
    """A finished cycle, as the journal keeps it.

    Attributes:
        store_used_bytes: How much the writable layer held when the guest was last looked at in this cycle, None if it
            was not; in the boot `boot_id`.
    """

    cycle: int
    started: datetime
    seconds: float
    verdict: Verdict
    action: Action | None
    generation: int | None
    exit_code: int
    error: str | None
    stage_seconds: dict[str, float] = field(default_factory=dict)
    store_used_bytes: int | None = None
    boot_id: str | None = None
