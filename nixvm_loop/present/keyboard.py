"""The keys of a terminal on which a region lives: not echoed, and read one by one where somebody waits for one."""

from __future__ import annotations

import os
import select
import termios
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

_LOCAL_FLAGS: Final = 3  # the indices that termios gives them
_CONTROL_CHARACTERS: Final = 6
_CHUNK_BYTES: Final = 4096


class Standing(Enum):
    """How we stand to a terminal."""

    FRONT = auto()  # it is ours to use
    BACK = auto()  # a shell's or another job's: whoever reads it or changes it from the background is stopped
    APART = auto()  # not the terminal that controls us, or none


def standing(descriptor: int) -> Standing:
    """How we stand to the terminal behind `descriptor` now."""
    try:
        return Standing.FRONT if os.tcgetpgrp(descriptor) == os.getpgrp() else Standing.BACK
    except OSError:
        return Standing.APART


class Keyboard:
    """Takes a terminal's keys while we stand in front; signals from the keyboard stay as they are.

    With `on_keys` what is typed is handed to it, as `loop` reads it, and nothing of it is left when the keys are given
    back. Without, it is left to whoever reads next.
    """

    def __init__(
        self,
        descriptor: int,
        loop: asyncio.AbstractEventLoop | None = None,
        on_keys: Callable[[bytes], None] | None = None,
    ) -> None:
        self._descriptor = descriptor
        self._loop = loop
        self._on_keys = on_keys if loop is not None else None
        self._before: list[Any] | None = None

    def take(self) -> None:
        """Take the keys, or what somebody else did to the terminal's modes meanwhile back; not from the background."""
        if standing(self._descriptor) is not Standing.FRONT:
            self._stop_reading()
            return
        try:
            now = termios.tcgetattr(self._descriptor)
            quiet = self._quiet(now)
            if now != quiet:
                self._before = now
                termios.tcsetattr(self._descriptor, termios.TCSANOW, quiet)
        except termios.error:
            return
        if self._loop is not None and self._on_keys is not None:
            self._loop.add_reader(self._descriptor, self._read)

    def give_back(self) -> None:
        """Put the terminal's modes back; from the background they are another's."""
        self._stop_reading()
        before, self._before = self._before, None
        if before is None or standing(self._descriptor) is not Standing.FRONT:
            return
        termios.tcsetattr(self._descriptor, termios.TCSANOW, before)
        if self._on_keys is not None:
            termios.tcflush(self._descriptor, termios.TCIFLUSH)

    def _quiet(self, modes: list[Any]) -> list[Any]:
        quiet = [*modes]
        quiet[_LOCAL_FLAGS] &= ~termios.ECHO
        if self._on_keys is not None:
            quiet[_LOCAL_FLAGS] &= ~termios.ICANON
            quiet[_CONTROL_CHARACTERS] = [*modes[_CONTROL_CHARACTERS]]
            # Ctrl-Z throws away what was typed: a read that waits would wait for the next key then.
            quiet[_CONTROL_CHARACTERS][termios.VMIN] = 0
            quiet[_CONTROL_CHARACTERS][termios.VTIME] = 0
        return quiet

    def _read(self) -> None:
        if standing(self._descriptor) is not Standing.FRONT:
            self._stop_reading()
            return
        try:
            typed = os.read(self._descriptor, _CHUNK_BYTES)
        except OSError:
            typed = b""
        if typed and self._on_keys is not None:
            self._on_keys(typed)
        elif self._is_gone():
            self._stop_reading()

    def _is_gone(self) -> bool:
        poll = select.poll()
        poll.register(self._descriptor, 0)
        return bool(poll.poll(0))

    def _stop_reading(self) -> None:
        if self._loop is not None and self._on_keys is not None and not self._loop.is_closed():
            self._loop.remove_reader(self._descriptor)
