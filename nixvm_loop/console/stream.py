"""A domain's console as a stream of bytes that arrive in the event loop."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from nixvm_loop.domain.binding import library, post
from nixvm_loop.domain.faults import ask
from nixvm_loop.errors import DomainError

if TYPE_CHECKING:
    from collections.abc import Callable

    from nixvm_loop.domain import Domain

_CHUNK_BYTES: Final = 64 << 10
_WOULD_BLOCK: Final = -2
_RETRY_S: Final = 0.02


class ConsoleStream:
    """An open console. There is one reader at a time: opening it ends what somebody else had opened."""

    def __init__(self, domain: Domain, on_data: Callable[[bytes], object], on_end: Callable[[], object]) -> None:
        self._domain = domain
        self._on_data = on_data
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._stream: Any = None
        self._listening = False

    async def open(self) -> None:
        """Attach to the console; everything that the guest says from now on arrives.

        Raises:
            DomainError: the domain is off, or has no console of type pty.
        """
        try:
            await ask(f"opening the console of domain {self._domain.name}", self._open)
        except DomainError as error:
            error.hint = error.hint or "the domain must be started and have <serial type='pty'/>"
            raise

    def _open(self) -> None:
        libvirt = library()
        handle = self._domain.handle
        stream = handle.connect().newStream(libvirt.VIR_STREAM_NONBLOCK)
        handle.openConsole(None, stream, libvirt.VIR_DOMAIN_CONSOLE_FORCE)
        self._stream = stream
        events = libvirt.VIR_STREAM_EVENT_READABLE | libvirt.VIR_STREAM_EVENT_ERROR | libvirt.VIR_STREAM_EVENT_HANGUP
        self._listening = True
        stream.eventAddCallback(events, self._on_event, None)

    def _on_event(self, stream: Any, _events: int, _opaque: object) -> None:
        # In libvirt's thread.
        try:
            data = stream.recv(_CHUNK_BYTES)
        except library().libvirtError:
            data = b""
        if data == _WOULD_BLOCK:
            return
        if data:
            post(self._loop, self._on_data, data)
            return
        self._stop_listening()
        post(self._loop, self._on_end)

    def _stop_listening(self) -> None:
        if self._listening:
            self._listening = False
            with suppress(library().libvirtError):
                self._stream.eventRemoveCallback()

    async def send(self, data: bytes) -> None:
        """Type `data`, waiting until libvirt has taken it.

        Raises:
            DomainError: the console has ended.
        """
        while data:
            count = await ask(f"writing to the console of domain {self._domain.name}", self._stream.send, data)
            if count == _WOULD_BLOCK:
                await asyncio.sleep(_RETRY_S)
            else:
                data = data[count:]

    async def close(self) -> None:
        """Detach; after that nothing arrives any more."""
        if self._stream is not None:
            await ask(f"leaving the console of domain {self._domain.name}", self._close)

    def _close(self) -> None:
        self._stop_listening()
        # Of a stream that has ended by itself there is nothing left to abort.
        with suppress(library().libvirtError):
            self._stream.abort()
