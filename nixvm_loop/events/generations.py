"""What `history`, `diff`, `adopt` and `release` tell. Keys are a public interface: add, never rename."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from nixvm_loop.model.values import Action, Verdict  # noqa: TC001  # the decoder reads the annotations


class BootedSource(StrEnum):
    """Who says which system the guest booted."""

    GUEST = "guest"
    LAST_SEEN = "last_seen"  # the guest, when it was last asked
    LIBVIRT = "libvirt"  # its domain is off, so nothing is


@dataclass(frozen=True, slots=True)
class GenerationInfo:
    """One generation of `history`.

    Attributes:
        created: ISO 8601 in UTC.
        changes: The paths whose change led to it; empty when it was made for another reason.
        dirty: Whether tracked files differed from `revision`.
        console: The file with what its last boot said.
        runs: Whether the guest runs it now: what it booted, or was switched to live since.
        problem: What is wrong with it; whatever cannot be known then is null.
    """

    number: int
    created: str | None
    age_seconds: float | None
    verdict: Verdict | None
    action: Action | None
    reason: str | None
    changes: tuple[str, ...]
    revision: str | None
    dirty: bool | None
    cycle: int | None
    label: str | None
    toplevel: str | None
    kernel: str | None
    initrd: str | None
    cmdline: str | None
    console: str | None
    built: bool
    current: bool
    booted: bool
    runs: bool
    last_good: bool
    problem: str | None


@dataclass(frozen=True, slots=True)
class History:
    """All generations, the newest first.

    Attributes:
        built: The newest completed generation.
        booted: The generation whose system the guest booted; null when nothing runs or no generation has that system.
        booted_source: Null when nothing is known.
        booted_age_seconds: Since the guest said so.
        booted_problem: Why the guest itself does not say it now.
        problems: What is wrong in the state directory beside the generations.
    """

    built: int | None
    current: int | None
    last_good: int | None
    booted: int | None
    booted_system: str | None
    booted_source: BootedSource | None
    booted_age_seconds: float | None
    booted_problem: str | None
    problems: tuple[str, ...]
    generations: tuple[GenerationInfo, ...]


class ChangeKind(StrEnum):
    """What happened to something from one generation to another."""

    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class Change:
    """A file below `etc`, or a unit, that is not the same; a name ending in `/` is a whole folder."""

    name: str
    change: ChangeKind


@dataclass(frozen=True, slots=True)
class Difference:
    """From one generation to another.

    Attributes:
        units: Of systemd's system manager; `TARGET.wants/UNIT` for a unit that is or was enabled there.
        etc: The other files below `etc`, compared by content.
        etc_incomplete: Why not every file was compared.
        closure: The lines of `nix store diff-closures`, which leaves out what differs by less than 8 KiB.
    """

    before: int
    after: int
    toplevel_before: str
    toplevel_after: str
    kernel_before: str
    kernel_after: str
    initrd_before: str
    initrd_after: str
    parameters_added: tuple[str, ...]
    parameters_removed: tuple[str, ...]
    parameters_reordered: bool
    units: tuple[Change, ...]
    etc: tuple[Change, ...]
    etc_incomplete: str | None
    closure: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DefinitionChange:
    """What would become of a domain's definition.

    Attributes:
        lines: A unified diff of its XML, without passwords.
    """

    domain: str
    lines: tuple[str, ...]
