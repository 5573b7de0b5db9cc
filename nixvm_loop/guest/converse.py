"""One command in the guest: what goes in, what comes out, and how it ended."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    import asyncssh

_CHUNK_BYTES: Final = 1 << 16
OUTPUT_LIMIT_BYTES: Final = 4 << 20


class CommandEnd(StrEnum):
    """How a command in the guest ended."""

    EXITED = "exited"
    KILLED = "killed by a signal"
    TIMED_OUT = "timed out"
    FLOODED = "said more than anybody would read"


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What a command did; `exit_status` is None unless it exited by itself."""

    end: CommandEnd
    exit_status: int | None
    stdout: str
    stderr: str

    @property
    def ok(self) -> bool:
        """Whether the command exited 0."""
        return self.exit_status == 0


class FloodError(Exception):
    """More output than is read."""


class Output:
    """What a command has said so far."""

    def __init__(self, on_line: Callable[[str], object] | None = None) -> None:
        self.stdout = bytearray()
        self.stderr = bytearray()
        self._on_line = on_line
        self._told = 0

    def tell(self) -> None:
        """Hand on the lines of standard output that are whole by now."""
        while self._on_line is not None and (end := self.stdout.find(b"\n", self._told)) >= 0:
            self._on_line(self.stdout[self._told : end].decode("utf-8", "replace"))
            self._told = end + 1

    def result(self, end: CommandEnd, exit_status: int | None = None) -> CommandResult:
        """The result with what was said until now; what is not UTF-8 is replaced."""
        stdout, stderr = (bytes(said).decode("utf-8", "replace") for said in (self.stdout, self.stderr))
        return CommandResult(end, exit_status, stdout, stderr)


async def converse(process: asyncssh.SSHClientProcess[bytes], stdin: bytes, output: Output) -> None:
    """Feed a running command and take what it says to its end. Raises FloodError and what asyncssh raises."""
    tasks = [
        asyncio.ensure_future(_take(process.stdout, output.stdout, output.tell)),
        asyncio.ensure_future(_take(process.stderr, output.stderr, lambda: None)),
        asyncio.ensure_future(_feed(process.stdin, stdin)),
    ]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _take(reader: Any, said: bytearray, tell: Callable[[], None]) -> None:
    while chunk := await reader.read(_CHUNK_BYTES):
        said += chunk
        tell()
        if len(said) > OUTPUT_LIMIT_BYTES:
            raise FloodError


async def _feed(writer: Any, data: bytes) -> None:
    # A command that does not read its input to the end is no fault.
    with suppress(BrokenPipeError, ConnectionResetError):
        writer.write(data)
        await writer.drain()
        writer.write_eof()
