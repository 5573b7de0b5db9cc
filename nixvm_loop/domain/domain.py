"""One domain: what it is, its way up and its way down."""

from __future__ import annotations

import asyncio
import ipaddress
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, TypeVar

from nixvm_loop import domainxml
from nixvm_loop.domain.beside import QEMU, VIRTIOFSD, log_end, log_file, one_ends, share_processes
from nixvm_loop.domain.binding import CALL_TIMEOUT_S, call, library
from nixvm_loop.domain.faults import ask, explain
from nixvm_loop.domain.host import is_local
from nixvm_loop.domain.lifecycle import SHARE_DIED
from nixvm_loop.domain.snapshots import Snapshot, read_snapshots
from nixvm_loop.domainxml.mark import MARK_NAMESPACE, MARK_PREFIX, mark_element, mark_text
from nixvm_loop.errors import DomainError
from nixvm_loop.model.settings import StopPolicy
from nixvm_loop.procfs import is_alive

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from nixvm_loop.domain.lifecycle import EventHub, Lifecycle
    from nixvm_loop.domainxml import DomainXml

Result = TypeVar("Result")

# Where KVM is there but not for QEMU's user, libvirt probes QEMU at every start, for seconds.
_START_TIMEOUT_S: Final = 60.0
_BUTTON_AGAIN_S: Final = 1.0
_SHARE_GRACE_S: Final = 0.7
_NEXT_RUN_S: Final = 1.0
_STATES: Final = {1: "running", 2: "running", 3: "paused", 4: "shutting down", 5: "shut off", 6: "crashed", 7: "asleep"}
_ANSWERING: Final = frozenset({"running", "shutting down"})


class StopResult(StrEnum):
    """How a domain came to be off."""

    WAS_OFF = "was off"
    POWERED_OFF = "powered off"
    FORCED = "was forced off"


class Domain:
    """A domain that libvirt has defined.

    Every method raises DomainError when libvirt refuses or does not answer. One that changes something goes on in
    libvirt when it is cancelled.
    """

    def __init__(self, handle: Any, events: EventHub) -> None:
        self._events = events
        self.handle = handle
        self.name: str = handle.name()
        self.uuid: str = handle.UUIDString()

    async def _ask(
        self,
        doing: str,
        function: Callable[..., Result],
        *arguments: object,
        timeout_s: float = CALL_TIMEOUT_S,
    ) -> Result:
        return await ask(f"{doing} domain {self.name}", function, *arguments, domain=self.name, timeout_s=timeout_s)

    async def state(self) -> str:
        """`running`, `paused`, `shutting down`, `asleep`, `shut off` or `crashed`."""
        number, _ = await self._ask("asking for the state of", self.handle.state)
        return _STATES.get(number, "unknown")

    async def _is_active(self) -> bool:
        # A crashed domain may still be there, with its QEMU.
        return bool(await self._ask("looking at", self.handle.isActive))

    async def _instance_id(self) -> int | None:
        # Another one for each run of the domain.
        # A handle may remember the number of an earlier run.
        anew = await self._ask("looking at", self.handle.connect().lookupByUUIDString, self.uuid)
        number: int = await self._ask("looking at", anew.ID)
        return number if number >= 0 else None

    async def definition_text(self) -> str:
        """The XML of the next start, secrets included, fit to be defined again."""
        libvirt = library()
        flags = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE
        text: str = await self._ask("reading the definition of", self.handle.XMLDesc, flags)
        return text

    async def shown_definition(self) -> str:
        """The XML of the next start, without its secrets."""
        text: str = await self._ask("reading the definition of", self.handle.XMLDesc, library().VIR_DOMAIN_XML_INACTIVE)
        return text

    async def definition(self) -> DomainXml:
        """The facts of the next start."""
        return domainxml.read(await self.definition_text())

    async def running(self) -> DomainXml | None:
        """The facts of the run that goes on, None when the domain is off."""
        if not await self._is_active():
            return None
        return domainxml.read(await self._ask("reading the running state of", self.handle.XMLDesc, 0))

    async def is_persistent(self) -> bool:
        """Whether libvirt keeps its definition when it is off."""
        return bool(await self._ask("looking at", self.handle.isPersistent))

    async def has_saved_state(self) -> bool:
        """Whether its next start would go on where `virsh managedsave` stopped it."""
        return bool(await self._ask("looking for a saved state of", self.handle.hasManagedSaveImage))

    async def snapshots(self) -> tuple[Snapshot, ...]:
        """Its snapshots that libvirt knows."""
        return await self._ask("asking for the snapshots of", read_snapshots, self.handle)

    async def start_paused(self) -> None:
        """Start with the processors stopped, so that the console can be attached before the guest says a word."""
        # A saved state would be resumed instead, with the system that it was saved from.
        flags = library().VIR_DOMAIN_START_PAUSED | library().VIR_DOMAIN_START_FORCE_BOOT
        await self._ask("starting", self.handle.createWithFlags, flags, timeout_s=_START_TIMEOUT_S)

    async def resume(self) -> None:
        """Let the processors run."""
        await self._ask("resuming", self.handle.resume)

    async def stop(self, policy: StopPolicy, timeout_s: float) -> StopResult:
        """Stop it: ask it to power off and wait up to `timeout_s`, or force it at once; being off already is fine."""
        async with self.lifecycle() as events:
            if not await self._is_active():
                return StopResult.WAS_OFF
            answers = policy is StopPolicy.GRACEFUL and await self.state() in _ANSWERING
            if answers and await self._powered_off(events, timeout_s):
                return StopResult.POWERED_OFF
            return await self._forced_off()

    async def _powered_off(self, events: Lifecycle, timeout_s: float) -> bool:
        stopped = asyncio.ensure_future(events.stopped())
        try:
            async with asyncio.timeout(timeout_s):
                # A guest that is still booting does not hear the button: it is pressed again.
                while not stopped.done():
                    if not await self._unless_off("asking for a shutdown of", self.handle.shutdown):
                        return True
                    await asyncio.wait({stopped}, timeout=_BUTTON_AGAIN_S)
        except TimeoutError:
            return False
        finally:
            stopped.cancel()
        return True

    async def _forced_off(self) -> StopResult:
        try:
            await self._unless_off("stopping", self.handle.destroyFlags, library().VIR_DOMAIN_DESTROY_GRACEFUL)
        except DomainError:
            # QEMU did not follow SIGTERM; what remains is SIGKILL.
            await self._unless_off("stopping", self.handle.destroy)
        return StopResult.FORCED

    async def _unless_off(self, doing: str, function: Callable[..., object], *arguments: object) -> bool:
        """Whether the domain was still there to take the call."""
        doing = f"{doing} domain {self.name}"
        libvirt = library()
        try:
            await call(doing, function, *arguments)
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_OPERATION_INVALID and not await self._is_active():
                return False
            raise explain(error, f"{doing} failed", domain=self.name) from error
        return True

    @asynccontextmanager
    async def lifecycle(self) -> AsyncIterator[Lifecycle]:
        """The domain's events from here on, as long as the context is open."""
        await self._ask("following", self._events.open)
        with self._events.listen(self.uuid) as events:
            watching = asyncio.create_task(self._shares_die(events))
            try:
                yield events
            finally:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)

    async def lost_shares(self) -> tuple[int, ...]:
        """The process ids of a running domain's virtiofsd that have ended, as far as this machine can tell."""
        if not is_local(self.handle.connect().getURI()):
            return ()
        instance_id = await self._instance_id()
        known = () if instance_id is None else share_processes(instance_id)
        return tuple(pid for pid in known if not is_alive(pid))

    async def _shares_die(self, events: Lifecycle) -> None:
        # Libvirt does not look after virtiofsd once it runs, and QEMU lives on without it: the guest just hangs.
        told: int | None = None
        while is_local(self.handle.connect().getURI()):
            instance_id = await self._instance_id()
            # While the domain starts they may not be there yet.
            shares = () if instance_id in {None, told} else share_processes(instance_id)
            if instance_id is not None and shares:
                await one_ends(shares)
                told = instance_id
                await self._tell_if_on(instance_id, shares, events)
            await asyncio.sleep(_NEXT_RUN_S)

    async def _tell_if_on(self, instance_id: int, shares: tuple[int, ...], events: Lifecycle) -> None:
        # They go with QEMU as well, of which libvirt tells a little later; and files of an earlier run are replaced.
        await asyncio.sleep(_SHARE_GRACE_S)
        if share_processes(instance_id) == shares and await self._instance_id() == instance_id:
            log = log_end(self.name, VIRTIOFSD) + log_end(self.name, QEMU)
            events.put(replace(SHARE_DIED, log=log, log_file=str(log_file(self.name, VIRTIOFSD))))

    async def undefine(self) -> None:
        """Make libvirt forget the domain."""
        await self._ask("removing", self.handle.undefineFlags, library().VIR_DOMAIN_UNDEFINE_MANAGED_SAVE)

    async def set_boot_mark(self, text: str) -> None:
        """Mark this run of the domain (it must be paused or running); the mark goes with it."""
        libvirt = library()
        await self._ask(
            "marking",
            self.handle.setMetadata,
            libvirt.VIR_DOMAIN_METADATA_ELEMENT,
            mark_element(text),
            MARK_PREFIX,
            MARK_NAMESPACE,
            libvirt.VIR_DOMAIN_AFFECT_LIVE,
        )

    async def boot_mark(self) -> str | None:
        """The mark of this run; None when it has none, or the domain is off."""
        libvirt = library()
        arguments = (libvirt.VIR_DOMAIN_METADATA_ELEMENT, MARK_NAMESPACE, libvirt.VIR_DOMAIN_AFFECT_LIVE)
        doing = f"reading the mark of domain {self.name}"
        try:
            return mark_text(await call(doing, self.handle.metadata, *arguments))
        except libvirt.libvirtError as error:
            if error.get_error_code() in {libvirt.VIR_ERR_NO_DOMAIN_METADATA, libvirt.VIR_ERR_OPERATION_INVALID}:
                return None
            raise explain(error, f"{doing} failed") from error

    async def addresses(self) -> tuple[str, ...]:
        """The guest's addresses as libvirt's DHCP leases (or else the host's ARP table) tell them, IPv4 first."""
        libvirt = library()
        doing, ask_for = "asking for the addresses of", self.handle.interfaceAddresses
        found = await self._ask(doing, ask_for, libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_LEASE)
        if not found:
            # The ARP table is a bonus that not every libvirt, kernel and kind of domain has.
            with suppress(DomainError):
                found = await self._ask(doing, ask_for, libvirt.VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_ARP)
        texts = {entry["addr"] for card in found.values() for entry in card["addrs"] or ()}
        addresses = sorted(map(ipaddress.ip_address, texts), key=lambda address: (address.version, int(address)))
        return tuple(str(address) for address in addresses)
