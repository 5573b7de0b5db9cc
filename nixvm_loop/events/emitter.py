"""The one stream: stamps events and hands them to the sinks."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from nixvm_loop.events.types import Event, Stamped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nixvm_loop.model.clock import Clock

_log = logging.getLogger(__name__)


class Sink(Protocol):
    """Whoever wants to hear of events. Called in the event loop's thread; must not block."""

    def handle(self, stamped: Stamped) -> None:
        """Take one event."""
        ...


@dataclass(slots=True)
class _Counter:
    value: int = 0

    def next(self) -> int:
        self.value += 1
        return self.value


@dataclass(frozen=True, slots=True)
class Emitter:
    """Stamps events with number, time, guest and cycle; a sink that fails is logged and passed over."""

    sinks: Sequence[Sink]
    clock: Clock
    guest: str | None = None
    cycle: int | None = None
    _counter: _Counter = field(default_factory=_Counter)

    def __call__(self, event: Event) -> None:
        """Hand `event` to every sink."""
        stamped = Stamped(
            seq=self._counter.next(), time=self.clock.now(), guest=self.guest, cycle=self.cycle, event=event
        )
        for sink in self.sinks:
            try:
                sink.handle(stamped)
            except Exception:  # noqa: BLE001  # a presenter's fault must not end a cycle; it is logged with its traceback
                _log.exception("a sink failed on %s", type(event).__name__)

    def bound(self, *, guest: str | None = None, cycle: int | None = None) -> Emitter:
        """The same stream, speaking for a guest or a cycle."""
        return replace(
            self,
            guest=self.guest if guest is None else guest,
            cycle=self.cycle if cycle is None else cycle,
        )

    def with_sink(self, sink: Sink) -> Emitter:
        """The same stream with one more listener."""
        return replace(self, sinks=(*self.sinks, sink))
