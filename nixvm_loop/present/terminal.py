"""What a terminal has to be told and asked while a region lives on it; each change is undone at the end."""

from __future__ import annotations

import io
import logging
import os
import signal
import sys
import threading
from contextlib import contextmanager, redirect_stderr
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator

_USUAL_SIZE = (80, 24)


def size(stream: TextIO) -> tuple[int, int]:
    """Columns and lines; the usual ones where the terminal does not say."""
    try:
        columns, lines = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        return _USUAL_SIZE
    return columns or _USUAL_SIZE[0], lines or _USUAL_SIZE[1]


@contextmanager
def on_resize(call: Callable[[], None]) -> Iterator[None]:
    """`call` runs, as a signal handler does, whenever the terminal's size changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGWINCH, lambda _number, _frame: call())
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)


@contextmanager
def on_suspension(
    loop: asyncio.AbstractEventLoop, leave: Callable[[], None], come_back: Callable[[], None]
) -> Iterator[None]:
    """Ctrl-Z stops us after `leave`; `come_back` runs when we go on, also after a stop that nobody could announce."""
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or signal.getsignal(signal.SIGTSTP) is signal.SIG_IGN:
        yield
        return

    def listen() -> None:
        loop.add_signal_handler(signal.SIGTSTP, suspend)
        loop.add_signal_handler(signal.SIGCONT, come_back)

    def ignore() -> None:
        # The default: stopping at the one, nothing but going on at the other. A closed loop has done so by itself.
        if not loop.is_closed():
            loop.remove_signal_handler(signal.SIGTSTP)
            loop.remove_signal_handler(signal.SIGCONT)

    def suspend() -> None:
        leave()
        ignore()
        signal.raise_signal(signal.SIGTSTP)
        listen()
        come_back()

    listen()
    try:
        yield
    finally:
        ignore()


@contextmanager
def stderr_lines(say: Callable[[str], None]) -> Iterator[None]:
    """Lines for stderr, the log's included, go to `say` instead, if stderr is a terminal too."""
    if not sys.stderr.isatty():
        yield
        return
    lines = _Lines(say, sys.stderr)
    # A log's handler keeps the stderr that it was made with.
    handlers = [handler for handler in logging.getLogger().handlers if isinstance(handler, logging.StreamHandler)]
    moved = [handler for handler in handlers if handler.stream is sys.stderr]
    for handler in moved:
        handler.setStream(lines)
    try:
        with redirect_stderr(lines):
            yield
    finally:
        for handler in moved:
            handler.setStream(sys.stderr)
        lines.finish()


class _Lines(io.TextIOBase):
    def __init__(self, say: Callable[[str], None], original: TextIO) -> None:
        self._say = say
        self._original = original
        self._rest = ""

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._say(line)
        return len(text)

    def fileno(self) -> int:
        return self._original.fileno()

    def isatty(self) -> bool:
        return True

    def finish(self) -> None:
        if self._rest:
            self._say(self._rest)
