"""What other commands ask of a `watch`, and where it stands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from nixvm_loop.decide import Wish

if TYPE_CHECKING:
    from nixvm_loop.model.values import Stage


@dataclass(frozen=True, slots=True)
class Rebuild:
    """Run a cycle."""

    wish: Wish = Wish.AS_NEEDED


@dataclass(frozen=True, slots=True)
class Rollback:
    """Put the guest back on an older generation; None is the last good one."""

    generation: int | None = None


@dataclass(frozen=True, slots=True)
class FollowConsole:
    """Tell what the guest's console says, until the running cycle has ended."""


Request: TypeAlias = Rebuild | Rollback | FollowConsole


@dataclass(frozen=True, slots=True)
class Standing:
    """Where `watch` is: in no cycle, or in this one and, once it has begun one, this stage.

    Attributes:
        paused: Whether saves start no cycles.
    """

    cycle: int | None = None
    stage: Stage | None = None
    paused: bool = False

    def __str__(self) -> str:
        """As a message names it."""
        if self.cycle is None:
            return "paused: saves start no cycles" if self.paused else "waiting for changes"
        return f"in cycle {self.cycle}" + (f", stage {self.stage}" if self.stage else "")
