"""An sshd in this process: it runs commands by a real shell, or behaves as badly as a test wants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import asyncssh
import pytest

from nixvm_loop.guest import Access, HostKeys, KeyPair, ensure_key
from nixvm_loop.model.settings import HostKeyPolicy
from nixvm_loop.model.values import SshTarget

if TYPE_CHECKING:
    from pathlib import Path

Handler = Callable[["asyncssh.SSHServerProcess[bytes]"], Awaitable[None]]


async def by_shell(process: asyncssh.SSHServerProcess[bytes]) -> None:
    """Run the command as a login shell of sh would."""
    child = await asyncio.create_subprocess_exec(
        "/bin/sh",
        "-c",
        process.command or "",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        stdout, stderr = await child.communicate(await process.stdin.read())
    finally:
        if child.returncode is None:
            # Whoever asked has gone.
            child.kill()
            await child.communicate()
    process.stdout.write(stdout)
    process.stderr.write(stderr)
    process.exit(child.returncode or 0)


@dataclass
class Sshd:
    """A server that was started: where it is, its host key as `TYPE KEY`, the commands it was given."""

    target: SshTarget
    host_key: str
    listener: asyncssh.SSHAcceptor
    connections: list[asyncssh.SSHServerConnection]
    commands: list[str] = field(default_factory=list)

    def drop(self) -> None:
        """Break every connection off."""
        for connection in self.connections:
            connection.abort()


class SshdFactory:
    """Starts servers; all end with the test."""

    def __init__(self, key: KeyPair, stack: AsyncExitStack) -> None:
        self._key = key
        self._stack = stack

    async def __call__(
        self, handler: Handler = by_shell, *, port: int = 0, key_type: str = "ssh-ed25519", accepts: str | None = None
    ) -> Sshd:
        """Listen on 127.0.0.1; `accepts` replaces the guest's own public key."""
        host_key = asyncssh.generate_private_key(key_type)
        authorized = asyncssh.import_authorized_keys(self._key.public if accepts is None else accepts)
        connections: list[asyncssh.SSHServerConnection] = []
        commands: list[str] = []

        class Server(asyncssh.SSHServer):
            def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
                connections.append(conn)

        async def handle(process: asyncssh.SSHServerProcess[bytes]) -> None:
            commands.append(process.command or "")
            # A client may have gone before its command's end.
            with suppress(OSError):
                await handler(process)

        listener = await asyncssh.listen(
            "127.0.0.1",
            port,
            server_factory=Server,
            server_host_keys=[host_key],
            authorized_client_keys=authorized,
            process_factory=handle,
            encoding=None,
        )
        shown = " ".join(host_key.export_public_key().decode().split()[:2])
        sshd = Sshd(SshTarget("127.0.0.1", listener.get_port()), shown, listener, connections, commands)
        self._stack.push_async_callback(_end, sshd)
        return sshd


async def _end(sshd: Sshd) -> None:
    sshd.listener.close()
    sshd.drop()
    await sshd.listener.wait_closed()
    for connection in sshd.connections:
        await connection.wait_closed()


@asynccontextmanager
async def peer(
    talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[Any]],
) -> AsyncIterator[SshTarget]:
    """A TCP server that is no sshd."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield SshTarget("127.0.0.1", server.sockets[0].getsockname()[1])
    finally:
        server.close()


@pytest.fixture(scope="session")
def key(tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    """The key that the guest accepts."""
    return ensure_key(tmp_path_factory.mktemp("key"))


@pytest.fixture
async def start_sshd(key: KeyPair) -> AsyncIterator[SshdFactory]:
    """Starts an sshd."""
    async with AsyncExitStack() as stack:
        yield SshdFactory(key, stack)


@pytest.fixture
def tcp_peer() -> Callable[..., Any]:
    """Starts a TCP server that is no sshd."""
    return peer


@pytest.fixture
def access(key: KeyPair) -> Callable[..., Access]:
    """How `demo` is reached at a target."""

    def make(target: SshTarget, policy: HostKeyPolicy = HostKeyPolicy.AUTO, proxy: tuple[str, ...] = ()) -> Access:
        return Access("demo", target, "root", key.private, policy, proxy)

    return make


@pytest.fixture
def host_keys(tmp_path: Path) -> Callable[..., HostKeys]:
    """The host keys of `demo`, kept in the test's folder."""

    def make(
        policy: HostKeyPolicy = HostKeyPolicy.AUTO, boot: str | None = "boot-1", first_meeting_wait_s: float = 0
    ) -> HostKeys:
        return HostKeys(tmp_path / "ssh", "demo", policy, boot=boot, first_meeting_wait_s=first_meeting_wait_s)

    return make
