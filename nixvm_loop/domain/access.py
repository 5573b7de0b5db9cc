"""Whether a user can reach a path, by the modes of the folders on the way."""

from __future__ import annotations

import errno
import os
import stat as modes
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

# As the kernel has it.
_MOST_LINKS: Final = 40


class Stat(Protocol):
    """The part of `os.stat_result` that decides."""

    @property
    def st_mode(self) -> int:
        """The file's kind and permissions."""
        ...

    @property
    def st_uid(self) -> int:
        """Its owner."""
        ...

    @property
    def st_gid(self) -> int:
        """Its group."""
        ...


def can_traverse(path: Path, uid: int, gids: Collection[int], stat: Callable[[Path], Stat] = os.stat) -> bool:
    """Whether the user may enter `path` (absolute) and every folder on the way there, through links as well.

    A folder that cannot be looked at counts as closed. Access lists are not read: they can only open what looks closed.
    """
    if uid == 0:
        return True
    try:
        return all(may_enter(folder, uid, gids, stat) for folder in (*way_to(path), path))
    except OSError:
        return False


def may_enter(folder: Path, uid: int, gids: Collection[int], stat: Callable[[Path], Stat] = os.stat) -> bool:
    """Whether the user may enter this one folder, by its mode alone. Raises OSError where it cannot be looked at."""
    return uid == 0 or _may(stat(folder), uid, gids, modes.S_IXOTH)


def way_to(path: Path) -> tuple[Path, ...]:
    """The folders that have to be entered to open `path` (absolute): above it, and above whatever its links lead to.

    Raises:
        OSError: one of them cannot be looked at, or the links lead in a circle.
    """
    left = list(reversed(path.parts[1:]))
    here = Path(path.anchor)
    found, links = {here: None}, 0
    while left:
        step = here / left.pop()
        if step.name == "..":
            here = here.parent
        elif step.is_symlink():
            links += 1
            if links > _MOST_LINKS:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
            target = step.readlink()
            here = Path(target.anchor) if target.is_absolute() else here
            left += reversed(target.parts[1:] if target.is_absolute() else target.parts)
        elif left:
            here = step
            found.setdefault(here)
    return tuple(found)


def can_open(path: Path, uid: int, gids: Collection[int], stat: Callable[[Path], Stat] = os.stat) -> bool:
    """Whether the user may read and write the device at `path`, which everybody may reach."""
    try:
        found = stat(path)
    except OSError:
        return False
    return modes.S_ISCHR(found.st_mode) and (uid == 0 or _may(found, uid, gids, modes.S_IROTH | modes.S_IWOTH))


def may_use(found: Stat, uid: int, gids: Collection[int], *, write: bool) -> bool:
    """Whether the user may read (and write) the file, by its mode alone."""
    return uid == 0 or _may(found, uid, gids, modes.S_IROTH | (modes.S_IWOTH if write else 0))


def has_access_list(path: Path) -> bool:
    """Whether more than the mode says who may use the file."""
    try:
        return bool(os.getxattr(path, "system.posix_acl_access"))
    except OSError:
        return False


def _may(found: Stat, uid: int, gids: Collection[int], wanted: int) -> bool:
    """Whether the owner's, the group's or the others' bits (the first that apply) hold all of `wanted`."""
    shift = 6 if found.st_uid == uid else 3 if found.st_gid in gids else 0
    return (found.st_mode >> shift) & wanted == wanted
