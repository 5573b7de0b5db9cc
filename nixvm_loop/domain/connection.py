"""A connection to libvirt: its domains, and the facts of its host."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from nixvm_loop.domain.binding import call, library
from nixvm_loop.domain.domain import Domain
from nixvm_loop.domain.faults import ask, explain, not_found
from nixvm_loop.domain.host import is_local, probe
from nixvm_loop.domain.lifecycle import EventHub
from nixvm_loop.domain.networks import how_to_start
from nixvm_loop.domain.virtiofsd import found_by_libvirt, no_readonly_because
from nixvm_loop.errors import DomainError

if TYPE_CHECKING:
    from collections.abc import Callable

    from nixvm_loop.domainxml import HostFacts

_OPEN_TIMEOUT_S: Final = 15.0
_HOST_TIMEOUT_S: Final = 60.0
_KEEP_ALIVE_S: Final = 5
_KEEP_ALIVE_COUNT: Final = 3


class Connection:
    """An open connection. Every method raises DomainError when libvirt refuses or does not answer."""

    def __init__(self, uri: str, handle: Any) -> None:
        self.uri = uri
        self.handle = handle
        self._events = EventHub(handle)
        self._host: HostFacts | None = None

    @classmethod
    async def open(cls, uri: str) -> Connection:
        """Connect to libvirt.

        Raises:
            DomainError: it is not running, not installed, or refuses us; the hint says what to do.
        """
        libvirt = library()
        doing = f"connecting to libvirt at {uri}"
        handle = await ask(doing, libvirt.open, uri, timeout_s=_OPEN_TIMEOUT_S)
        if "+" in uri.partition(":")[0]:
            # A network that is gone would otherwise be noticed by nobody.
            await ask(doing, handle.setKeepAlive, _KEEP_ALIVE_S, _KEEP_ALIVE_COUNT)
        return cls(uri, handle)

    async def close(self) -> None:
        """End the connection."""
        await ask(f"leaving libvirt at {self.uri}", self._close)

    def _close(self) -> None:
        # A connection that broke has nothing left to say goodbye to.
        with suppress(library().libvirtError):
            self._events.close()
        with suppress(library().libvirtError):
            self.handle.close()

    async def alive(self) -> bool:
        """Whether the connection still holds."""
        libvirt = library()
        try:
            return bool(await call("asking libvirt for a sign of life", self.handle.isAlive))
        except libvirt.libvirtError:
            return False

    async def host(self) -> HostFacts:
        """The facts of libvirt's host; asked for once."""
        if self._host is None:
            doing = f"asking libvirt at {self.uri} what its host can do"
            facts = await ask(doing, probe, self.handle, self.uri, timeout_s=_HOST_TIMEOUT_S)
            reason = await no_readonly_because(
                facts.libvirt_version, found_by_libvirt() if is_local(self.uri) else None
            )
            self._host = replace(facts, readonly_share=not reason, no_readonly_because=reason)
        return self._host

    async def names(self) -> tuple[str, ...]:
        """The names of all domains, sorted."""
        handles = await ask("asking for the domains", self.handle.listAllDomains)
        return tuple(sorted(handle.name() for handle in handles))

    async def find(self, name: str) -> Domain | None:
        """The domain of this name, None when there is none."""
        return await self._find(f"looking for domain {name}", self.handle.lookupByName, name)

    async def find_by_uuid(self, uuid: str) -> Domain | None:
        """The domain with this UUID, whatever its name is; None when there is none."""
        return await self._find(f"looking for the domain with UUID {uuid}", self.handle.lookupByUUIDString, uuid)

    async def _find(self, doing: str, look_up: Callable[[str], Any], wanted: str) -> Domain | None:
        libvirt = library()
        try:
            return Domain(await call(doing, look_up, wanted), self._events)
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                return None
            raise explain(error, f"{doing} failed") from error

    async def get(self, name: str) -> Domain:
        """The domain of this name; raises DomainError, with the names that exist, when there is none."""
        found = await self.find(name)
        if found is None:
            raise not_found(name, self.uri, await self.names())
        return found

    async def networks(self) -> tuple[frozenset[str], frozenset[str]]:
        """The names of libvirt's networks: those that are up, and those that are down."""
        libvirt, found = library(), []
        for flags in (libvirt.VIR_CONNECT_LIST_NETWORKS_ACTIVE, libvirt.VIR_CONNECT_LIST_NETWORKS_INACTIVE):
            handles = await ask("asking for the networks", self.handle.listAllNetworks, flags)
            found.append(frozenset(handle.name() for handle in handles))
        return found[0], found[1]

    async def require_networks(self, names: tuple[str, ...]) -> None:
        """Make sure that these networks are there and active."""
        for name in names:
            network = await ask(f"looking for network {name}", self.handle.networkLookupByName, name)
            if not await ask(f"looking at network {name}", network.isActive):
                raise DomainError(f"libvirt's network {name} is not active", hint=how_to_start(name))

    async def define(self, xml: str) -> Domain:
        """Define a domain, or what a defined one is from its next start on."""
        return Domain(await ask("defining the domain", self.handle.defineXML, xml), self._events)
