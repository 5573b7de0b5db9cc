"""Which generations are compared, which one a guest runs, and what differs in what they boot with. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from nixvm_loop.events.generations import Change, ChangeKind
from nixvm_loop.model.cmdline import without_init

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nixvm_loop.model.values import Generation

_UNITS: Final = "systemd/system/"
_ENABLING: Final = (".wants", ".requires", ".upholds")


@dataclass(frozen=True, slots=True)
class Parameters:
    """How kernel command lines differ, `init=` left out."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    reordered: bool


def parameters(before: str, after: str) -> Parameters:
    """What became of the kernel parameters."""
    old, new = without_init(before), without_init(after)
    added = tuple(word for word in new if word not in old)
    removed = tuple(word for word in old if word not in new)
    return Parameters(added, removed, reordered=not added and not removed and old != new)


def usual_base(numbers: Sequence[int], current: int | None, last_good: int | None) -> int | None:
    """What the newest of `numbers` (sorted) is compared with: the last good, the current, else the one before it."""
    older = numbers[:-1]
    return next((number for number in (last_good, current) if number in older), older[-1] if older else None)


def booted_one(known: Iterable[Generation], system: str, cmdline: str | None, current: int | None) -> int | None:
    """The generation that a guest booted: of those with this system, the one with this command line.

    What both cannot tell apart, as a system that came, went and came again, is taken for the current, else the newest.
    """
    same = [generation for generation in known if str(generation.toplevel) == system]
    exact = [generation for generation in same if cmdline is not None and _words(generation.cmdline) == _words(cmdline)]
    numbers = [generation.number for generation in exact or same]
    return current if current in numbers else max(numbers, default=None)


def _words(cmdline: str) -> list[str]:
    return cmdline.split()


def units_and_files(changes: Iterable[Change]) -> tuple[tuple[Change, ...], tuple[Change, ...]]:
    """The changes below `etc` apart: those of systemd's units, by the unit's name, and the others."""
    units: dict[str, ChangeKind] = {}
    files = []
    # A unit's own file before what is put in its `.d` folder.
    for change in sorted(changes, key=lambda one: (".d/" in one.name, one.name)):
        if not change.name.startswith(_UNITS):
            files.append(change)
            continue
        unit = _unit(change)
        if unit is not None:
            units.setdefault(unit.name, unit.change)
    return (
        tuple(Change(name, units[name]) for name in sorted(units)),
        tuple(sorted(files, key=lambda one: one.name)),
    )


def _unit(change: Change) -> Change | None:
    name = change.name.removeprefix(_UNITS)
    folder, _, inside = name.partition("/")
    if not inside:
        return Change(name, change.change)
    if folder.endswith(".d"):
        return Change(folder.removesuffix(".d"), ChangeKind.CHANGED)
    if folder.endswith(_ENABLING) and change.change is ChangeKind.CHANGED:
        return None  # a link to a unit, which is named itself
    return Change(name, change.change)
