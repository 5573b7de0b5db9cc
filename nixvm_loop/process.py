"""The only door for child processes: a request goes in, lines come out, an outcome ends it; nothing is left running."""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import signal
import time
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from nixvm_loop.errors import UsageError
from nixvm_loop.procfs import descendants, parents, started
from nixvm_loop.spans import SpanKind, span

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

_CHUNK_BYTES: Final = 1 << 16
_LINE_LIMIT_BYTES: Final = 16 << 20
_KILL_WAIT_S: Final = 5.0
# A grandchild may hold the pipe open after the child has ended; its output is not waited for longer than this.
_DRAIN_WAIT_S: Final = 0.5
_EXIT_POLL_S: Final = 0.1


class Stream(StrEnum):
    """Where a line came from."""

    STDOUT = "stdout"
    STDERR = "stderr"


@dataclass(frozen=True, slots=True)
class Request:
    """A child process to run.

    Attributes:
        env: Added to this process's environment; None removes a variable.
        stdin: Given to the child; None leaves it without input.
        interrupt_wait_s: How long the child may take to end after SIGINT before it is killed with its descendants.
    """

    argv: tuple[str, ...]
    cwd: Path | None = None
    env: Mapping[str, str | None] = field(default_factory=dict)
    stdin: bytes | None = None
    interrupt_wait_s: float = 5.0

    def __str__(self) -> str:
        """The command as one would type it."""
        return shlex.join(self.argv)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a child ended. `exit_code` is negative for a signal; the texts hold what no `on_line` took."""

    request: Request
    exit_code: int
    stdout: bytes
    stderr: bytes
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether the child exited 0."""
        return self.exit_code == 0


async def run(request: Request, on_line: Callable[[Stream, bytes], None] | None = None) -> Outcome:
    """Run a child to its end. With `on_line` each line goes there (newline stripped) and the outcome's texts are empty.

    Cancelling interrupts the child, waits `interrupt_wait_s`, kills what is left of it and its descendants, and only
    then lets the cancellation through. Should this process die itself, the kernel interrupts the child.

    Raises:
        UsageError: the program is not installed or cannot be started.
    """
    with span(SpanKind.PROCESS, request.argv[0]):
        return await _run(request, on_line)


async def _run(request: Request, on_line: Callable[[Stream, bytes], None] | None) -> Outcome:
    started = time.monotonic()
    process = await _spawned(request)
    output = _Output(on_line)
    readers = [
        asyncio.create_task(_read(process.stdout, Stream.STDOUT, output)),
        asyncio.create_task(_read(process.stderr, Stream.STDERR, output)),
        asyncio.create_task(_feed(process, request.stdin)),
    ]
    try:
        await _wait_unless_reader_fails(process, readers)
        await asyncio.wait(readers, timeout=_DRAIN_WAIT_S)
    finally:
        await _to_the_end(asyncio.ensure_future(_clear(process, readers, request.interrupt_wait_s)))
    for reader in readers:
        if not reader.cancelled() and (error := reader.exception()) is not None:
            raise error
    return Outcome(
        request,
        process.returncode if process.returncode is not None else -signal.SIGKILL,
        bytes(output.kept[Stream.STDOUT]),
        bytes(output.kept[Stream.STDERR]),
        time.monotonic() - started,
    )


async def _spawned(request: Request) -> asyncio.subprocess.Process:
    # Cancelled in the middle, asyncio would kill the child alone and wait for whoever holds its pipes, for ever.
    spawning = asyncio.ensure_future(_spawn(request))
    try:
        return await asyncio.shield(spawning)
    except asyncio.CancelledError:
        await _to_the_end(asyncio.ensure_future(_clear_when_spawned(spawning, request.interrupt_wait_s)))
        raise


async def _clear_when_spawned(spawning: asyncio.Future[asyncio.subprocess.Process], interrupt_wait_s: float) -> None:
    try:
        process = await spawning
    except UsageError:
        return  # there is none; that nobody waits for it any more is what is told
    await _clear(process, [], interrupt_wait_s)


async def _to_the_end(task: asyncio.Task[None]) -> None:
    # A second cancellation must not cut short what the first one started; the task itself is bounded.
    cancelled = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled


async def _wait_unless_reader_fails(process: asyncio.subprocess.Process, readers: list[asyncio.Task[None]]) -> None:
    ended = asyncio.create_task(_exit_of(process))
    try:
        pending: set[asyncio.Task[None]] = set(readers)
        while not ended.done():
            done, _ = await asyncio.wait({ended, *pending}, return_when=asyncio.FIRST_COMPLETED)
            pending -= done
            if any(task is not ended and task.exception() is not None for task in done):
                return
    finally:
        ended.cancel()


async def _exit_of(process: asyncio.subprocess.Process) -> None:
    # Process.wait() also waits for the pipes (cpython#119710), which a grandchild may hold open for ever.
    while process.returncode is None:
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), _EXIT_POLL_S)


async def _spawn(request: Request) -> asyncio.subprocess.Process:
    env = {**os.environ, **{key: value for key, value in request.env.items() if value is not None}}
    for key, value in request.env.items():
        if value is None:
            env.pop(key, None)
    program = shutil.which(request.argv[0], path=env.get("PATH"))
    if program is None:
        raise UsageError(f"{request.argv[0]} is not installed, or not on PATH")
    # setpriv arms the parent-death signal in the child itself, where nothing of Python runs any more.
    setpriv = shutil.which("setpriv", path=env.get("PATH"))
    guard = (setpriv, "--pdeathsig", "INT", "--") if setpriv else ()
    try:
        return await asyncio.create_subprocess_exec(
            *guard,
            program,
            *request.argv[1:],
            cwd=request.cwd,
            env=env,
            stdin=asyncio.subprocess.DEVNULL if request.stdin is None else asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise UsageError(f"{request.argv[0]} could not be started: {error.strerror or error}") from error


class _Output:
    """Collects, or hands on, what a child says."""

    def __init__(self, on_line: Callable[[Stream, bytes], None] | None) -> None:
        self.kept = {Stream.STDOUT: bytearray(), Stream.STDERR: bytearray()}
        self._on_line = on_line
        self._partial = {Stream.STDOUT: bytearray(), Stream.STDERR: bytearray()}

    def take(self, stream: Stream, chunk: bytes) -> None:
        if self._on_line is None:
            self.kept[stream] += chunk
            return
        partial = self._partial[stream]
        partial += chunk
        if b"\n" not in chunk and len(partial) < _LINE_LIMIT_BYTES:
            return
        *lines, rest = bytes(partial).split(b"\n")
        if len(rest) >= _LINE_LIMIT_BYTES:
            lines, rest = [*lines, rest], b""
        self._partial[stream] = bytearray(rest)
        for line in lines:
            self._on_line(stream, line)

    def end(self, stream: Stream) -> None:
        if self._on_line is not None and self._partial[stream]:
            self._on_line(stream, bytes(self._partial[stream]))
            self._partial[stream].clear()


async def _read(reader: asyncio.StreamReader | None, stream: Stream, output: _Output) -> None:
    if reader is None:
        return
    while chunk := await reader.read(_CHUNK_BYTES):
        output.take(stream, chunk)
    output.end(stream)


async def _feed(process: asyncio.subprocess.Process, data: bytes | None) -> None:
    if process.stdin is None or data is None:
        return
    # A child that does not read its input to the end is no fault of the feeder's.
    with suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.write(data)
        await process.stdin.drain()
    process.stdin.close()


async def _clear(
    process: asyncio.subprocess.Process, readers: list[asyncio.Task[None]], interrupt_wait_s: float
) -> None:
    await _end(process, interrupt_wait_s)
    for reader in readers:
        reader.cancel()
    await asyncio.gather(*readers, return_exceptions=True)
    # The pipes would stay open as long as a grandchild holds them; asyncio has no public way to let go of them.
    process._transport.close()  # type: ignore[attr-defined]  # noqa: SLF001


async def _end(process: asyncio.subprocess.Process, interrupt_wait_s: float) -> None:
    """INT, wait, KILL; afterwards nothing of the child's group, and no descendant of it, is left."""
    if process.returncode is None:
        # Nix's builders have sessions of their own, so the group alone is not enough; and whose parent has ended is
        # no longer known as a descendant, so they are looked up before as well as after the interrupt.
        below = started(descendants(process.pid, parents()))
        _signal_group(process.pid, signal.SIGINT)
        with suppress(TimeoutError):
            await asyncio.wait_for(_exit_of(process), interrupt_wait_s)
        if process.returncode is None:
            below |= started(descendants(process.pid, parents()))
        # The start time tells a process from a later one under the same number.
        _kill(pid for pid, _ in below & started(pid for pid, _ in below))
    _signal_group(process.pid, signal.SIGKILL)
    if process.returncode is None:
        with suppress(TimeoutError):
            await asyncio.wait_for(_exit_of(process), _KILL_WAIT_S)


def _kill(pids: Iterable[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def _signal_group(leader: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)
