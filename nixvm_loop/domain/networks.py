"""Libvirt's virtual networks, as far as a domain's cards depend on them."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from nixvm_loop.domain.binding import call, library
from nixvm_loop.domain.faults import ask, explain

if TYPE_CHECKING:
    from nixvm_loop.domain.connection import Connection


async def is_active(connection: Connection, name: str) -> bool | None:
    """Whether the network runs; None when libvirt has none of that name. Raises DomainError."""
    libvirt = library()
    doing = f"looking for network {name}"
    try:
        network = await call(doing, connection.handle.networkLookupByName, name)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_NETWORK:
            return None
        raise explain(error, f"{doing} failed") from error
    return bool(await ask(f"looking at network {name}", network.isActive))


def how_to_start(name: str) -> str:
    """The commands that start a network that is down, now and from now on."""
    quoted = shlex.quote(name)
    return f"`virsh net-start {quoted}`; `virsh net-autostart {quoted}` does it at every start of the host"


async def start(connection: Connection, name: str) -> None:
    """Start a network that is defined. Raises DomainError."""
    doing = f"starting network {name}"
    network = await ask(doing, connection.handle.networkLookupByName, name)
    await ask(doing, network.create)
