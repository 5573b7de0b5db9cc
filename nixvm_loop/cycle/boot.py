"""A boot as it happens: whoever knows first that it failed, the console or libvirt, ends the wait."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any, Final, TypeVar

from nixvm_loop import guest as guest_room
from nixvm_loop import signatures
from nixvm_loop.cycle.context import no_address
from nixvm_loop.domain.lifecycle import End, LifecycleKind
from nixvm_loop.errors import BootError, ConnectionLostError, DomainError, GuestError, HostFaultError, OperatorStopError
from nixvm_loop.events.types import Console, DomainState, Notice
from nixvm_loop.model.values import Severity

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from nixvm_loop.cycle.context import Context
    from nixvm_loop.domain import Domain, LifecycleEvent
    from nixvm_loop.domain.lifecycle import Lifecycle
    from nixvm_loop.domainxml import DomainXml
    from nixvm_loop.errors import NixvmLoopError
    from nixvm_loop.events.types import Emit

_ADDRESS_POLL_S: Final = 0.25
_TAIL_LINES: Final = 12
_LEASE_TRY_S: Final = 6.0
# Libvirt tells of a domain's end a little later than the console does.
_CONSOLE_END_S: Final = 1.0
# Sooner than that.
_LIBVIRT_ALIVE_S: Final = 0.5
# What programs said may reach the console after the kernel's panic.
_EXPLANATION_S: Final = 0.3
_FAILED: Final = "the guest did not boot"
_LOOP_HINT: Final = "the console's last lines before the start say why; with panic=0 a kernel stays where it panics"
_SILENCE_HINT: Final = (
    'NixOS shows nothing without "console=ttyS0" in boot.kernelParams; if it has that, the processor may not run: '
    'machine.accelerator = "tcg" tells whether it is KVM'
)
_LIBVIRT_HINT: Final = "once it is back (`systemctl status libvirtd`), nixvm-loop rebuild looks at the guest again"
_UNREACHED_HINT: Final = (
    "does its sshd run, does its firewall let port 22 in, does it have an address? `nixvm-loop console` leads to it"
)

T = TypeVar("T")


def end_of(event: LifecycleEvent, message: str) -> BootError | None:
    """The error for an event that ends the guest, by whose doing it is; None for any other."""
    if event.end is End.DESTROYED:
        return OperatorStopError(message, hint="somebody stopped it; nixvm-loop rebuild starts it again")
    if event.kind is LifecycleKind.RESET:
        return OperatorStopError(message, hint="somebody reset it (virsh reset); nixvm-loop rebuild boots it again")
    if event.end is End.FAILED or event.kind is LifecycleKind.SHARE_DIED:
        hint = "the end of its log is below" if event.log else f"its log is {event.log_file}, which is root's"
        return HostFaultError(message, hint=hint)
    return BootError(message, hint="see the console's last lines below") if event.ended else None


class BootWatch:
    """Hears the console's lines and libvirt's events of one boot, and remembers the first that ends it."""

    def __init__(self, emit: Emit, log: Callable[[str], object], host_keys: guest_room.HostKeys, share: str) -> None:
        self._emit = emit
        self._share = share
        self._log = log
        self._host_keys = host_keys
        self._tail: list[str] = []
        self._clock = signatures.KernelClock()
        self._clue: signatures.Found | None = None
        self._milestone = ""
        self._soon: asyncio.TimerHandle | None = None
        self._failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def line(self, line: str) -> None:
        """Take a line of the console."""
        self._log(line)
        self._emit(Console(line))
        self._tail = [*self._tail[1 - _TAIL_LINES :], line]
        try:
            self._host_keys.hear(line)
        except GuestError as error:
            self._emit(guest_room.not_kept(error))
        found = self._found(line)
        if found is not None and found.id in signatures.UNEXPLAINED:
            self._fail_soon(found)
        elif found is not None:
            self._fail(BootError(f"{_FAILED}: {found.cause}", hint=found.fix))
        elif self._clock.started_anew(line):
            self._fail(BootError(f"{_FAILED}: it has started anew before it came up", hint=_LOOP_HINT))
        else:
            self._note(line)

    def _found(self, line: str) -> signatures.Found | None:
        found = signatures.find(signatures.Source.CONSOLE, line)
        # A guest may well do without a share that is not its store.
        return found if found is None or found.groups.get("tag") in {None, "", self._share} else None

    def _fail_soon(self, found: signatures.Found) -> None:
        """Fail for a reason that has another behind it, which what the console says next may tell."""
        shown = tuple(self._tail)

        def fail() -> None:
            # A panic's trace would push out what came before it.
            error = BootError(f"{_FAILED}: {found.cause}", hint=found.fix, details=shown)
            if self._clue is not None:
                error.message += f"; before that, {self._clue.cause}"
                error.hint = f"{self._clue.fix}; {found.fix}"
            self._fail(error)

        if self._soon is None:
            self._soon = asyncio.get_running_loop().call_later(_EXPLANATION_S, fail)

    def _note(self, line: str) -> None:
        """Remember what may explain a failure that comes later, or shows how far the boot came."""
        clue = signatures.find(signatures.Source.CONSOLE_CLUE, line)
        if clue is not None and (self._clue is None or signatures.tells_more(clue, self._clue)):
            self._clue = clue
        milestone = signatures.find(signatures.Source.CONSOLE_MILESTONE, line)
        if milestone is not None:
            self._milestone = milestone.cause

    def lifecycle(self, event: LifecycleEvent) -> None:
        """Take an event of libvirt's."""
        if event.ended:
            self._emit(DomainState("crashed" if event.kind is LifecycleKind.PANICKED else "shut off"))
        error = end_of(event, f"{_FAILED}: the domain {event.words}")
        if error is None or (self._soon is not None and not isinstance(error, HostFaultError)):
            return  # why the guest itself has ended is about to be told
        if event.kind is LifecycleKind.REBOOTED:
            error = BootError(f"{error.message} before it came up", hint=_LOOP_HINT)
        if isinstance(error, HostFaultError | OperatorStopError):
            self._fail(error, event.log)
        else:
            # Libvirt may tell the end before the guest's last words, which say why.
            asyncio.get_running_loop().call_later(_EXPLANATION_S, self._fail_unexplained, error, event.log)

    def _fail_unexplained(self, error: NixvmLoopError, log: tuple[str, ...]) -> None:
        if self._soon is None:
            self._fail(error, log)

    async def libvirt_ends(self, alive: Callable[[], Coroutine[Any, Any, bool]]) -> None:
        """Tell when libvirt has gone: neither the guest's host key nor its end would be heard any more."""
        while await alive():  # noqa: ASYNC110  # what is waited for is another process
            await asyncio.sleep(_LIBVIRT_ALIVE_S)
        self._fail(DomainError("libvirt's daemon has gone while the guest booted, which goes on", hint=_LIBVIRT_HINT))

    def _fail(self, error: NixvmLoopError, log: tuple[str, ...] = ()) -> None:
        if not self._failed.done():
            error.details = error.details or (*self._tail, *log)
            self._failed.set_exception(error)

    async def follow(self, events: Lifecycle) -> None:
        """Take libvirt's events until cancelled."""
        async for event in events:
            self.lifecycle(event)

    async def console_ends(self, ended: Coroutine[Any, Any, None]) -> None:
        """Tell when the console falls silent for us although the guest goes on."""
        await ended
        await asyncio.sleep(_CONSOLE_END_S)
        if not self._failed.done():
            message = "the guest's console is read by somebody else now; what it says is not known here any more"
            self._emit(Notice(Severity.WARNING, message, "leave virsh console, or nixvm-loop console, during a boot"))

    async def unless_failed(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for something of the guest's, but not from one that is known to be gone.

        Raises:
            GuestError: it was not reached, BootError if it is known to be gone; with what its console said last.
            DomainError: libvirt has gone.
        """
        task: asyncio.Future[T] = asyncio.ensure_future(work)
        waited_for: list[asyncio.Future[Any]] = [task, self._failed]
        try:
            await asyncio.wait(waited_for, return_when=asyncio.FIRST_COMPLETED)
            if self._failed.done():
                self._failed.result()
            return await self._or_why_it_was_lost(task)
        except GuestError as error:
            if type(error) is GuestError and isinstance(error.__cause__, TimeoutError):
                error = self._unanswered(error)
            said = tuple(self._tail) or ("the guest's console said nothing",)
            raise type(error)(error.message, hint=error.hint, details=error.details or said) from error
        finally:
            if not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def _or_why_it_was_lost(self, task: asyncio.Future[T]) -> T:
        try:
            return await task
        except ConnectionLostError:
            # It may be ending, by whoever's doing: that is told a moment later.
            await asyncio.wait([self._failed], timeout=_CONSOLE_END_S)
            if self._failed.done():
                self._failed.result()
            raise

    def _unanswered(self, error: GuestError) -> GuestError:
        """The error for a guest that was waited for as long as it may take, by what its console has shown."""
        if not self._tail:
            return GuestError(f"{error.message}, and its console is silent", hint=_SILENCE_HINT)
        if self._milestone:
            message = f"the guest has booted ({self._milestone} on its console), but cannot be reached: {error.message}"
            return GuestError(message, hint=_UNREACHED_HINT)
        clue = f"; {self._clue.cause}" if self._clue is not None else ""
        return GuestError(f"{error.message}; its console shows no end of the boot{clue}", hint=error.hint)

    def close(self) -> None:
        """The boot is over, one way or the other."""
        if self._soon is not None:
            self._soon.cancel()
        if not self._failed.done():
            self._failed.cancel()
        elif not self._failed.cancelled():
            self._failed.exception()


async def reach_booting(
    context: Context,
    domain: Domain,
    definition: DomainXml,
    *,
    host_keys: guest_room.HostKeys,
    emit: Emit,
    timeout_s: float,
) -> guest_room.Connection:
    """A connection to a guest that may still be coming up.

    An address that libvirt has leased may be that of an earlier boot: such ones are tried in turn, and asked for again.

    Raises:
        GuestError: it was not reached within `timeout_s`, or libvirt knew no address by then.
    """
    clock = context.clock
    deadline = clock.monotonic() + timeout_s
    for turn in itertools.count():
        left = round(max(deadline - clock.monotonic(), _ADDRESS_POLL_S), 1)
        found = await context.accesses(domain, definition)
        if not found and clock.monotonic() > deadline:
            raise no_address(context.settings)
        if not found:
            await asyncio.sleep(_ADDRESS_POLL_S)
            continue
        patience = asyncio.timeout(_LEASE_TRY_S if context.by_lease(definition) and left > _LEASE_TRY_S else None)
        try:
            async with patience:
                access = found[turn % len(found)]
                reached = await guest_room.reach(access, host_keys=host_keys, emit=emit, clock=clock, timeout_s=left)
                context.link.access = access
                return reached
        except TimeoutError:
            if not patience.expired():
                raise
    raise AssertionError


async def connect(context: Context, domain: Domain, emit: Emit, timeout_s: float) -> guest_room.Connection:
    """The kept connection to the running guest, or a new one. Raises GuestError and DomainError."""
    link = context.link
    if link.ssh is not None and not link.ssh.closed:
        return link.ssh
    host_keys = context.host_keys(await domain.boot_mark())
    link.ssh = await reach_booting(
        context, domain, await domain.definition(), host_keys=host_keys, emit=emit, timeout_s=timeout_s
    )
    return link.ssh
