"""What the domain is defined to boot, and what it is for a domain of ours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from nixvm_loop import domainxml
from nixvm_loop import guest as guest_room
from nixvm_loop.domain import storeview
from nixvm_loop.domain.access import can_traverse
from nixvm_loop.domainxml import HostStore, StoreMode
from nixvm_loop.domainxml.patch import not_direct
from nixvm_loop.domainxml.values import STORE_DIR
from nixvm_loop.errors import DomainError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from nixvm_loop.cycle.context import Context
    from nixvm_loop.domain import Connection, Domain
    from nixvm_loop.domainxml import DomainXml, HostFacts
    from nixvm_loop.model.settings import GuestSettings, MachineSettings
    from nixvm_loop.model.values import Generation


# The command line of a domain whose first system is still to be built.
UNBUILT: Final = "init=/not-built-yet"


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


def check_shared(settings: GuestSettings, definition: DomainXml) -> None:
    """Raises DomainError for a domain of ours that has no store for a system to run from."""
    if definition.owner is not None and definition.owner.store is StoreMode.ABSENT:
        raise DomainError(
            f"domain {settings.domain} was created without the shared store (create --no-virtiofs), so that no system"
            " can be booted from it",
            hint="nixvm-loop create puts the shared store back, from the domain's next start on",
        )


def boots(definition: DomainXml, wanted: BootConfig) -> bool:
    """Whether the definition names exactly this."""
    return (definition.kernel, definition.initrd, definition.cmdline) == (wanted.kernel, wanted.initrd, wanted.cmdline)


async def boot_for(context: Context, hypervisor: Connection, generation: Generation) -> BootConfig:
    """The fixed links where QEMU's user can follow them, else the store paths that they lead to."""
    host = await hypervisor.host()
    settings = context.settings
    store = HostStore() if settings.machine is None else host_store(settings, settings.machine, host)
    # Where libvirt gives disks to QEMU's user, it does so with kernel and initrd: the links would lead it to the store.
    given_away = settings.machine is not None and settings.machine.disks and store.folder != STORE_DIR
    if reachable(generation.directory, host) and not given_away:
        generations = context.generations
        return BootConfig(str(generations.kernel_link), str(generations.initrd_link), generation.cmdline)
    folder = store if given_away else HostStore()
    return BootConfig(folder.path(str(generation.kernel)), folder.path(str(generation.initrd)), generation.cmdline)


def host_store(settings: GuestSettings, machine: MachineSettings, host: HostFacts) -> HostStore:
    """How a domain of ours gets at the store: as it is, unless only a read-only mount of it keeps it as it is."""
    needed = bool(machine.disks) or not host.readonly_share
    # Of libvirt's drivers only QEMU's shares folders.
    ours = settings.on_this_host and settings.libvirt_uri.startswith("qemu:")
    return storeview.available() if needed and ours else HostStore()


def reachable(folder: Path, host: HostFacts) -> bool:
    """Whether QEMU's user may enter the folder; where libvirt does not name that user, it is not relied on."""
    return host.qemu_uid is not None and can_traverse(folder, host.qemu_uid, host.qemu_gids)


async def definition_for(context: Context, hypervisor: Connection, domain: Domain, generation: Generation) -> str:
    """The XML that boots the generation: the user's own with three elements set, or ours, written anew."""
    boot = await boot_for(context, hypervisor, generation)
    machine = context.settings.machine
    if machine is None:
        text = await domain.definition_text()
        return domainxml.with_boot(text, kernel=boot.kernel, initrd=boot.initrd, cmdline=boot.cmdline)
    key = own_key(context.settings)
    return owned(context.settings, machine, await hypervisor.host(), boot, uuid=domain.uuid, key=key)


async def changes(context: Context, domain: Domain, current: Generation) -> tuple[str, ...]:
    """What the config asks of a domain of ours that its definition does not have, in words; none for a user's domain.

    What the domain boots is left out: that goes with the generation.
    """
    if context.settings.machine is None:
        return ()
    hypervisor = await context.link.hypervisor()
    boot = await boot_for(context, hypervisor, current)
    defined = domainxml.with_boot(
        await domain.definition_text(), kernel=boot.kernel, initrd=boot.initrd, cmdline=boot.cmdline
    )
    return domainxml.differences(defined, await definition_for(context, hypervisor, domain, current))


async def keep_started(context: Context, domain: Domain, mark: str) -> None:
    """Remember the definition that the domain was just started with, for `changes_since_start`.

    Raises:
        DomainError: libvirt does not tell it.
        GenerationError: it cannot be written.
    """
    context.journal.keep_started(mark, _less_boot(await domain.shown_definition()))


async def changes_since_start(context: Context, domain: Domain) -> tuple[str, ...]:
    """What its definition has, or has lost, since the running domain was started with it, in words.

    What it boots is left out. Nothing is known of a run that nixvm-loop has not started.
    """
    mark = await domain.boot_mark()
    started = context.journal.started(mark) if mark is not None else None
    if started is None:
        return ()
    now = _less_boot(await domain.shown_definition())
    come = domainxml.differences(started, now)
    return come or tuple(f"undone: {change}" for change in domainxml.differences(now, started))


def _less_boot(text: str) -> str:
    return domainxml.with_boot(text, kernel="/", initrd="/", cmdline="")


def warnings(settings: GuestSettings, defined: DomainXml, wanted: BootConfig) -> tuple[str, ...]:
    """What a definition has that will hurt, or that somebody changed since the last cycle."""
    found = []
    if not boots(defined, wanted):
        found.append(f"domain {settings.domain} was defined to boot something else meanwhile; this cycle sets it right")
    if settings.machine is None and defined.on_reboot == "restart":
        found.append(
            f"domain {settings.domain} has <on_reboot>restart</on_reboot>: a reboot in the guest boots the kernel of"
            " its last start again; destroy is safer"
        )
    return tuple(found)


def own_key(settings: GuestSettings) -> str | None:
    """The public key to hand to the guest, made if there is none yet; None where the config names a key of its own.

    Raises:
        GuestError: it cannot be made or read.
    """
    return None if settings.ssh.key is not None else guest_room.ensure_key(settings.state_dir / "ssh").public


def owned(
    settings: GuestSettings,
    machine: MachineSettings,
    host: HostFacts,
    boot: BootConfig,
    *,
    uuid: str | None,
    key: str | None,
    store: StoreMode = StoreMode.SHARED,
) -> str:
    """The XML of a domain that nixvm-loop owns."""
    return domainxml.create(
        machine,
        name=settings.domain,
        owner=domainxml.Owner(settings.name, str(settings.state_dir), store),
        store=host_store(settings, machine, host),
        share=settings.store.share,
        host=host,
        ssh_public_key=key,
        uuid=uuid,
        kernel=boot.kernel,
        initrd=boot.initrd,
        cmdline=boot.cmdline,
    )
