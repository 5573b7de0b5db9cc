"""Hands the events of a cycle on to those whose order it serves, and knows where `watch` is."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Protocol

from nixvm_loop.control.orders import Standing
from nixvm_loop.events.types import (
    Console,
    CycleFinished,
    CycleStarted,
    LoopPaused,
    LoopStarted,
    LoopStopped,
    StageStarted,
)
from nixvm_loop.model.values import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nixvm_loop.errors import NixvmLoopError
    from nixvm_loop.events.types import Stamped

# What a console that is joined late shows of what was said before.
_CONSOLE_TAIL: Final = 200


_WAITING: Final = Standing()


class Listener(Protocol):
    """Whoever gave an order. Called in the event loop's thread; must not block."""

    def hear(self, stamped: Stamped) -> None:
        """Take an event of the cycle that serves the order."""
        ...

    def end(self, error: NixvmLoopError | None) -> None:
        """Nothing follows: the order was served, whatever came of it, or `error` kept it from that."""
        ...


class Fan:
    """A sink for everything that `watch` emits.

    A listener joins under a ticket and hears nothing until the cycle that serves it begins. From then on it hears every
    event until the end of that cycle, or of the one that superseded it.
    """

    def __init__(self, standing: Standing = _WAITING) -> None:
        self.standing = standing
        self._waiting: dict[int, Listener] = {}
        self._served: dict[int, Listener] = {}
        self._console: dict[int, Listener] = {}
        self._tail: deque[Stamped] = deque(maxlen=_CONSOLE_TAIL)
        self._tickets = 0

    def join(self, listener: Listener) -> int:
        """A ticket for a listener with an order, which names it to `begin`."""
        self._tickets += 1
        self._waiting[self._tickets] = listener
        return self._tickets

    def join_console(self, listener: Listener) -> int:
        """A ticket for a listener to the console's lines, the running cycle's earlier ones first.

        It is over with the cycle; if there is none, at once.
        """
        self._tickets += 1
        if self.standing.cycle is None:
            listener.end(None)
            return self._tickets
        self._console[self._tickets] = listener
        for stamped in self._tail:
            listener.hear(stamped)
        return self._tickets

    def leave(self, ticket: int) -> None:
        """Tell a listener no more; what it ordered is done all the same."""
        for group in (self._waiting, self._served, self._console):
            group.pop(ticket, None)

    def begin(self, tickets: Iterable[int]) -> None:
        """The cycle that starts now serves these orders; whoever gave one of them may have left."""
        for ticket in tickets:
            listener = self._waiting.pop(ticket, None)
            if listener is not None:
                self._served[ticket] = listener

    def fail(self, error: NixvmLoopError) -> None:
        """The cycle that was begun could not even start, so that its end will not be told by an event."""
        self._end(self._served, error)

    def handle(self, stamped: Stamped) -> None:
        """Take one event of `watch`."""
        event = stamped.event
        match event:
            case CycleStarted():
                self.standing = replace(self.standing, cycle=stamped.cycle, stage=None)
                self._tail.clear()
            case StageStarted(stage):
                self.standing = replace(self.standing, stage=stage)
            case LoopPaused(paused=paused):
                self.standing = replace(self.standing, paused=paused)
            case Console():
                self._tail.append(stamped)
                self._tell(self._console, stamped)
            case _:
                pass
        # What the loop says of itself is none of a single cycle's.
        if not isinstance(event, (LoopStarted, LoopPaused, LoopStopped)):
            self._tell(self._served, stamped)
        if isinstance(event, CycleFinished):
            self._finished(event)

    def _finished(self, event: CycleFinished) -> None:
        self.standing = replace(self.standing, cycle=None, stage=None)
        self._end(self._console, None)
        # One that a newer save cancelled is followed by another cycle for the same order.
        if event.verdict is not Verdict.CANCELLED or event.error is not None:
            self._end(self._served, None)

    def _tell(self, group: dict[int, Listener], stamped: Stamped) -> None:
        for listener in tuple(group.values()):
            listener.hear(stamped)

    def _end(self, group: dict[int, Listener], error: NixvmLoopError | None) -> None:
        listeners = tuple(group.values())
        group.clear()
        for listener in listeners:
            listener.end(error)
