"""Looks after the guest's domain between cycles: tells when it went down, and whether anybody wanted that."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Final

from nixvm_loop.domain import End, LifecycleKind
from nixvm_loop.errors import DomainError

if TYPE_CHECKING:
    from collections.abc import Callable

    from nixvm_loop.cycle.context import Context
    from nixvm_loop.domain import LifecycleEvent
    from nixvm_loop.domain.lifecycle import Lifecycle

_ALIVE_S: Final = 2.0
_AGAIN_S: Final = 1.0
_STATES: Final = {
    LifecycleKind.STARTED: "running",
    LifecycleKind.SUSPENDED: "paused",
    LifecycleKind.RESUMED: "running",
}
# QEMU tells of a reset a moment before libvirt tells of the end.
_RESET_TO_END_S: Final = 2.0


class Down(Enum):
    """How a guest went down; the values complete "the guest …"."""

    REBOOTED = "rebooted"
    PANICKED = "panicked"
    QEMU_DIED = "is gone: QEMU died"
    SHARE_DIED = "has lost its share: virtiofsd died"
    POWERED_OFF = "powered off"
    STOPPED = "was stopped"
    GONE = "is off since libvirt was away"

    @property
    def wanted(self) -> bool:
        """Whether somebody meant the guest to stay off."""
        return self in {Down.POWERED_OFF, Down.STOPPED}


@dataclass(slots=True)
class Guard:
    """Follows the domain's events for as long as it runs, across restarts of libvirt.

    Attributes:
        on_state: Gets libvirt's word on the domain when it starts, is paused or goes on.
    """

    context: Context
    on_down: Callable[[Down], object]
    on_state: Callable[[str], object]
    _runs: bool = False

    async def run(self) -> None:
        """Until cancelled. While there is no such domain, or no libvirt, it waits for them."""
        while True:
            try:
                await self._follow()
            except DomainError:
                # Cycles tell of it; whoever looks after a guest has to be patient.
                await asyncio.sleep(_AGAIN_S)

    async def _follow(self) -> None:
        hypervisor = await self.context.link.hypervisor()
        domain = await hypervisor.get(self.context.settings.domain)
        async with domain.lifecycle() as events:
            ran, self._runs = self._runs, await domain.running() is not None
            if ran and not self._runs:
                self.on_down(Down.GONE)  # nobody was there to tell how
            while True:
                event = await _within(events, _ALIVE_S)
                if event is not None:
                    await self._take(event, events)
                    if event.kind in _STATES:
                        self.on_state(_STATES[event.kind])
                elif not await hypervisor.alive():
                    return

    async def _take(self, event: LifecycleEvent, events: Lifecycle) -> None:
        self._runs = event.kind is LifecycleKind.STARTED or (self._runs and not event.ended)
        down = down_by(event)
        if down is Down.REBOOTED:
            # With <on_reboot>restart</on_reboot> no end follows.
            while (following := await _within(events, _RESET_TO_END_S)) is not None and not following.ended:
                pass
        if down is not None:
            self.on_down(down)


def down_by(event: LifecycleEvent) -> Down | None:
    """What an event says about a guest's end, None if it is not one."""
    if event.kind is LifecycleKind.STOPPED:
        known = {End.POWERED_OFF: Down.POWERED_OFF, End.FAILED: Down.QEMU_DIED}
        return known.get(event.end or End.DESTROYED, Down.STOPPED)
    return {
        LifecycleKind.REBOOTED: Down.REBOOTED,
        LifecycleKind.RESET: Down.REBOOTED,
        LifecycleKind.PANICKED: Down.PANICKED,
        LifecycleKind.SHARE_DIED: Down.SHARE_DIED,
    }.get(event.kind)


async def _within(events: Lifecycle, seconds: float) -> LifecycleEvent | None:
    try:
        async with asyncio.timeout(seconds):
            return await events.next()
    except TimeoutError:
        return None
