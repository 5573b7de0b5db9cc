"""How other commands reach the `watch` that looks after a guest: a socket, and what passes through it.

Only what finds out whether there is one is loaded with the package: mostly there is none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nixvm_loop.control.orders import FollowConsole, Rebuild, Rollback, Standing
from nixvm_loop.control.place import connect

if TYPE_CHECKING:
    from nixvm_loop.control.client import Reached
    from nixvm_loop.model.settings import GuestSettings

__all__ = ["FollowConsole", "Rebuild", "Rollback", "Standing", "reach"]

_GREETING_TIMEOUT_S: Final = 2.0


async def reach(settings: GuestSettings, patience_s: float = _GREETING_TIMEOUT_S) -> Reached | None:
    """The `watch` that looks after this guest; None when there is none, or it does not answer in time."""
    connection = connect(settings.state_dir)
    if connection is None:
        return None
    from nixvm_loop.control.client import greeted  # noqa: PLC0415  # as said above

    return await greeted(settings, connection, patience_s)
