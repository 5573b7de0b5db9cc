"""The side of the socket that a running `watch` opens. No client can hold it up: what one does not read is dropped."""

from __future__ import annotations

import asyncio
import logging
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from nixvm_loop.control.orders import FollowConsole
from nixvm_loop.control.place import is_trusted_client, listening
from nixvm_loop.control.protocol import (
    LINE_LIMIT_BYTES,
    REQUEST_LIMIT_BYTES,
    Done,
    Failed,
    Greeting,
    decode_request,
    encode_answer,
    encode_greeting,
    failed,
    fingerprint,
)
from nixvm_loop.errors import NixvmLoopError, UsageError
from nixvm_loop.events.codec import encode
from nixvm_loop.events.types import Notice
from nixvm_loop.model.values import Severity

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from nixvm_loop.control.fan import Fan
    from nixvm_loop.control.orders import Rebuild, Request, Rollback
    from nixvm_loop.events.types import Emit, Stamped
    from nixvm_loop.model.settings import GuestSettings

_CLIENTS: Final = 32
_REQUEST_TIMEOUT_S: Final = 5.0
_UNREAD_LIMIT_BYTES: Final = 4 << 20
_READ_TIMEOUT_S: Final = 60.0
_LEAVE_TIMEOUT_S: Final = 1.0

_log = logging.getLogger(__name__)


class Orders(Protocol):
    """Takes the orders of clients."""

    def __call__(self, ticket: int, request: Rebuild | Rollback) -> None:
        """Take an order without waiting; the cycle that serves it is announced by `Fan.begin` with its ticket.

        Raises:
            NixvmLoopError: the order cannot be served; the client ends with this error.
        """
        ...


@asynccontextmanager
async def serve(settings: GuestSettings, fan: Fan, orders: Orders, emit: Emit) -> AsyncIterator[None]:
    """Serve clients as long as the context is open. Where no socket can be made, that is told and nobody is served.

    Raises:
        UsageError: another process serves this guest's state directory.
    """
    with ExitStack() as stack:
        try:
            listener = stack.enter_context(listening(settings.state_dir))
        except OSError as error:
            message = "nixvm-loop rebuild, status and console cannot reach this watch: it has no socket"
            emit(Notice(Severity.WARNING, f"{message}: {error.strerror}", None))
            yield
            return
        server = _Server(fingerprint(settings), fan, orders)
        # A copy, so that the place is ours until the last client has gone.
        accepting = await asyncio.start_unix_server(server.accept, sock=listener.dup(), limit=REQUEST_LIMIT_BYTES)
        try:
            yield
        finally:
            accepting.close()
            await server.hang_up()


@dataclass(slots=True)
class _Server:
    """Everybody who is connected."""

    settings: str
    fan: Fan
    orders: Orders
    clients: set[asyncio.Task[None]] = field(default_factory=set)
    closing: bool = False

    async def hang_up(self) -> None:
        """Close all connections; what was already written may still be read."""
        self.closing = True
        if not self.clients:
            return
        for client in self.clients:
            client.cancel()
        _, late = await asyncio.wait(self.clients, timeout=_LEAVE_TIMEOUT_S)
        for client in late:
            client.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take a new connection."""
        full = self.closing or len(self.clients) >= _CLIENTS
        if full or not is_trusted_client(writer.get_extra_info("socket")):
            writer.transport.abort()
            return

        def gone(task: asyncio.Task[None]) -> None:
            self.clients.discard(task)
            writer.close()  # of a task that never ran

        task = asyncio.create_task(self._serve(reader, _Client(writer)))
        self.clients.add(task)
        task.add_done_callback(gone)

    async def _serve(self, reader: asyncio.StreamReader, client: _Client) -> None:
        try:
            client.write(encode_greeting(Greeting(self.settings, self.fan.standing)))
            await self._answer(reader, client)
        except OSError:
            pass  # the client has gone
        except Exception as error:  # noqa: BLE001  # one client's trouble must not end watch; both are told
            _log.exception("a client was not served")
            client.end(NixvmLoopError(f"a bug in nixvm-loop: {error!r}"))
        finally:
            await client.close()

    async def _answer(self, reader: asyncio.StreamReader, client: _Client) -> None:
        request = await self._request(reader, client)
        if request is None:
            return
        ticket = self._join(client, request)
        try:
            await _until_either(client.ended, reader)
        finally:
            self.fan.leave(ticket)

    async def _request(self, reader: asyncio.StreamReader, client: _Client) -> Request | None:
        """What the client asks for, if it does so in time and in words that are known here."""
        try:
            async with asyncio.timeout(_REQUEST_TIMEOUT_S):
                line = await reader.readline()
            return decode_request(line) if line else None
        except TimeoutError:
            return None
        except ValueError as error:
            client.end(UsageError(f"watch does not understand the request: {error}"))
            return None

    def _join(self, client: _Client, request: Request) -> int:
        if isinstance(request, FollowConsole):
            return self.fan.join_console(client)
        ticket = self.fan.join(client)
        try:
            self.orders(ticket, request)
        except NixvmLoopError as error:
            client.end(error)
        return ticket


async def _until_either(ended: asyncio.Event, reader: asyncio.StreamReader) -> None:
    """Wait until all is said, or until the client hangs up or talks out of turn."""
    waiting = [asyncio.ensure_future(ended.wait()), asyncio.ensure_future(reader.read(1))]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


class _Client:
    """A listener on the other end of a connection. What it does not read is kept up to a limit, then it is cut off."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self.ended = asyncio.Event()

    def write(self, line: bytes) -> None:
        """Send a line without waiting; one that is longer than a line may be is left out."""
        if self.ended.is_set() or len(line) > LINE_LIMIT_BYTES:
            return
        self._writer.write(line)
        if self._writer.transport.get_write_buffer_size() > _UNREAD_LIMIT_BYTES:
            self._writer.transport.abort()
            self.ended.set()

    def hear(self, stamped: Stamped) -> None:
        """Send an event."""
        self.write(encode(stamped).encode() + b"\n")

    def end(self, error: NixvmLoopError | None) -> None:
        """Send the end."""
        answer: Done | Failed = Done() if error is None else failed(error)
        self.write(encode_answer(answer))
        self.ended.set()

    async def close(self) -> None:
        """Hang up once the client has read everything, or has had the time for it."""
        self.ended.set()
        self._writer.close()
        try:
            async with asyncio.timeout(_READ_TIMEOUT_S):
                await self._writer.wait_closed()
        except OSError:
            pass  # the client has gone, or its time is over
        finally:
            # Aborting what is already closed is an error in asyncio.
            if self._writer.transport.get_write_buffer_size():
                self._writer.transport.abort()
