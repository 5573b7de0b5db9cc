"""The sessions of one SSH connection: programs started in the guest, and shells that wait there for work."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from nixvm_loop.guest.script import WAITING_SHELL

if TYPE_CHECKING:
    from typing import TypeAlias

    import asyncssh

    Opening: TypeAlias = asyncio.Task[asyncssh.SSHClientProcess[bytes]]

# After a refusal by a guest that is short of processes or memory for a moment.
_REFUSED_PAUSES_S: Final = (0.1, 0.5)


class Sessions:
    """Opens them; whoever gets one closes it."""

    def __init__(self, ssh: asyncssh.SSHClientConnection) -> None:
        self._ssh = ssh
        self._waiting: Opening | None = None

    async def open(self, command: str) -> asyncssh.SSHClientProcess[bytes]:
        """Start a command. Raises what asyncssh raises: OSError, asyncssh.Error."""
        # Cut short, it would leave its channel open on both sides.
        opening = asyncio.create_task(self._open(command))
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(close_opened)
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

    def start(self, command: str, stdin: bytes = b"") -> Opening:
        """Start a command that somebody will want later; until then a failure is nobody's."""

        async def begun() -> asyncssh.SSHClientProcess[bytes]:
            process = await self.open(command)
            process.stdin.write(stdin)
            return process

        opening = asyncio.create_task(begun())
        opening.add_done_callback(lambda task: task.cancelled() or task.exception())
        return opening

    def prepare(self) -> None:
        """Have a shell wait in the guest: starting one takes as long as a short script's run."""
        if self._waiting is None and not self._ssh.is_closed():
            self._waiting = self.start(WAITING_SHELL)

    async def take(self) -> asyncssh.SSHClientProcess[bytes] | None:
        """The shell that waits, None if none does, or not any more. Raises like `open` when all is lost."""
        import asyncssh  # noqa: PLC0415  # slow to import

        opening, self._waiting = self._waiting, None
        if opening is None:
            return None
        try:
            shell = await opening
        except (OSError, asyncssh.Error):
            if self._ssh.is_closed():
                raise
            return None
        return shell if shell.exit_status is None and not shell.is_closing() else None

    def cancel(self) -> None:
        """Give up what is still being opened: the connection ends."""
        if self._waiting is not None:
            self._waiting.cancel()


def close_opened(opening: Opening) -> None:
    """Close what was opened, if it was; for `add_done_callback`."""
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()
