"""What happens to a domain, as libvirt tells it the moment it happens."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from nixvm_loop.domain.binding import post

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

# The numbers are libvirt's interface (virDomainEventType and its details).
_STARTED, _SUSPENDED, _RESUMED, _STOPPED, _SHUTDOWN, _CRASHED = 2, 3, 4, 5, 6, 8
_STOPPED_WORDS: Final = {
    0: "powered off",
    1: "was destroyed",
    2: "crashed",
    3: "was migrated away",
    4: "was saved",
    5: "failed",
}
_DETAIL_CRASHED: Final = 2


class LifecycleKind(StrEnum):
    """What happened."""

    STARTED = "started"
    SUSPENDED = "suspended"
    RESUMED = "resumed"
    STOPPED = "stopped"
    PANICKED = "panicked"
    REBOOTED = "rebooted"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class LifecycleEvent:
    """An event of a domain; `words` complete "the domain …"."""

    kind: LifecycleKind
    words: str

    @property
    def ended(self) -> bool:
        """Whether this boot is over, one way or the other."""
        return self.kind in {LifecycleKind.STOPPED, LifecycleKind.PANICKED, LifecycleKind.REBOOTED}


def lifecycle_event(event: int, detail: int) -> LifecycleEvent:
    """The event for the numbers that libvirt gives."""
    if event == _STOPPED:
        kind = LifecycleKind.PANICKED if detail == _DETAIL_CRASHED else LifecycleKind.STOPPED
        return LifecycleEvent(kind, _STOPPED_WORDS.get(detail, "stopped"))
    if event == _CRASHED:
        return LifecycleEvent(LifecycleKind.PANICKED, "panicked")
    kind, words = {
        _STARTED: (LifecycleKind.STARTED, "started"),
        _SUSPENDED: (LifecycleKind.SUSPENDED, "was paused"),
        _RESUMED: (LifecycleKind.RESUMED, "was resumed"),
        _SHUTDOWN: (LifecycleKind.OTHER, "is powering off"),
    }.get(event, (LifecycleKind.OTHER, f"had event {event}"))
    return LifecycleEvent(kind, words)


REBOOTED: Final = LifecycleEvent(LifecycleKind.REBOOTED, "rebooted")


class Lifecycle:
    """The events of one domain from `subscribe` until `unsubscribe`; iterating over it never ends by itself."""

    def __init__(self, libvirt: Any, connection: Any, domain: Any) -> None:
        self._libvirt = libvirt
        self._connection = connection
        self._domain = domain
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[LifecycleEvent] = asyncio.Queue()
        self._callbacks: list[int] = []

    def subscribe(self) -> None:
        """Begin to listen. Blocking; raises libvirtError."""
        register = self._connection.domainEventRegisterAny
        on_lifecycle, on_reboot = self._libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._libvirt.VIR_DOMAIN_EVENT_ID_REBOOT
        self._callbacks.append(register(self._domain, on_lifecycle, self._on_lifecycle, None))
        self._callbacks.append(register(self._domain, on_reboot, self._on_reboot, None))

    def unsubscribe(self) -> None:
        """Listen no longer. Blocking; raises libvirtError."""
        while self._callbacks:
            self._connection.domainEventDeregisterAny(self._callbacks.pop())

    def _on_lifecycle(self, _connection: Any, _domain: Any, event: int, detail: int, _opaque: Any) -> None:
        self._put(lifecycle_event(event, detail))

    def _on_reboot(self, _connection: Any, _domain: Any, _opaque: Any) -> None:
        self._put(REBOOTED)

    def _put(self, event: LifecycleEvent) -> None:
        # In libvirt's thread.
        post(self._loop, self._queue.put_nowait, event)

    async def next(self) -> LifecycleEvent:
        """The next event, in their order."""
        return await self._queue.get()

    async def __aiter__(self) -> AsyncIterator[LifecycleEvent]:
        while True:
            yield await self._queue.get()

    async def stopped(self) -> LifecycleEvent:
        """Wait until libvirt says that the domain has stopped."""
        while (event := await self.next()).kind not in {LifecycleKind.STOPPED, LifecycleKind.PANICKED}:
            pass
        return event
