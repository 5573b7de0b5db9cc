"""What a domain needs of its host, seen to before anything is changed: networks, ports, disks, folders, the store."""

from __future__ import annotations

import os
import socket
import stat
from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Final

from nixvm_loop.cycle.definition import host_store
from nixvm_loop.domain import storeview
from nixvm_loop.domain.access import has_access_list, may_enter, may_use, way_to
from nixvm_loop.domainxml.values import LOOPBACK
from nixvm_loop.errors import DomainError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from nixvm_loop.domain import Connection
    from nixvm_loop.domainxml import DomainXml, HostFacts, HostStore
    from nixvm_loop.model.settings import Disk, FolderShare, GuestSettings

NOT_ENFORCED: Final = (
    "the host does not enforce that the guest only reads the host's store: root in the guest could change it"
)
_MAKE_DISK: Final = "make it, say with `qemu-img create -f {format} {path} 10G`, or correct the path in the config"


async def check(settings: GuestSettings, hypervisor: Connection, wanted: DomainXml) -> None:
    """Make sure that the domain will find what its definition names; nothing is done about what is missing.

    Raises:
        DomainError: something is missing; the config's key, or the network, is named.
    """
    await hypervisor.require_networks(tuple(card.network for card in wanted.interfaces if card.network is not None))
    if not settings.on_this_host:
        return
    if settings.machine is not None:
        host = await hypervisor.host()
        store = host_store(settings, settings.machine, host)
        for index, disk in enumerate(settings.machine.disks):
            _check_disk(disk, f"guests.{settings.name}.machine.disks[{index}]", host, store)
        for index, share in enumerate(settings.machine.shares if wanted.shares else ()):
            _check_share(share, f"guests.{settings.name}.machine.shares[{index}]", host)


@asynccontextmanager
async def provided(settings: GuestSettings, wanted: DomainXml) -> AsyncIterator[None]:
    """Mount the read-only view of the store, if the domain uses it; after each boot of the host it is gone.

    Until the domain is defined, within this context, nobody would know that it uses the view.

    Raises:
        DomainError: it cannot be mounted.
    """
    async with storeview.provided() if settings.on_this_host and uses_view(wanted) else nullcontext():
        yield


def uses_view(definition: DomainXml) -> bool:
    """Whether the domain reads the host's store through its read-only mount."""
    view = f"{storeview.VIEW}/"
    paths = (definition.kernel, definition.initrd, *(share.source for share in definition.shares))
    return any(f"{path}/".startswith(view) for path in paths if path is not None)


def _check_disk(disk: Disk, key: str, host: HostFacts, store: HostStore) -> None:
    found = _stat(disk.path, key, hint=_MAKE_DISK.format(format=disk.layout, path=disk.path))
    if disk.is_device and not stat.S_ISBLK(found.st_mode):
        raise DomainError(f"{key}: {disk.path} is not a block device")
    if not disk.is_device and not stat.S_ISREG(found.st_mode):
        hint = "name a block device by its path below /dev" if stat.S_ISBLK(found.st_mode) else None
        raise DomainError(f"{key}: {disk.path} is not a file", hint=hint)
    _check_way(disk.path, key, host)
    # With the store read-only for it, libvirt itself gives the disk to QEMU's user.
    if store.unchanging or host.qemu_uid is None or has_access_list(disk.path):
        return
    if not may_use(found, host.qemu_uid, host.qemu_gids, write=not disk.readonly):
        way = "read" if disk.readonly else "read and write"
        raise DomainError(
            f"{key}: QEMU's user (uid {host.qemu_uid}) may not {way} {disk.path}",
            hint=f"`setfacl -m u:{host.qemu_uid}:{'r' if disk.readonly else 'rw'} {disk.path}` lets it; libvirt itself"
            f" would, were the store mounted read-only on {storeview.VIEW}, which nixvm-loop does as root",
        )


def _check_way(path: Path, key: str, host: HostFacts) -> None:
    """Libvirt lets QEMU's user use the file, but opens no folder for it."""
    if host.qemu_uid is None:
        return
    for folder in way_to(path):
        # What an access list says is not judged.
        if not may_enter(folder, host.qemu_uid, host.qemu_gids) and not has_access_list(folder):
            raise DomainError(
                f"{key}: QEMU's user (uid {host.qemu_uid}) may not enter {folder}",
                hint=f"`setfacl -m u:{host.qemu_uid}:x {folder}` (or `chmod o+x`) lets it, or put the disk elsewhere",
            )


def _check_share(share: FolderShare, key: str, host: HostFacts) -> None:
    found = _stat(share.source, key, hint="make the folder, or correct the path in the config")
    if not stat.S_ISDIR(found.st_mode):
        raise DomainError(f"{key}: {share.source} is not a folder")
    if share.readonly and not host.readonly_share and not os.statvfs(share.source).f_flag & os.ST_RDONLY:
        raise DomainError(
            f"{key}: this host cannot share {share.source} read-only: root in the guest could write there"
            f" ({host.no_readonly_because})",
            hint="libvirt 11 with virtiofsd 1.13 can; before, share a read-only mount of the folder"
            " (`mount -o bind,ro DIR PLACE`), or set readonly = false",
        )


def _stat(path: Path, key: str, *, hint: str) -> os.stat_result:
    try:
        return path.stat()
    except FileNotFoundError as error:
        raise DomainError(f"{key}: {path} does not exist", hint=hint) from error
    except OSError as error:
        raise DomainError(f"{key}: {path} cannot be looked at: {error.strerror}") from error


def check_ports(wanted: DomainXml, live: DomainXml | None) -> None:
    """Make sure that the ports to be forwarded are free, or the running domain's own, before that one is stopped.

    Raises:
        DomainError: another program has one of them.
    """
    held = live.forwards if live is not None else ()
    for forward in wanted.forwards:
        if forward.host_port in {other.host_port for other in held}:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, forward.host_port))
            except OSError as error:
                raise DomainError(
                    f"port {forward.host_port} of {LOOPBACK} cannot be used: {error.strerror}",
                    hint="set machine.ssh_port (or machine.forward) to a free port;"
                    f" `ss -ltnp 'sport = :{forward.host_port}'` shows who has it",
                ) from error
