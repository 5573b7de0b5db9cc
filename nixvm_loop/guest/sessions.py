"""The sessions of one SSH connection: programs started in the guest, and shells that wait there for work."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from nixvm_loop.guest.script import WAITING_SHELL

if TYPE_CHECKING:
    import asyncssh

# After a refusal by a guest that is short of processes or memory for a moment.
_REFUSED_PAUSES_S: Final = (0.1, 0.5)


class Sessions:
    """Opens them; whoever gets one closes it."""

    def __init__(self, ssh: asyncssh.SSHClientConnection) -> None:
        self._ssh = ssh
        self._waiting: list[asyncio.Task[asyncssh.SSHClientProcess[bytes]]] = []

    async def open(self, command: str) -> asyncssh.SSHClientProcess[bytes]:
        """Start a command. Raises what asyncssh raises: OSError, asyncssh.Error."""
        # Cut short, it would leave its channel open on both sides.
        opening = asyncio.create_task(self._open(command))
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_close_process)
            raise

    async def _open(self, command: str) -> asyncssh.SSHClientProcess[bytes]:
        import asyncssh  # noqa: PLC0415  # slow to import

        for pause_s in _REFUSED_PAUSES_S:
            try:
                return await self._ssh.create_process(command, encoding=None)
            except asyncssh.ChannelOpenError as error:
                if error.code != asyncssh.OPEN_REQUEST_SESSION_FAILED or self._ssh.is_closed():
                    raise
            await asyncio.sleep(pause_s)
        return await self._ssh.create_process(command, encoding=None)

    def prepare(self, shells: int) -> None:
        """Have so many shells wait in the guest: starting one takes as long as a short script's run."""
        while len(self._waiting) < shells and not self._ssh.is_closed():
            opening = asyncio.create_task(self.open(WAITING_SHELL))
            # Whoever takes it hears of a failure; until then it is nobody's.
            opening.add_done_callback(lambda task: task.cancelled() or task.exception())
            self._waiting.append(opening)

    async def take(self) -> asyncssh.SSHClientProcess[bytes] | None:
        """The shell that waits longest, None if none does, or not any more. Raises like `open` when all is lost."""
        import asyncssh  # noqa: PLC0415  # slow to import

        while self._waiting:
            try:
                shell = await self._waiting.pop(0)
            except (OSError, asyncssh.Error):
                if self._ssh.is_closed():
                    raise
                continue
            if shell.exit_status is None and not shell.is_closing():
                return shell
        return None

    def cancel(self) -> None:
        """Give up what is still being opened: the connection ends."""
        for opening in self._waiting:
            opening.cancel()


def _close_process(opening: asyncio.Task[asyncssh.SSHClientProcess[bytes]]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()
