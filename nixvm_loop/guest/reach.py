"""Reaches the guest's sshd while the guest boots, and makes sure that it is the guest."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from nixvm_loop.errors import AccessError, GuestError, HostKeyError
from nixvm_loop.events.types import GuestWaiting, Notice
from nixvm_loop.guest.connection import Connection
from nixvm_loop.guest.dial import dial
from nixvm_loop.guest.hostkeys import Judgement, wrong_host_key
from nixvm_loop.guest.keys import REMAKE
from nixvm_loop.model.settings import HostKeyPolicy
from nixvm_loop.model.values import Severity
from nixvm_loop.spans import SpanKind, span

if TYPE_CHECKING:
    import socket
    from pathlib import Path

    import asyncssh

    from nixvm_loop.events.types import Emit
    from nixvm_loop.guest.access import Access
    from nixvm_loop.guest.hostkeys import HostKeys
    from nixvm_loop.model.clock import Clock

# An sshd may be up before the keys that it accepts are.
_DENIED_RETRY_S: Final = 3.0
_RETRY_S: Final = 0.25
_WAITING_EVERY_S: Final = 1.0
_LOGIN_TIMEOUT_S: Final = 10.0
_KEEPALIVE_S: Final = 5.0
_LOST_AFTER_KEEPALIVES: Final = 3
# First what an emulated processor has done soonest; `^` keeps the rest as a fallback.
_ALGORITHMS: Final[dict[str, Any]] = {
    "kex_algs": "^curve25519-sha256",
    "encryption_algs": "^aes128-ctr",
    "mac_algs": "^hmac-sha2-256",
    "compression_algs": ["none"],
}


async def reach(access: Access, *, host_keys: HostKeys, emit: Emit, clock: Clock, timeout_s: float) -> Connection:
    """A connection to the guest, as soon as its sshd answers; cancel it when the guest is known to be dead.

    Raises:
        GuestError: nothing answered in time; AccessError if the guest answers and does not accept the key.
        HostKeyError: something answers that is not the guest, or that the guest has not announced in time.
    """
    search = _Search(access, host_keys, emit, clock, clock.monotonic())
    deadline = asyncio.timeout(timeout_s)
    try:
        async with deadline:
            return await search.run()
    except TimeoutError as error:
        if not deadline.expired():
            raise
        raise search.timed_out(timeout_s) from error


@dataclass(slots=True)
class _Search:
    """One search for the guest, and how far it is."""

    access: Access
    host_keys: HostKeys
    emit: Emit
    clock: Clock
    started: float
    attempts: int = 0
    told_at: float = 0.0
    failure: str = ""
    denied_at: float | None = None
    unannounced: bool = False
    any_algorithm: bool = False

    async def run(self) -> Connection:
        """Try until it is the guest that answers."""
        key = private_key(self.access.key)
        while True:
            connection = await self._try(key)
            if connection is not None:
                return connection
            if self.unannounced:
                await self.host_keys.announcement()
                self.unannounced = False
            else:
                await asyncio.sleep(_RETRY_S)

    async def _try(self, key: asyncssh.SSHKey) -> Connection | None:
        import asyncssh  # noqa: PLC0415  # slow to import

        client = _client(self.host_keys)
        sock = None
        if not self.access.proxy_command:
            with span(SpanKind.SSHD, self.access.address):
                sock = await dial(self.access.target, news=self.host_keys.announced, on_attempt=self._attempted)
        else:
            self._attempted(self.failure)
        try:
            with span(SpanKind.HANDSHAKE, self.access.address):
                return await self._login(client, key, sock)
        except asyncssh.HostKeyNotVerifiable as error:
            self._judged(client.judgement, error)
        except asyncssh.PermissionDenied as error:
            self._denied(error)
        except asyncssh.KeyExchangeFailed as error:
            self.any_algorithm = not self.any_algorithm
            self.failure = str(error)
        except (OSError, asyncssh.DisconnectError) as error:
            self.failure = str(error) or type(error).__name__
        return None

    async def _login(self, client: Any, key: asyncssh.SSHKey, sock: socket.socket | None) -> Connection:
        import asyncssh  # noqa: PLC0415  # slow to import

        algorithms = {} if self.any_algorithm else {"server_host_key_algs": list(self.host_keys.algorithms)}
        try:
            ssh = await asyncssh.connect(
                self.access.target.host,
                self.access.target.port,
                sock=sock,
                proxy_command=list(self.access.proxy_command) or None,
                client_factory=lambda: client,
                config=None,
                agent_path=None,
                username=self.access.user,
                client_keys=[key],
                # Every key is put to the client's own judgement.
                known_hosts=([], [], []),
                preferred_auth="publickey",
                login_timeout=_LOGIN_TIMEOUT_S,
                keepalive_interval=_KEEPALIVE_S,
                keepalive_count_max=_LOST_AFTER_KEEPALIVES,
                **_ALGORITHMS,
                **algorithms,
            )
        except BaseException:
            if sock is not None:
                sock.close()
            raise
        try:
            self.host_keys.accepted(client.shown)
        except GuestError as error:
            self.emit(not_kept(error))
        return Connection(ssh, name=self.access.name, host_key=client.shown, host_keys=self.host_keys)

    def _attempted(self, failure: str) -> None:
        self.attempts += 1
        self.failure = failure or self.failure
        now = self.clock.monotonic()
        if now - max(self.told_at, self.started) >= _WAITING_EVERY_S:
            self.told_at = now
            self.emit(GuestWaiting(attempt=self.attempts, seconds=now - self.started))

    def _judged(self, judgement: Judgement | None, error: Exception) -> None:
        if judgement is Judgement.WAIT:
            self.unannounced = not self.host_keys.announced.is_set()
            return
        raise wrong_host_key(self.access.name, self.access.host_key) from error

    def _denied(self, error: Exception) -> None:
        now = self.clock.monotonic()
        self.denied_at = now if self.denied_at is None else self.denied_at
        self.failure = str(error)
        if now - self.denied_at >= _DENIED_RETRY_S:
            raise AccessError(
                f"guest {self.access.name} does not accept the key {self.access.key} for user {self.access.user}",
                hint=f"let {self.access.user} log in with the key in {self.access.key}.pub, or set [ssh] key and user",
            ) from error

    def timed_out(self, timeout_s: float) -> GuestError:
        """Why the time is over."""
        name = self.access.name
        if self.unannounced and self.access.host_key is HostKeyPolicy.AUTO:
            return HostKeyError(
                f"an SSH server answers for guest {name}, but the guest announced no host key within {timeout_s:g}s",
                hint="it did in an earlier boot (nixvm-loop-host-key on its console), so no other key is trusted; "
                "if nobody listened when it did, nixvm-loop rebuild --force boots it anew and listens",
            )
        where = "by proxy_command" if self.access.proxy_command else f"on {self.access.address}"
        last = f" (last: {self.failure})" if self.failure else ""
        return GuestError(
            f"guest {name} did not answer SSH {where} within {timeout_s:g}s{last}",
            hint="look at its console: nixvm-loop console",
        )


def private_key(path: Path) -> asyncssh.SSHKey:
    """The key to log in with. Raises GuestError when it is not there, damaged, or has a passphrase."""
    import asyncssh  # noqa: PLC0415  # slow to import

    try:
        return asyncssh.read_private_key(path)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise GuestError(
            f"the SSH key {path} cannot be read: {reason}",
            hint=f"if nixvm-loop made it, remove it: {REMAKE}; one that [ssh] key names must have no passphrase",
        ) from error


def not_kept(error: GuestError) -> Notice:
    """What to tell of a host key that was learnt and could not be written down."""
    hint = "it holds for this boot; another command may need nixvm-loop rebuild --force to learn it anew"
    return Notice(Severity.WARNING, error.message, hint)


def _client(host_keys: HostKeys) -> Any:
    import asyncssh  # noqa: PLC0415  # slow to import

    class Client(asyncssh.SSHClient):
        """Remembers what was shown, and what was thought of it."""

        shown = ""
        judgement: Judgement | None = None

        def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:  # noqa: ARG002  # asyncssh's interface
            self.shown = " ".join(key.export_public_key().decode().split()[:2])
            self.judgement = host_keys.judge(self.shown)
            return self.judgement is Judgement.ACCEPT

    return Client()
