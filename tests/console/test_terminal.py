from __future__ import annotations

import asyncio
import os
import pty
import termios
from typing import TYPE_CHECKING

import pytest

from nixvm_loop.console.terminal import Keys, raw_mode, until_escape, write_all

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """A terminal: the side of the user's hands, and the side of the program."""
    hands, program = pty.openpty()
    yield hands, program
    os.close(hands)
    os.close(program)


@pytest.mark.parametrize("path", ["/dev/null", __file__])
async def test_a_keyboard_that_cannot_be_waited_for(path: str) -> None:
    """As under cron: nobody types, and that is not the end."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        keys = Keys(descriptor)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(keys.next(), 0.05)
        keys.end()
    finally:
        os.close(descriptor)


def test_the_escape_ends_what_is_sent() -> None:
    """Nothing from Ctrl-] on reaches the guest."""
    assert until_escape(b"ls\r") == (b"ls\r", False)
    assert until_escape(b"ls\x1drm\x1d") == (b"ls", True)
    assert until_escape(b"\x1d") == (b"", True)


def test_the_terminal_is_put_back(terminal: tuple[int, int]) -> None:
    """It is raw inside, and as before after an exception."""
    _, program = terminal
    before = termios.tcgetattr(program)
    inside: list[int] = []

    def work() -> None:
        with raw_mode(program):
            inside.append(termios.tcgetattr(program)[3])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert not inside[0] & (termios.ICANON | termios.ECHO | termios.ISIG)
    assert termios.tcgetattr(program) == before


def test_something_else_than_a_terminal_is_left_alone() -> None:
    """A pipe has no mode to change."""
    reader, writer = os.pipe()
    with raw_mode(reader):
        pass
    os.close(reader)
    os.close(writer)


async def test_keys_arrive_until_the_escape(terminal: tuple[int, int]) -> None:
    """Ctrl-C is a key like any other; Ctrl-] is the end."""
    hands, program = terminal
    with raw_mode(program):
        keys = Keys(program)
        os.write(hands, b"a\x03")
        assert await asyncio.wait_for(keys.next(), 2) == b"a\x03"
        os.write(hands, b"b\x1dc")
        assert await asyncio.wait_for(keys.next(), 2) == b"b"
        assert await asyncio.wait_for(keys.next(), 2) is None
        keys.end()


async def test_the_end_of_the_input_is_the_end() -> None:
    """A pipe that is closed ends the keys."""
    reader, writer = os.pipe()
    keys = Keys(reader)
    os.write(writer, b"x")
    assert await asyncio.wait_for(keys.next(), 2) == b"x"
    os.close(writer)
    assert await asyncio.wait_for(keys.next(), 2) is None
    os.close(reader)


async def test_everything_is_written() -> None:
    """More than a pipe holds is written piece by piece."""
    reader, writer = os.pipe()
    data = os.urandom(300_000)
    writing = asyncio.create_task(asyncio.to_thread(write_all, writer, data))
    received = b""
    while len(received) < len(data):
        received += await asyncio.to_thread(os.read, reader, 65536)
    await writing
    assert received == data
    os.close(reader)
    os.close(writer)
