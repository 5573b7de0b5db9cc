"""Signals as a designed path: the first asks, a further one insists; nobody is left with a traceback."""

from __future__ import annotations

import asyncio
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

from nixvm_loop.errors import InterruptedByUser

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

T = TypeVar("T")
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


async def interruptible(work: Coroutine[Any, Any, T], insist: Callable[[], None] = lambda: None) -> T:
    """Run `work`; the first signal cancels it, each further one calls `insist`.

    Raises:
        InterruptedByUser: a signal came and the work has ended.
    """
    task = asyncio.ensure_future(work)
    seen: list[str] = []

    def on_signal(name: str) -> None:
        seen.append(name)
        if len(seen) == 1:
            task.cancel()
        else:
            insist()

    with handling(on_signal):
        try:
            return await task
        except asyncio.CancelledError:
            if seen:
                raise InterruptedByUser(f"interrupted by {seen[0]}") from None
            raise


@contextmanager
def handling(on_signal: Callable[[str], None]) -> Iterator[None]:
    """Have the running loop call `on_signal` with a signal's name; one that we were started to ignore stays ignored."""
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    taken = [number for number in _SIGNALS if before[number] is not signal.SIG_IGN]
    for number in taken:
        loop.add_signal_handler(number, on_signal, number.name)
    try:
        yield
    finally:
        for number in taken:
            loop.remove_signal_handler(number)
            signal.signal(number, before[number] or signal.SIG_DFL)
