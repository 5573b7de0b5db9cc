"""What happens to a domain, as libvirt tells it the moment it happens."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import Enum, StrEnum
from typing import TYPE_CHECKING, Any, Final

from nixvm_loop.domain import monitor
from nixvm_loop.domain.beside import QEMU, log_end, log_file
from nixvm_loop.domain.binding import library, post

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

# The numbers are libvirt's interface (virDomainEventType and its details).
_STARTED, _SUSPENDED, _RESUMED, _STOPPED, _SHUTDOWN, _CRASHED = 2, 3, 4, 5, 6, 8


class End(Enum):
    """How a domain came to its end; the numbers are libvirt's (virDomainEventStoppedDetailType)."""

    POWERED_OFF = 0
    DESTROYED = 1
    CRASHED = 2
    MIGRATED = 3
    SAVED = 4
    FAILED = 5

    @property
    def words(self) -> str:
        """What completes "the domain …"."""
        return _END_WORDS[self]


_END_WORDS: Final = {
    End.POWERED_OFF: "powered off",
    End.DESTROYED: "was destroyed",
    End.CRASHED: "crashed",
    End.MIGRATED: "was migrated away",
    End.SAVED: "was saved",
    End.FAILED: "ended: QEMU died",
}


class LifecycleKind(StrEnum):
    """What happened."""

    STARTED = "started"
    SUSPENDED = "suspended"
    RESUMED = "resumed"
    STOPPED = "stopped"
    PANICKED = "panicked"
    REBOOTED = "rebooted"
    RESET = "reset"
    SHARE_DIED = "share died"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class LifecycleEvent:
    """An event of a domain; `words` complete "the domain …".

    Attributes:
        end: How it ended, if it did.
        log: The last lines of the log of what died, where we may read it.
        log_file: Where that log is.
    """

    kind: LifecycleKind
    words: str
    end: End | None = None
    log: tuple[str, ...] = ()
    log_file: str = ""

    @property
    def ended(self) -> bool:
        """Whether this boot is over, one way or the other."""
        return self.kind in _ENDS


def lifecycle_event(event: int, detail: int) -> LifecycleEvent:
    """The event for the numbers that libvirt gives."""
    if event == _STOPPED:
        end = next((one for one in End if one.value == detail), None)
        kind = LifecycleKind.PANICKED if end is End.CRASHED else LifecycleKind.STOPPED
        return LifecycleEvent(kind, end.words if end else "stopped", end)
    if event == _CRASHED:
        return LifecycleEvent(LifecycleKind.PANICKED, "panicked")
    kind, words = {
        _STARTED: (LifecycleKind.STARTED, "started"),
        _SUSPENDED: (LifecycleKind.SUSPENDED, "was paused"),
        _RESUMED: (LifecycleKind.RESUMED, "was resumed"),
        _SHUTDOWN: (LifecycleKind.OTHER, "is powering off"),
    }.get(event, (LifecycleKind.OTHER, f"had event {event}"))
    return LifecycleEvent(kind, words)


_ENDS: Final = frozenset(
    {
        LifecycleKind.STOPPED,
        LifecycleKind.PANICKED,
        LifecycleKind.REBOOTED,
        LifecycleKind.RESET,
    }
)
REBOOTED: Final = LifecycleEvent(LifecycleKind.REBOOTED, "rebooted")
RESET: Final = LifecycleEvent(LifecycleKind.RESET, "was reset")
SHARE_DIED: Final = LifecycleEvent(LifecycleKind.SHARE_DIED, "has lost its share: virtiofsd died")


class Lifecycle:
    """The events of one domain for one listener; iterating over it never ends by itself."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[LifecycleEvent] = asyncio.Queue()

    def put(self, event: LifecycleEvent) -> None:
        """Add an event, from any thread."""
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


class EventHub:
    """Hands the events of a connection to those who listen: libvirt takes one callback for a kind of event only."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._callbacks: list[int] = []
        self._end_monitor: Callable[[], None] = lambda: None
        self._listeners: dict[str, tuple[Lifecycle, ...]] = {}
        self._lock = threading.Lock()

    def open(self) -> None:
        """Begin to hear from libvirt. Blocking; raises libvirtError."""
        libvirt = library()
        with self._lock:
            if not self._callbacks:
                register = self._connection.domainEventRegisterAny
                self._callbacks += [
                    register(None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._on_lifecycle, None),
                    register(None, libvirt.VIR_DOMAIN_EVENT_ID_REBOOT, self._on_reboot, None),
                ]
                self._end_monitor = monitor.register(self._connection, self._on_reset)

    def close(self) -> None:
        """Hear no more. Blocking; raises libvirtError."""
        with self._lock:
            self._end_monitor()
            while self._callbacks:
                self._connection.domainEventDeregisterAny(self._callbacks.pop())

    @contextmanager
    def listen(self, uuid: str) -> Iterator[Lifecycle]:
        """The events of a domain as long as the context is open."""
        listener = Lifecycle()
        self._listeners[uuid] = (*self._listeners.get(uuid, ()), listener)
        try:
            yield listener
        finally:
            self._listeners[uuid] = tuple(one for one in self._listeners[uuid] if one is not listener)

    def _tell(self, domain: Any, event: LifecycleEvent) -> None:
        # In libvirt's thread; the tuples are replaced as wholes, by the event loop's thread alone.
        for listener in self._listeners.get(domain.UUIDString(), ()):
            listener.put(event)

    def _on_lifecycle(self, _connection: Any, domain: Any, event: int, detail: int, _opaque: Any) -> None:
        told = lifecycle_event(event, detail)
        if told.end is End.FAILED:
            told = replace(told, log=log_end(domain.name(), QEMU), log_file=str(log_file(domain.name(), QEMU)))
        self._tell(domain, told)

    def _on_reset(self, domain: Any, by: monitor.Reset) -> None:
        self._tell(domain, RESET if by is monitor.Reset.BY_HOST else REBOOTED)

    def _on_reboot(self, _connection: Any, domain: Any, _opaque: Any) -> None:
        self._tell(domain, REBOOTED)
