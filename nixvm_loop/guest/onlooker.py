"""A shell that waits in the guest and tells facts when asked: those that decide first, the probes if wanted."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from nixvm_loop.guest.converse import OUTPUT_LIMIT_BYTES, FloodError
from nixvm_loop.guest.facts import FACTS, PROBES, Asked, FactsRequest, is_ready, is_whole, times_told, told_so_far
from nixvm_loop.guest.script import waiting_for
from nixvm_loop.guest.sessions import close_opened

if TYPE_CHECKING:
    from collections.abc import Callable

    import asyncssh

    from nixvm_loop.guest.sessions import Sessions
    from nixvm_loop.model.facts import GuestFacts
    from nixvm_loop.model.settings import StoreSettings

_CHUNK_BYTES: Final = 1 << 16


class Onlooker:
    """One such shell. Its start costs what a look does, so it is started before anybody waits for it.

    The methods return None when it is of no use any more, and raise FloodError and what asyncssh raises.
    """

    def __init__(self, sessions: Sessions, store: StoreSettings) -> None:
        self._request = FactsRequest(store, asked=Asked.BY_WORD)
        self._starting = sessions.start(waiting_for(script := self._request.script.whole.encode()), script)
        self._said = bytearray()
        self._busy = False

    async def facts(self) -> GuestFacts | None:
        """What the guest is and has mounted, as of now; what takes a probe is None. It can be asked again."""
        times = times_told(self._text, self._request)
        return await self._ask(FACTS, lambda: times_told(self._text, self._request) > times)

    async def probes(self) -> GuestFacts | None:
        """The last facts that were told, and with them what the probes show: it ends with that."""
        if not times_told(self._text, self._request):
            return None
        return await self._ask(PROBES, lambda: is_whole(self._text, self._request))

    async def _ask(self, word: str, answered: Callable[[], bool]) -> GuestFacts | None:
        assert not self._busy, "one question at a time"  # noqa: S101  # its answer would be taken for another's
        self._busy = True
        try:
            return await self._answer(word, answered)
        finally:
            self._busy = False

    async def _answer(self, word: str, answered: Callable[[], bool]) -> GuestFacts | None:
        if self._starting.cancelled():
            return None
        process = await asyncio.shield(self._starting)
        if process.is_closing() or process.exit_status is not None:
            return None
        # A word that came with the script might be read as a part of it.
        if not await self._read(process, lambda: is_ready(self._text, self._request)):
            return None
        process.stdin.write(f"{word}\n".encode())
        return told_so_far(self._text, self._request) if await self._read(process, answered) else None

    async def _read(self, process: asyncssh.SSHClientProcess[bytes], answered: Callable[[], bool]) -> bool:
        while not answered():
            chunk = await process.stdout.read(_CHUNK_BYTES)
            if not chunk:
                return False
            self._said += chunk
            if len(self._said) > OUTPUT_LIMIT_BYTES:
                raise FloodError
        return True

    @property
    def _text(self) -> str:
        return self._said.decode("utf-8", "replace")

    def close(self) -> None:
        """Let it go: it ends with its input."""
        self._starting.add_done_callback(close_opened)
