"""What a guest's cycles work with, and what lives on between them."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Final

from nixvm_loop import domain as libvirt_room
from nixvm_loop import guest as guest_room
from nixvm_loop.cycle.served import served
from nixvm_loop.decide import Wish, may_switch
from nixvm_loop.errors import DomainError, GuestError
from nixvm_loop.model.settings import SSH_PORT
from nixvm_loop.model.values import SshTarget

if TYPE_CHECKING:
    from pathlib import Path

    from nixvm_loop.domainxml import DomainXml
    from nixvm_loop.events.emitter import Emitter
    from nixvm_loop.generation.store import Generations
    from nixvm_loop.journal import Journal
    from nixvm_loop.model.clock import Clock
    from nixvm_loop.model.settings import GuestSettings

_PRELOAD_SWITCH_S: Final = 0.0005


class Link:
    """The connections to libvirt and to the guest, opened once and kept as long as they hold."""

    def __init__(self, settings: GuestSettings) -> None:
        self._settings = settings
        self._hypervisor: asyncio.Task[libvirt_room.Connection] | None = None
        self._preload: asyncio.Task[None] | None = None
        self.ssh: guest_room.Connection | None = None
        self.access: guest_room.Access | None = None

    def warm(self) -> None:
        """Begin with what takes its time while nobody waits for it: libvirt's greeting and asyncssh's import."""
        if self._hypervisor is None:
            self._hypervisor = asyncio.create_task(libvirt_room.Connection.open(self._settings.libvirt_uri))
            # Whoever asks for the connection hears of the failure; until then it is nobody's.
            self._hypervisor.add_done_callback(lambda task: task.cancelled() or task.exception())
        if self._preload is None:
            self._preload = asyncio.create_task(asyncio.to_thread(_preload))

    async def warmed(self) -> None:
        """Begin, and wait for the imports."""
        self.warm()
        assert self._preload is not None  # noqa: S101  # warm() made it
        await asyncio.shield(self._preload)

    async def hypervisor(self) -> libvirt_room.Connection:
        """The connection to libvirt; opened anew when the last one failed or broke. Raises DomainError."""
        if self._hypervisor is not None and self._hypervisor.done() and not await self._holds(self._hypervisor):
            self._hypervisor = None
        self.warm()
        assert self._hypervisor is not None  # noqa: S101  # warm() made it
        return await asyncio.shield(self._hypervisor)

    async def _holds(self, opened: asyncio.Task[libvirt_room.Connection]) -> bool:
        return not opened.cancelled() and opened.exception() is None and await opened.result().alive()

    async def domain(self) -> libvirt_room.Domain:
        """The guest's domain; raises DomainError when there is none."""
        return await served(await self.hypervisor(), self._settings)

    def prepare(self) -> None:
        """Have shells wait in the guest: for the next look at it, and for the switch that may follow."""
        if self.ssh is not None:
            self.ssh.prepare(self._settings.store)
            if may_switch(Wish.AS_NEEDED, self._settings.apply.mode):
                self.ssh.prepare_switch()

    def release(self) -> None:
        """Let go of the shell that waits for a look: what runs in the guest is about to change."""
        if self.ssh is not None:
            self.ssh.release()

    async def drop_ssh(self) -> None:
        """Close the connection to the guest, if there is one."""
        if self.ssh is not None:
            ssh, self.ssh = self.ssh, None
            await ssh.close()

    async def close(self) -> None:
        """Close everything."""
        await self.drop_ssh()
        if self._preload is not None:
            await self._preload
        if self._hypervisor is not None:
            self._hypervisor.cancel()
            for opened in await asyncio.gather(self._hypervisor, return_exceptions=True):
                if isinstance(opened, libvirt_room.Connection):
                    # The work is done: a libvirt that hangs now changes nothing.
                    with suppress(DomainError):
                        await opened.close()


def _preload() -> None:
    # An import hardly ever lets go of the interpreter by itself, and the cycle has short things to do meanwhile.
    usual_s = sys.getswitchinterval()
    sys.setswitchinterval(_PRELOAD_SWITCH_S)
    try:
        import_module("nixvm_loop.cycle.apply")
        guest_room.preload()
    finally:
        sys.setswitchinterval(usual_s)


@dataclass(frozen=True, slots=True)
class Context:
    """One guest, and the means to run its cycles."""

    settings: GuestSettings
    clock: Clock
    emitter: Emitter
    generations: Generations
    journal: Journal
    link: Link

    @property
    def key(self) -> Path:
        """The private key to log in with; made when the config names none. Raises GuestError."""
        configured = self.settings.ssh.key
        if configured is None:
            return guest_room.ensure_key(self.settings.state_dir / "ssh").private
        if not configured.is_file():
            raise GuestError(f"the SSH key {configured} does not exist", hint="check ssh.key in the config")
        return configured

    def host_keys(self, boot: str | None) -> guest_room.HostKeys:
        """What is known of the guest's host keys, for a boot that nixvm-loop marked (None: somebody else's)."""
        return guest_room.HostKeys(
            self.settings.state_dir / "ssh", self.settings.name, self.settings.ssh.host_key, boot=boot
        )

    async def accesses(self, domain: libvirt_room.Domain, definition: DomainXml) -> tuple[guest_room.Access, ...]:
        """How the guest may be reached, the likeliest way first; none while libvirt does not yet know its address."""
        ssh = self.settings.ssh
        return tuple(
            guest_room.Access(
                name=self.settings.name,
                target=target,
                user=ssh.user,
                key=self.key,
                host_key=ssh.host_key,
                proxy_command=ssh.proxy_command,
            )
            for target in await self._targets(domain, definition)
        )

    def by_lease(self, definition: DomainXml) -> bool:
        """Whether only libvirt's leases tell the guest's address."""
        ssh = self.settings.ssh
        configured = ssh.host != "auto" or bool(ssh.proxy_command)
        return not configured and self._forwarded(definition) is None

    def _forwarded(self, definition: DomainXml) -> int | None:
        """The port of 127.0.0.1 that leads to the guest's sshd, None for a guest that has an address of its own."""
        machine = self.settings.machine
        if machine is None:
            return definition.ssh_port
        return None if machine.networks else machine.ssh_port

    async def _targets(self, domain: libvirt_room.Domain, definition: DomainXml) -> tuple[SshTarget, ...]:
        ssh = self.settings.ssh
        if ssh.host != "auto" or ssh.proxy_command:
            host = self.settings.name if ssh.host == "auto" else ssh.host
            return (SshTarget(host, ssh.port or SSH_PORT),)
        if not self.by_lease(definition):
            return (SshTarget("127.0.0.1", ssh.port or self._forwarded(definition) or SSH_PORT),)
        return tuple(SshTarget(address, ssh.port or SSH_PORT) for address in await domain.addresses())


def not_running(settings: GuestSettings) -> GuestError:
    """The error for a guest that is asked while its domain is off."""
    return GuestError(f"domain {settings.domain} is not running", hint="nixvm-loop rebuild starts it")


def no_address(settings: GuestSettings) -> GuestError:
    """The error for a guest whose address libvirt never learnt."""
    return GuestError(
        f"libvirt knows no address of domain {settings.domain}",
        hint=f"set guests.{settings.name}.ssh.host and port, or give the domain a libvirt network with DHCP",
    )
