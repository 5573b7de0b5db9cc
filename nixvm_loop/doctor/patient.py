"""What probes share: libvirt's answers, the domain, one look into the guest, Nix's word on the closure."""

from __future__ import annotations

import asyncio
import shlex
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from nixvm_loop import domain as libvirt_room
from nixvm_loop import domainxml, nix, verify
from nixvm_loop import guest as guest_room
from nixvm_loop.cycle.boot import reach_booting
from nixvm_loop.cycle.context import Context, Link
from nixvm_loop.cycle.observe import Look, expected_of
from nixvm_loop.doctor.asked import Asked
from nixvm_loop.doctor.probe import NotPossibleError
from nixvm_loop.errors import BuildError, DomainError, GenerationError, GuestError, UsageError
from nixvm_loop.events.emitter import Emitter
from nixvm_loop.generation.store import Generations
from nixvm_loop.journal import Journal
from nixvm_loop.model.units import format_bytes
from nixvm_loop.model.values import Action
from nixvm_loop.process import Request, run

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from nixvm_loop.domainxml import DomainXml, HostFacts
    from nixvm_loop.model.clock import Clock
    from nixvm_loop.model.facts import GuestFacts, Mount
    from nixvm_loop.model.settings import GuestSettings
    from nixvm_loop.model.values import Check, Generation
    from nixvm_loop.process import Outcome

T = TypeVar("T")

# Each in seconds from the examination's start, since the later ones wait for the earlier ones.
LIBVIRT_S: Final = 3.0
NIX_S: Final = 3.0
PROGRAM_S: Final = 4.0
REACH_S: Final = 4.0
GUEST_S: Final = 5.0
_REACH_TIMEOUT_S: Final = 3.0
_INTERRUPT_WAIT_S: Final = 0.3
_SCRIPT_TIMEOUT_S: Final = 3.0
_LARGEST: Final = 3


@dataclass(frozen=True, slots=True)
class DomainSeen:
    """The domain as libvirt has it.

    Attributes:
        text: The XML of its next start, without secrets; `defined` is what is read from it.
        live: Of the run that goes on, None when the domain is off.
        mark: Which run that is, if nixvm-loop started it.
        lost_shares: The process ids of its virtiofsd, if that has ended under it.
    """

    domain: libvirt_room.Domain
    text: str
    defined: DomainXml
    state: str
    live: DomainXml | None
    mark: str | None
    lost_shares: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class GuestSeen:
    """What one look into the guest showed.

    Attributes:
        unknown_closure: Why the store paths could not be looked for; None when they were.
    """

    generation: Generation
    facts: GuestFacts
    expected: verify.Expected
    checks: tuple[Check, ...]
    unknown_closure: str | None

    def check(self, name: str) -> Check:
        """The check of this id."""
        return next(check for check in self.checks if check.id == name)


class Patient:
    """One guest under examination. Everything is asked for once, when it is first wanted, and only for a few seconds.

    The methods raise NotPossibleError where there is no answer.
    """

    def __init__(self, settings: GuestSettings, clock: Clock) -> None:
        self.settings = settings
        self.journal = Journal(settings.state_dir)
        self.generations = Generations(settings.state_dir)
        self._asked = Asked()
        # Who only looks makes no key: the one that is kept has to do.
        key = settings.ssh.key or settings.state_dir / "ssh/id_ed25519"
        keyed = replace(settings, ssh=replace(settings.ssh, key=key))
        self.context = Context(keyed, clock, Emitter((), clock), self.generations, self.journal, Link(keyed))

    async def close(self) -> None:
        """End what is still under way."""
        await self._asked.close()
        await self.context.link.drop_ssh()

    async def once(self, key: str, who: str, make: Callable[[], Coroutine[Any, Any, T]], until_s: float) -> T:
        """A question that only one probe has, under the same rules."""
        return await self._asked.once(key, who, make, until_s)

    async def hypervisor(self) -> libvirt_room.Connection:
        """The connection to libvirt; raises DomainError when it refuses."""
        # Never closed: the process ends soon, and a libvirt that hangs is not to be waited for.
        opened = partial(libvirt_room.Connection.open, self.settings.libvirt_uri)
        return await self.once("hypervisor", "libvirt", opened, LIBVIRT_S)

    async def host(self) -> HostFacts:
        """What libvirt's host can do."""
        return await self.once("host", "libvirt", self._host, LIBVIRT_S)

    async def host_or_refusal(self) -> HostFacts:
        """The same, with libvirt's refusal as it is: a DomainError."""
        await self.hypervisor()
        return await self.host()

    async def program(self, *argv: str) -> Outcome:
        """What a program of this host did; raises UsageError when it is not installed."""
        request = Request(argv, env=nix.NIX_ENV, interrupt_wait_s=_INTERRUPT_WAIT_S)
        return await self.once(str(request), argv[0], partial(run, request), PROGRAM_S)

    async def version_of(self, program: str) -> str | None:
        """The first line that a program says of its version; None when it cannot be executed."""
        try:
            outcome = await self.program(program, "--version")
        except UsageError:
            return None
        return next(iter((outcome.stdout + outcome.stderr).decode(errors="replace").splitlines()), "")

    async def is_rooted(self, path: str) -> bool:
        """Whether a root of the garbage collector, and not just a process that runs, holds a path of the store."""
        outcome = await self.program("nix-store", "--query", "--roots", path)
        if not outcome.ok:
            words = outcome.stderr.decode(errors="replace").split()
            raise NotPossibleError(f"Nix does not say what keeps {path}: {' '.join(words)}")
        roots = outcome.stdout.decode(errors="replace").splitlines()
        return any(not root.startswith(("/proc/", "{")) for root in roots)

    async def _host(self) -> HostFacts:
        return await (await self._libvirt()).host()

    async def _libvirt(self) -> libvirt_room.Connection:
        """The connection, for those to whom a refusal is somebody else's business."""
        try:
            return await self.hypervisor()
        except DomainError as error:
            raise NotPossibleError("libvirt was not reached") from error

    async def domain(self) -> DomainSeen | None:
        """The domain, None when libvirt has none of that name."""
        return await self.once("domain", "libvirt", self._domain, LIBVIRT_S)

    async def _domain(self) -> DomainSeen | None:
        domain = await (await self._libvirt()).find(self.settings.domain)
        if domain is None:
            return None
        text = await domain.shown_definition()
        return DomainSeen(
            domain,
            text,
            domainxml.read(text),
            await domain.state(),
            await domain.running(),
            await domain.boot_mark(),
            await domain.lost_shares(),
        )

    async def running(self) -> DomainSeen:
        """The domain, which has to run."""
        domain = await self.domain()
        if domain is None:
            raise NotPossibleError(f"there is no domain {self.settings.domain}")
        if domain.live is None or domain.state != "running":
            raise NotPossibleError(f"domain {self.settings.domain} is {domain.state}")
        return domain

    def generation(self) -> Generation:
        """The current generation."""
        try:
            generation = self.generations.current()
        except GenerationError as error:
            raise NotPossibleError(error.message) from error
        if generation is None:
            raise NotPossibleError("there is no generation yet")
        return generation

    async def connection(self) -> guest_room.Connection:
        """The way into the guest; raises GuestError when it does not let us in."""
        return await self.once("connection", "the guest", self._connect, REACH_S)

    async def _connect(self) -> guest_room.Connection:
        settings = self.settings
        imported = asyncio.create_task(asyncio.to_thread(guest_room.preload))
        domain = await self.running()
        await imported
        keys = _KeysToRead(
            settings.state_dir / "ssh", settings.name, settings.ssh.host_key, boot=domain.mark, first_meeting_wait_s=0
        )
        return await reach_booting(
            self.context,
            domain.domain,
            domain.defined,
            host_keys=keys,
            emit=lambda _: None,
            timeout_s=_REACH_TIMEOUT_S,
        )

    async def guest(self) -> GuestSeen:
        """What the guest says, and what that is worth."""
        return await self.once("guest", "the guest", self._look, GUEST_S)

    async def _look(self) -> GuestSeen:
        (paths, problem), connection = await asyncio.gather(self._closure(), self._reached())
        generation, domain = self.generation(), await self.running()
        assert domain.live is not None  # noqa: S101  # running() saw to that
        request = guest_room.FactsRequest(self.settings.store, paths)
        try:
            facts = await connection.gather(request)
        except GuestError as error:
            raise NotPossibleError(error.message) from error
        look = Look(
            Action.NONE,
            generation,
            domain.live,
            paths=paths,
            switched_on=self.generations.switched_on(generation.number),
        )
        expected = replace(expected_of(self.settings, look, facts, None), settings=())
        return GuestSeen(generation, facts, expected, verify.checks(expected, facts), problem)

    async def _reached(self) -> guest_room.Connection:
        try:
            return await self.connection()
        except GuestError as error:
            raise NotPossibleError("the guest was not reached") from error

    async def ask_guest(self, script: str) -> str:
        """What a script for /bin/sh prints in the guest."""
        connection = await self._reached()
        try:
            said = await connection.run(f"exec /bin/sh -c {shlex.quote(script)}", _SCRIPT_TIMEOUT_S)
        except GuestError as error:
            raise NotPossibleError(error.message) from error
        if said.exit_status is None:
            raise NotPossibleError(f"the guest's shell did not answer within {_SCRIPT_TIMEOUT_S:g}s")
        return said.stdout

    async def largest_in_layer(self, store: Mount | None) -> str:
        """What takes most of the store's writable layer, in words; empty where the guest does not tell."""
        upper = None if store is None else store.super_options.get("upperdir")
        if not upper:
            return ""
        command = f"cd {shlex.quote(upper)} && du -xsk -- * 2>/dev/null | sort -rn | head -n {_LARGEST}"
        try:
            said = await self.ask_guest(command)
        except NotPossibleError:
            return ""
        rows = [line.split("\t", 1) for line in said.splitlines() if "\t" in line]
        named = [f"{format_bytes(int(size) << 10)} {name}" for size, name in rows if size.isdecimal()]
        return f"; largest: {', '.join(named)}" if named else ""

    async def _closure(self) -> tuple[tuple[str, ...], str | None]:
        """The store paths that the current generation needs, or why they are not known."""
        toplevel = self.generation().toplevel
        ask = partial(nix.closure, toplevel, interrupt_wait_s=_INTERRUPT_WAIT_S)
        try:
            return tuple(sorted(await self.once("closure", "Nix", ask, NIX_S))), None
        except NotPossibleError as error:
            return (), str(error)
        except BuildError as error:
            return (), error.message


class _KeysToRead(guest_room.HostKeys):
    """Host keys for who only looks: a key that is met for the first time is not kept."""

    def accepted(self, shown: str) -> None:
        """Keep nothing."""
