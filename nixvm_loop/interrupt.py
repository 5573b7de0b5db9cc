"""Signals as a designed path: the first asks, a further one insists; nobody is left with a traceback."""

from __future__ import annotations

import asyncio
import signal
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Final, TypeVar

from nixvm_loop.errors import InterruptedByUser

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

T = TypeVar("T")
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopRequest:
    """A wish from within to end in order; whoever runs, or runs next, hears it like a signal.

    Attributes:
        reason: Why, None as long as nobody wishes it. Only the first reason counts.
    """

    def __init__(self) -> None:
        self.reason: str | None = None
        self._withdrawn = False
        self._tell: Callable[[str], object] | None = None

    def make(self, reason: str) -> None:
        """Wish it."""
        if self.reason is None and not self._withdrawn:
            self.reason = reason
            if self._tell is not None:
                self._tell(reason)

    def withdraw(self) -> None:
        """What was to be ended has ended by itself: wishes count no more."""
        self._withdrawn = True

    @contextmanager
    def heard_by(self, listener: Callable[[str], None]) -> Iterator[None]:
        """Have the running loop call `listener` with the reason, at once if there already is one."""
        loop = asyncio.get_running_loop()
        self._tell = lambda reason: loop.call_soon_threadsafe(listener, reason)
        if self.reason is not None and not self._withdrawn:
            self._tell(self.reason)
        try:
            yield
        finally:
            self._tell = None


async def interruptible(
    work: Coroutine[Any, Any, T], insist: Callable[[], None] = lambda: None, stop: StopRequest | None = None
) -> T:
    """Run `work`; the first signal, or the wish to stop, cancels it, each further signal calls `insist`.

    Raises:
        InterruptedByUser: a signal or a wish came and the work has ended.
    """
    task = asyncio.ensure_future(work)
    seen: list[str] = []

    def on_signal(name: str) -> None:
        seen.append(name)
        if len(seen) == 1:
            task.cancel()
        else:
            insist()

    with handling(on_signal, stop):
        try:
            return await task
        except asyncio.CancelledError:
            if seen:
                by_signal = stop is None or seen[0] != stop.reason
                raise InterruptedByUser(f"interrupted by {seen[0]}" if by_signal else "interrupted") from None
            raise


@contextmanager
def handling(on_signal: Callable[[str], None], stop: StopRequest | None = None) -> Iterator[None]:
    """Have the running loop call `on_signal` with a signal's name, or with why we wish to stop.

    A signal that we were started to ignore stays ignored.
    """
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    taken = [number for number in _SIGNALS if before[number] is not signal.SIG_IGN]
    for number in taken:
        loop.add_signal_handler(number, on_signal, number.name)
    try:
        with nullcontext() if stop is None else stop.heard_by(on_signal):
            yield
    finally:
        for number in taken:
            loop.remove_signal_handler(number)
            signal.signal(number, before[number] or signal.SIG_DFL)
