"""The user's terminal joined to the guest's console, until Ctrl-] or the console's end."""

from __future__ import annotations

import asyncio
import os
import termios
import tty
from contextlib import contextmanager, suppress
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from nixvm_loop.console.stream import ConsoleStream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nixvm_loop.domain import Domain

ESCAPE: Final = b"\x1d"
_CHUNK_BYTES: Final = 4096


class Ended(StrEnum):
    """Why the terminal was let go."""

    BY_USER = "by user"
    BY_GUEST = "by guest"


@contextmanager
def raw_mode(descriptor: int) -> Iterator[None]:
    """Hand every key on as it is; a terminal is put back however this ends, anything else is left alone."""
    if not os.isatty(descriptor):
        yield
        return
    before = termios.tcgetattr(descriptor)
    try:
        # By default, what was typed already would be thrown away.
        tty.setraw(descriptor, termios.TCSANOW)
        yield
    finally:
        # A terminal that is gone needs nothing.
        with suppress(termios.error):
            termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def until_escape(data: bytes) -> tuple[bytes, bool]:
    """What was typed before Ctrl-], and whether Ctrl-] was."""
    before, escape, _ = data.partition(ESCAPE)
    return before, bool(escape)


class Keys:
    """What the user types, chunk by chunk; None at the end of it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        # /dev/null or a file, as under cron: nobody types, and somebody may still want to read.
        with suppress(PermissionError):
            self._loop.add_reader(descriptor, self._read)

    def _read(self) -> None:
        try:
            data = os.read(self._descriptor, _CHUNK_BYTES)
        except OSError:
            # The terminal was closed.
            data = b""
        typed, escaped = until_escape(data)
        if typed:
            self._queue.put_nowait(typed)
        if escaped or not data:
            self.end()

    def end(self) -> None:
        """Take no more."""
        if self._loop.remove_reader(self._descriptor):
            self._queue.put_nowait(None)

    async def next(self) -> bytes | None:
        """The next chunk, None when there will be none."""
        return await self._queue.get()


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of `data`, waiting as long as the terminal takes."""
    while data:
        data = data[os.write(descriptor, data) :]


async def interact(domain: Domain, keyboard: int = 0, screen: int = 1) -> Ended:
    """Join two file descriptors to the console of a running domain.

    Raises:
        DomainError: the console cannot be opened.
    """
    ended = asyncio.Event()
    stream = ConsoleStream(domain, lambda data: write_all(screen, data), ended.set)
    with raw_mode(keyboard):
        try:
            await stream.open()
            return await _pump(stream, keyboard, ended)
        finally:
            await stream.close()


async def _pump(stream: ConsoleStream, keyboard: int, ended: asyncio.Event) -> Ended:
    keys = Keys(keyboard)
    typing = asyncio.create_task(_type(keys, stream))
    ending = asyncio.create_task(ended.wait())
    try:
        await asyncio.wait({typing, ending}, return_when=asyncio.FIRST_COMPLETED)
        if ending.done():
            return Ended.BY_GUEST
        await typing
        return Ended.BY_USER
    finally:
        keys.end()
        for task in (typing, ending):
            task.cancel()
        await asyncio.gather(typing, ending, return_exceptions=True)


async def _type(keys: Keys, stream: ConsoleStream) -> None:
    while (data := await keys.next()) is not None:
        await stream.send(data)
