"""Following a console: every line as it comes, from the moment of attaching until the domain stops."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from nixvm_loop.console.lines import LineSplitter
from nixvm_loop.console.stream import ConsoleStream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from nixvm_loop.domain import Domain

# A line without its end that has been quiet for this long is a prompt.
_QUIET_S: Final = 0.3


class Follower:
    """Splits what the console says, and notices its end."""

    def __init__(self, on_line: Callable[[str], object]) -> None:
        self._splitter = LineSplitter(on_line)
        self._timer: asyncio.TimerHandle | None = None
        self._ended = asyncio.Event()

    def take(self, data: bytes) -> None:
        """Take bytes of the console."""
        self._splitter.feed(data)
        self._cancel_timer()
        if self._splitter.waiting:
            self._timer = asyncio.get_running_loop().call_later(_QUIET_S, self._splitter.flush)

    def end(self) -> None:
        """Nothing comes any more: the domain has stopped, or somebody else has taken the console."""
        self._cancel_timer()
        self._splitter.flush()
        self._ended.set()

    async def ended(self) -> None:
        """Wait for the console's end."""
        await self._ended.wait()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


@asynccontextmanager
async def follow(domain: Domain, on_line: Callable[[str], object]) -> AsyncIterator[Follower]:
    """Follow the console of a started domain as long as the context is open; nothing is lost if it is still paused.

    `on_line` gets lines as the guest wrote them, control characters included.

    Raises:
        DomainError: the console cannot be opened.
    """
    follower = Follower(on_line)
    stream = ConsoleStream(domain, follower.take, follower.end)
    try:
        await stream.open()
        yield follower
    finally:
        await stream.close()
        follower.end()
