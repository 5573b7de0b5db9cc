"""Which action a built system calls for, and why. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

from nixvm_loop.model.cmdline import without_init
from nixvm_loop.model.values import Action, Artifacts, Decision, Generation

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class Wish(Enum):
    """What the user asked for."""

    AS_NEEDED = auto()
    RESTART = auto()


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of the guest before the action.

    Attributes:
        running: Whether the domain runs.
        trouble: Why the running guest cannot be left as it is, None when it was found sound or was not asked.
        definition: What has to change in the domain's own definition, in words.
    """

    running: bool
    trouble: str | None = None
    definition: tuple[str, ...] = ()


def same_system(artifacts: Artifacts, cmdline: str, current: Generation | None) -> bool:
    """Whether the current generation is what was built, command line included."""
    return current is not None and current.toplevel == artifacts.toplevel and current.cmdline == cmdline


def decide(wish: Wish, artifacts: Artifacts, cmdline: str, current: Generation | None, seen: Seen) -> Decision:
    """The smallest sufficient action. Nothing is due only when a sound guest runs the built system."""
    reasons: list[str] = []
    if wish is Wish.RESTART:
        reasons.append("a restart was asked for")
    if not seen.running:
        reasons.append("the domain is not running")
    reasons += [f"the domain's definition changes: {change}" for change in seen.definition]
    if not same_system(artifacts, cmdline, current):
        reasons += _differences(artifacts, cmdline, current)
    elif seen.running and seen.trouble is not None:
        reasons.append(seen.trouble)
    if reasons:
        return Decision(Action.RESTART, tuple(reasons))
    return Decision(Action.NONE, ("the guest already runs the built system",))


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


def _differences(artifacts: Artifacts, cmdline: str, current: Generation | None) -> list[str]:
    if current is None:
        return ["this is the first generation"]
    found = []
    if artifacts.kernel != current.kernel:
        found.append(f"kernel {_package(current.kernel)} → {_package(artifacts.kernel)}")
    if artifacts.initrd != current.initrd:
        found.append(f"initrd {_package(current.initrd)} → {_package(artifacts.initrd)}")
    before, after = without_init(current.cmdline), without_init(cmdline)
    found += [f"kernel parameter added: {word}" for word in after if word not in before]
    found += [f"kernel parameter removed: {word}" for word in before if word not in after]
    if not found and before != after:
        found.append("the order of the kernel parameters changed")
    if artifacts.toplevel != current.toplevel:
        found.append(f"system {_hash(current.toplevel)} → {_hash(artifacts.toplevel)}")
    return found


def _package(file: Path) -> str:
    """`linux-6.12.8` of `/nix/store/HASH-linux-6.12.8/bzImage`, with the hash's start, since names often agree."""
    hash_part, _, name = file.parent.name.partition("-")
    return f"{name} ({hash_part[:7]})"


def _hash(path: Path) -> str:
    return path.name[:7]
