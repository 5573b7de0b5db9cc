"""How long it has to be quiet before a change set is complete; pure."""

from __future__ import annotations

from enum import Enum
from typing import Final

LIMIT_S: Final = 10.0
"""A tree that never comes to rest is looked at after this time all the same."""

_SOME_PATHS: Final = 10
_MANY_PATHS: Final = 100
_SOME_QUIET_S: Final = 0.12
_MANY_QUIET_S: Final = 0.3


class Work(Enum):
    """What git is doing in a tree, as far as its files show it."""

    NONE = "none"
    STEPPING = "stepping"
    """Between two commits of a rebase, or waiting for the user in the middle of one."""
    LOCKED = "locked"
    """It is about to write its index."""
    RELEASED = "released"
    """It has just done so; the last of what it did may not have been heard of yet."""


def quiet_for(base_s: float, paths: int, work: Work) -> float:
    """Seconds without a further change after which `paths` changed paths are taken to be all."""
    if paths > _MANY_PATHS or work in {Work.STEPPING, Work.LOCKED}:
        return max(base_s, _MANY_QUIET_S)
    if paths > _SOME_PATHS or work is Work.RELEASED:
        return max(base_s, _SOME_QUIET_S)
    return base_s
