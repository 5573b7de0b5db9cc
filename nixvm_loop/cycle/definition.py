"""What the domain is defined to boot, and what it is for a domain of ours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nixvm_loop import domainxml
from nixvm_loop import guest as guest_room
from nixvm_loop.domain.access import can_traverse
from nixvm_loop.domainxml.patch import not_direct
from nixvm_loop.errors import DomainError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from nixvm_loop.cycle.context import Context
    from nixvm_loop.domain import Connection, Domain
    from nixvm_loop.domainxml import DomainXml, HostFacts
    from nixvm_loop.model.settings import GuestSettings, MachineSettings
    from nixvm_loop.model.values import Generation


@dataclass(frozen=True, slots=True)
class BootConfig:
    """What `<os>` is to name."""

    kernel: str
    initrd: str
    cmdline: str


def check_bootable(definition: DomainXml) -> None:
    """Raises DomainError for a domain that does not boot its kernel directly."""
    if not definition.boots_directly:
        raise not_direct(definition.name)


def check_ours(settings: GuestSettings, definition: DomainXml) -> None:
    """Make sure that a domain that the config has a [machine] for is this guest's own.

    Raises:
        DomainError: nixvm-loop did not make it.
        UsageError: it made it for a guest with another state directory.
    """
    if definition.owner is None:
        raise DomainError(
            f"domain {settings.domain} was not made by nixvm-loop, but guests.{settings.name}.machine describes one",
            hint=f"remove [guests.{settings.name}.machine] to use the domain as it is, or name another domain",
        )
    if definition.owner.state_dir != str(settings.state_dir):
        raise UsageError(
            f"domain {settings.domain} belongs to guest {definition.owner.guest}, whose state is in"
            f" {definition.owner.state_dir}",
            hint="give this guest another domain name",
        )


def boots(definition: DomainXml, wanted: BootConfig) -> bool:
    """Whether the definition names exactly this."""
    return (definition.kernel, definition.initrd, definition.cmdline) == (wanted.kernel, wanted.initrd, wanted.cmdline)


async def boot_for(context: Context, hypervisor: Connection, generation: Generation) -> BootConfig:
    """The fixed links where QEMU's user can follow them, else the store paths that they lead to."""
    host = await hypervisor.host()
    if reachable(context.settings.state_dir, host):
        generations = context.generations
        return BootConfig(str(generations.kernel_link), str(generations.initrd_link), generation.cmdline)
    return BootConfig(str(generation.kernel), str(generation.initrd), generation.cmdline)


def reachable(state_dir: Path, host: HostFacts) -> bool:
    """Whether QEMU's user may enter the state directory; where libvirt does not name that user, it is not relied on."""
    return host.qemu_uid is not None and can_traverse(state_dir / "generations", host.qemu_uid, host.qemu_gids)


async def definition_for(context: Context, hypervisor: Connection, domain: Domain, generation: Generation) -> str:
    """The XML that boots the generation: the user's own with three elements set, or ours, written anew."""
    boot = await boot_for(context, hypervisor, generation)
    machine = context.settings.machine
    if machine is None:
        text = await domain.definition_text()
        return domainxml.with_boot(text, kernel=boot.kernel, initrd=boot.initrd, cmdline=boot.cmdline)
    return owned(context.settings, machine, await hypervisor.host(), boot, domain.uuid)


def owned(
    settings: GuestSettings, machine: MachineSettings, host: HostFacts, boot: BootConfig, uuid: str | None
) -> str:
    """The XML of a domain that nixvm-loop owns."""
    key = None
    if settings.ssh.key is None:
        key = guest_room.ensure_key(settings.state_dir / "ssh").public
    return domainxml.create(
        machine,
        name=settings.domain,
        owner=domainxml.Owner(settings.name, str(settings.state_dir)),
        share=settings.store.share,
        host=host,
        ssh_public_key=key,
        uuid=uuid,
        kernel=boot.kernel,
        initrd=boot.initrd,
        cmdline=boot.cmdline,
    )
