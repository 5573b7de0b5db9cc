"""Which action a built system calls for, and why; where to go back to when it fails. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

from nixvm_loop.model.cmdline import without_init
from nixvm_loop.model.settings import ApplyMode
from nixvm_loop.model.values import Action, Artifacts, Decision, Generation, System

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class Wish(Enum):
    """What the user asked for."""

    AS_NEEDED = auto()
    RESTART = auto()
    SWITCH = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What is known of the guest before the action.

    Attributes:
        running: Whether the domain runs.
        halted: What else it is when it is neither running nor off (`paused`, say).
        trouble: Why the running guest cannot be left as it is, None when it was found sound or was not asked.
        definition: What has to change in the domain's own definition, in words.
        current: The current generation's system, None before the first.
        booted: What the guest has booted, None when that is not known here or was not asked.
        runs: The toplevel that the guest runs now, likewise.
        cut_short: Whether the switch to the current generation was begun and never verified.
        root: Whether we are root in the guest, which a switch takes.
    """

    running: bool
    halted: str | None = None
    trouble: str | None = None
    definition: tuple[str, ...] = ()
    current: System | None = None
    booted: System | None = None
    runs: Path | None = None
    cut_short: bool = False
    root: bool = True


def same_system(artifacts: Artifacts, cmdline: str, current: Generation | None) -> bool:
    """Whether the current generation is what was built, command line included."""
    return current is not None and current.toplevel == artifacts.toplevel and current.cmdline == cmdline


def may_switch(wish: Wish, mode: ApplyMode) -> bool:
    """Whether the guest's own word is needed for the decision, since a live switch may be enough."""
    return wish is Wish.SWITCH or (wish is Wish.AS_NEEDED and mode is not ApplyMode.RESTART)


def decide(wish: Wish, mode: ApplyMode, built: System, seen: Seen) -> Decision:
    """The smallest sufficient action. Nothing is due only when a sound guest runs the built system."""
    current = seen.current
    unchanged = current is not None and (current.toplevel, current.cmdline) == (built.toplevel, built.cmdline)
    if not may_switch(wish, mode):
        due = _causes(wish, seen) + (_changes(current, built) if not unchanged else [])
        if not due and unchanged and seen.trouble is None:
            return Decision(Action.NONE, ("the guest already runs the built system",))
        trouble = [seen.trouble] if unchanged and seen.running and seen.trouble is not None else []
        return Decision(Action.RESTART, tuple(due + trouble))
    rests = seen.running and seen.trouble is None and not seen.definition and wish is Wish.AS_NEEDED
    if unchanged and rests and seen.runs == built.toplevel and not seen.cut_short:
        return Decision(Action.NONE, ("the guest already runs the built system",))
    due = _causes(wish, seen)
    if seen.running:
        due += _needs_boot(built, seen)
    elif not unchanged:
        due += _changes(current, built)
    if due:
        return Decision(Action.RESTART, tuple(due))
    return Decision(Action.SWITCH, (_why_switch(wish, built, seen),))


def _why_switch(wish: Wish, built: System, seen: Seen) -> str:
    if seen.runs is None or seen.runs == built.toplevel:
        return "a live switch was asked for" if wish is Wish.SWITCH else "the switch to it was never verified"
    return f"system {_hash(seen.runs)} → {_hash(built.toplevel)}, and nothing that takes a boot"


def withheld(wish: Wish, mode: ApplyMode, seen: Seen, decision: Decision) -> bool:
    """Whether a restart is due that is the user's to order: nothing but a live switch was allowed."""
    only_switch = wish is Wish.SWITCH or (wish is Wish.AS_NEEDED and mode is ApplyMode.SWITCH)
    is_on = seen.running or seen.halted is not None
    return only_switch and is_on and decision.action is Action.RESTART


def fallback(
    failed: int, current: Generation | None, good: Sequence[Generation], *, wanted: bool, redefined: bool
) -> Generation | str:
    """Where to go back to from a generation that failed, or in words why nowhere.

    `good` are the verified ones, the likeliest first; what was `current` before is taken if it is among them.
    `wanted` is the config's `rollback`; `redefined` says whether the domain's own definition had changed for it as
    well, so that the last good generation may come up in the former one even if it is what failed.
    """
    if not wanted:
        return "rollback is off, so the guest is left as it is"
    usable = [one for one in good if one.number != failed or redefined]
    if not usable:
        return "no other generation was ever verified, so there is none to go back to"
    return current if current is not None and current in usable else usable[0]


def _causes(wish: Wish, seen: Seen) -> list[str]:
    """Why a restart is due whatever was built."""
    found = ["a restart was asked for"] if wish is Wish.RESTART else []
    found += [] if seen.running else [f"the domain is {seen.halted or 'not running'}"]
    return found + [f"the domain's definition changes: {change}" for change in seen.definition]


def _changes(current: System | None, built: System) -> list[str]:
    """What the built system has that the current generation has not."""
    if current is None:
        return ["this is the first generation"]
    found = boot_changes(current, built)
    if built.toplevel != current.toplevel:
        found.append(f"system {_hash(current.toplevel)} → {_hash(built.toplevel)}")
    return found


def _needs_boot(built: System, seen: Seen) -> list[str]:
    """Why the built system cannot be put in place of the one that runs."""
    if seen.booted is None:
        return [seen.trouble or "what the guest has booted is not known here"]
    if seen.trouble is not None and seen.runs == built.toplevel:
        return [seen.trouble]
    found = boot_changes(seen.booted, built)
    found += [] if built.switchable else ["the system has no switch-to-configuration"]
    return found if seen.root else [*found, "a live switch takes root, and ssh.user is another"]


def boot_changes(old: System, new: System) -> list[str]:
    """How two systems differ in what only a boot puts in place, in words with old and new."""
    found = []
    if new.kernel != old.kernel:
        found.append(f"kernel {_versions(old, new)}")
    elif new.modules != old.modules:
        found.append(f"kernel modules {_file(old.modules)} → {_file(new.modules)}")
    if new.initrd != old.initrd:
        found.append(f"initrd {_file(old.initrd.parent)} → {_file(new.initrd.parent)}")
    before, after = without_init(old.cmdline), without_init(new.cmdline)
    found += [f"kernel parameter added: {word}" for word in (Counter(after) - Counter(before)).elements()]
    found += [f"kernel parameter removed: {word}" for word in (Counter(before) - Counter(after)).elements()]
    if before != after and sorted(before) == sorted(after):
        found.append("the order of the kernel parameters changed")
    if new.init_interface != old.init_interface:
        found.append(f"init-interface-version {old.init_interface or 'none'} → {new.init_interface or 'none'}")
    gone, come = (set(one.store_mounts) - set(two.store_mounts) for one, two in ((old, new), (new, old)))
    found += [f"mount of the store removed: {' '.join(entry)}" for entry in sorted(gone)]
    found += [f"mount of the store added: {' '.join(entry)}" for entry in sorted(come)]
    return found


def _versions(old: System, new: System) -> str:
    if old.release and new.release and old.release != new.release:
        return f"{old.release} → {new.release}"
    return f"{_file(old.kernel.parent)} → {_file(new.kernel.parent)}"


def _file(path: Path | None) -> str:
    """`linux-6.12.8 (1a2b3c4)` of a store path, with the hash's start, since names often agree."""
    if path is None:
        return "none"
    hash_part, _, name = path.name.partition("-")
    return f"{name} ({hash_part[:7]})"


def _hash(path: Path) -> str:
    return path.name[:7]
