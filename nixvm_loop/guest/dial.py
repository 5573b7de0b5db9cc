"""Finds the guest's sshd: overlapping attempts, the first banner wins."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from nixvm_loop.model.values import SshTarget

_BANNER: Final = b"SSH-"
# QEMU's and passt's forwarding accept before the guest can answer. Such an attempt may come back late or never, so
# newer ones are made beside it.
_INTERVAL_S: Final = 0.25
_ATTEMPT_TIMEOUT_S: Final = 10.0
# All that wait reach sshd at once when it comes up. OpenSSH starts a process for each, refuses more than ten
# (MaxStartups) and shuts out who leaves many without logging in (PerSourcePenalties): the more wait, the later more.
_MOST_WAITING: Final = 6
# After the guest has said that its sshd is about to listen, a refused attempt is repeated sooner than that.
_EAGER_INTERVAL_S: Final = 0.05
_EAGER_S: Final = 2.0


async def dial(target: SshTarget, *, news: asyncio.Event, on_attempt: Callable[[str], None]) -> socket.socket:
    """A connected socket on which an SSH server has said its first word, which is still to be read. No end of itself.

    `news` is set when the guest says that its sshd is about to listen: the next attempt is made at once. `on_attempt`
    is told of each attempt, with what the last one failed of ("" at first).
    """
    attempts: set[asyncio.Task[socket.socket]] = set()
    pace = _Pace(news)
    failure = ""
    winner: asyncio.Task[socket.socket] | None = None
    try:
        while winner is None:
            if pace.news_came():
                # What waits since before has no use any more: it would only keep sshd busy.
                await _close_all(attempts)
                attempts.clear()
            on_attempt(failure)
            newest = asyncio.create_task(_attempt(target))
            attempts.add(newest)
            winner, failure = await _until_next(attempts, newest, pace, failure)
        await _close_all(attempts - {winner})
    except BaseException:
        await _close_all(attempts)
        raise
    finally:
        pace.close()
    return winner.result()


async def _until_next(
    attempts: set[asyncio.Task[socket.socket]], newest: asyncio.Task[socket.socket], pace: _Pace, failure: str
) -> tuple[asyncio.Task[socket.socket] | None, str]:
    """Wait for a winner or until the next attempt is due; failed attempts are taken out, the last failure is told."""
    started = asyncio.get_running_loop().time()
    while (left_s := pace.left(started, waiting=len(attempts), failed=newest.done())) > 0:
        for attempt in await pace.wait(attempts, left_s):
            error = attempt.exception()
            if error is None:
                return attempt, failure
            attempts.discard(attempt)
            failure = _text(error)
    return None, failure


async def _close_all(losers: set[asyncio.Task[socket.socket]]) -> None:
    for loser in losers:
        if loser.done():
            _close_result(loser)
        else:
            loser.add_done_callback(_close_result)
            loser.cancel()
    await asyncio.gather(*losers, return_exceptions=True)


def _close_result(task: asyncio.Task[socket.socket]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().close()


class _Pace:
    """When the next attempt is due."""

    def __init__(self, news: asyncio.Event) -> None:
        self._heard = asyncio.ensure_future(news.wait())
        self._eager_until: float | None = None
        self._told = False

    def news_came(self) -> bool:
        """Whether the guest has said, since this was asked last, that its sshd is about to listen."""
        came, self._told = self._heard.done() and not self._told, self._heard.done()
        return came

    def left(self, started: float, *, waiting: int, failed: bool) -> float:
        """Seconds until the next attempt, the last being `started`; whether that `failed`, how many are `waiting`."""
        now = asyncio.get_running_loop().time()
        if self._heard.done() and self._eager_until is None:
            self._eager_until = now + _EAGER_S
            return 0.0
        if failed and self._eager_until is not None and now < self._eager_until:
            return started + _EAGER_INTERVAL_S - now
        if waiting >= _MOST_WAITING:
            return _ATTEMPT_TIMEOUT_S
        return started + _INTERVAL_S * max(waiting, 1) - now

    async def wait(
        self, attempts: set[asyncio.Task[socket.socket]], timeout_s: float
    ) -> set[asyncio.Task[socket.socket]]:
        """Wait for an attempt to end, or for news; the attempts that ended."""
        news = set() if self._heard.done() else {self._heard}
        if attempts or news:
            await asyncio.wait({*attempts, *news}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        else:
            await asyncio.sleep(timeout_s)
        return {attempt for attempt in attempts if attempt.done()}

    def close(self) -> None:
        """Wait for nothing more."""
        self._heard.cancel()


async def _attempt(target: SshTarget) -> socket.socket:
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(_ATTEMPT_TIMEOUT_S):
        found = await loop.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
        error: OSError = ConnectionRefusedError("no address")
        for family, kind, protocol, _, address in found:
            connection = socket.socket(family, kind, protocol)
            try:
                connection.setblocking(False)
                await loop.sock_connect(connection, address)
                await _banner(loop, connection)
            except OSError as failure:
                connection.close()
                error = failure
            except BaseException:
                connection.close()
                raise
            else:
                return connection
        raise error


async def _banner(loop: asyncio.AbstractEventLoop, connection: socket.socket) -> None:
    readable = loop.create_future()

    def ready() -> None:
        # It may fire again before this task runs and disarms it.
        if not readable.done():
            readable.set_result(None)

    loop.add_reader(connection, ready)
    try:
        await readable
    finally:
        loop.remove_reader(connection)
    said = connection.recv(len(_BANNER), socket.MSG_PEEK)
    if not said:
        raise ConnectionResetError("the connection was closed before anything was said")
    if not _BANNER.startswith(said):
        raise ConnectionAbortedError("what answers is not an SSH server")


def _text(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "the connection was accepted, then silence"
    if isinstance(error, OSError):
        return os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
    raise error
