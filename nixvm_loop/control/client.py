"""The other side of the socket: finding the `watch` of a guest, and having it do what a command was asked for."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from nixvm_loop import control
from nixvm_loop.control.orders import FollowConsole, Standing
from nixvm_loop.control.place import peer
from nixvm_loop.control.protocol import (
    LINE_LIMIT_BYTES,
    Failed,
    decode_answer,
    decode_greeting,
    encode_request,
    error_of,
    fingerprint,
)
from nixvm_loop.errors import InterruptedByUser
from nixvm_loop.events.types import Console, CycleFinished, CycleStarted, StageStarted, Stamped
from nixvm_loop.model.values import Verdict

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from nixvm_loop.control.orders import Rebuild, Request, Rollback
    from nixvm_loop.control.protocol import Answer, Done, Greeting
    from nixvm_loop.errors import NixvmLoopError
    from nixvm_loop.model.settings import GuestSettings

Streams: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True, slots=True)
class Answered:
    """What came of an order: the cycle's exit code, None when `watch` ended before it began; and the error, if any."""

    exit_code: int | None
    error: NixvmLoopError | None = None


class Reached:
    """A `watch` that answers.

    Attributes:
        process: Its process id.
        standing: Where it is.
        is_alike: Whether it works with the settings that we have, read by the version that we are.
    """

    def __init__(self, settings: GuestSettings, greeting: Greeting, process: int, streams: Streams) -> None:
        self.process = process
        self.standing: Standing = greeting.standing
        self.is_alike = greeting.settings == fingerprint(settings)
        self._settings = settings
        self._reader, self._writer = streams

    def __str__(self) -> str:
        """As a message names it."""
        return f"watch (process {self.process})"

    async def order(self, request: Rebuild | Rollback, hear: Callable[[Stamped], None]) -> Answered:
        """Give an order and hand on the events of its cycle until that has ended. Leaving early takes nothing back."""
        heard = _Heard(hear)
        answer = await self._ask(request, heard.take)
        if isinstance(answer, Failed):
            return Answered(answer.exit_code, error_of(answer.error, answer.exit_code))
        finished = heard.finished
        if finished is not None and (answer is not None or finished.verdict is not Verdict.CANCELLED):
            return Answered(finished.exit_code, self._error(finished))
        return Answered(InterruptedByUser.exit_code, await self._lost(heard)) if heard.begun else Answered(None)

    async def follow_console(self, hear: Callable[[str], None]) -> None:
        """Hand on the console's lines until the running cycle has ended."""

        def take(stamped: Stamped) -> None:
            if isinstance(stamped.event, Console):
                hear(stamped.event.line)

        await self._ask(FollowConsole(), take)

    async def _ask(self, request: Request, hear: Callable[[Stamped], None]) -> Done | Failed | None:
        """The answer's end, None when it was cut off."""
        self._writer.write(encode_request(request))
        while isinstance(answer := await self._next(), Stamped):
            hear(answer)
        return answer

    async def _next(self) -> Answer | None:
        try:
            line = await self._reader.readline()
            return decode_answer(line) if line else None
        except (OSError, ValueError):
            return None  # gone, or saying what no watch says

    def _error(self, finished: CycleFinished) -> NixvmLoopError | None:
        if finished.error is None:
            return None
        if finished.exit_code == InterruptedByUser.exit_code:
            return InterruptedByUser(f"{self} was stopped in the middle of the cycle")
        return error_of(finished.error, finished.exit_code)

    async def _lost(self, heard: _Heard) -> NixvmLoopError:
        # A greeting, because the sockets of a process that is killed do not all close at once.
        again = await control.reach(self._settings)
        if again is None:
            return InterruptedByUser(
                f"{self} ended {heard.standing}, and what became of that is not known: "
                "the next nixvm-loop rebuild finishes or undoes it"
            )
        await again.close()
        return InterruptedByUser(
            f"{self} was lost {heard.standing}, because what it told was not read in time; it goes on"
        )

    async def close(self) -> None:
        """Hang up."""
        self._writer.transport.abort()
        with suppress(OSError):
            await self._writer.wait_closed()


class _Heard:
    """How far the cycle came, by its events."""

    def __init__(self, hear: Callable[[Stamped], None]) -> None:
        self._hear = hear
        self.begun = False
        self.standing = Standing()
        self.finished: CycleFinished | None = None

    def take(self, stamped: Stamped) -> None:
        """Note an event and hand it on."""
        match stamped.event:
            case CycleStarted():
                self.begun, self.standing, self.finished = True, Standing(stamped.cycle), None
            case StageStarted(stage):
                self.standing = replace(self.standing, stage=stage)
            case CycleFinished() as finished:
                self.finished = finished
            case _:
                pass
        self._hear(stamped)


async def greeted(settings: GuestSettings, connection: socket.socket, patience_s: float) -> Reached | None:
    """The `watch` at the other end; None when it does not greet in time, or in another protocol."""
    process, _ = peer(connection)
    streams = await asyncio.open_unix_connection(sock=connection, limit=LINE_LIMIT_BYTES)
    try:
        async with asyncio.timeout(patience_s):
            greeting = decode_greeting(await streams[0].readline())
    except (OSError, ValueError):
        # It ended, hangs, or is another version.
        streams[1].transport.abort()
        return None
    except BaseException:
        streams[1].transport.abort()
        raise
    return Reached(settings, greeting, process, streams)
