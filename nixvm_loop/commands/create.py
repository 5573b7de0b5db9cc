"""`create`: the domain that the config describes, written and defined."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from nixvm_loop import domainxml
from nixvm_loop.commands.kept import is_ours
from nixvm_loop.commands.rebuild import cycle
from nixvm_loop.cycle import needs
from nixvm_loop.cycle.definition import UNBUILT, BootConfig, boot_for, check_ours, host_store, own_key, owned
from nixvm_loop.cycle.needs import NOT_ENFORCED
from nixvm_loop.cycle.run import hold
from nixvm_loop.cycle.served import other_domain, renamed
from nixvm_loop.decide import Wish
from nixvm_loop.domain.storeview import VIEW
from nixvm_loop.domainxml import StoreMode
from nixvm_loop.errors import DomainError, UsageError
from nixvm_loop.events.types import Notice
from nixvm_loop.generation import identity
from nixvm_loop.interrupt import interruptible
from nixvm_loop.model.values import Severity
from nixvm_loop.present.choice import Output

if TYPE_CHECKING:
    from nixvm_loop.commands.call import Call
    from nixvm_loop.cycle.context import Context
    from nixvm_loop.domain import Connection, Domain
    from nixvm_loop.events.emitter import Sink
    from nixvm_loop.model.settings import GuestSettings, MachineSettings

_NO_KEY_YET = "ssh-ed25519 made-by-nixvm-loop-create"
_ENFORCE: Final = (
    "let root mount the store read-only where nixvm-loop looks for it, and create again: `mkdir -p {view} &&"
    " mount -o bind,ro /nix/store {view}`; libvirt 11 with virtiofsd 1.13 needs no such"
    " mount ({reason})"
)


def run(call: Call) -> int:
    """Print or define the domain; with `--start` run the first cycle too."""
    machine = _machine(call.settings)
    if call.arguments.print_xml and call.arguments.output is Output.JSON:
        raise UsageError("--print-xml prints XML, and -o json stands for JSON alone", hint="leave one of them out")
    if call.arguments.start and call.arguments.no_virtiofs:
        raise UsageError(
            "--start runs a cycle, and without the shared store (--no-virtiofs) there is nothing to boot from",
            hint="leave one of them out; `virsh start` starts such a domain",
        )
    with call.sink() as sink:
        xml = asyncio.run(interruptible(_create(call, sink, machine)))
        if call.arguments.print_xml:
            call.write(xml)
            return 0
        if call.arguments.start:
            return asyncio.run(cycle(call, sink, Wish.AS_NEEDED))
    return 0


def _machine(settings: GuestSettings) -> MachineSettings:
    if settings.machine is None:
        raise UsageError(
            f"the config describes no machine for guest {settings.name}, so its domain is the user's own",
            hint=f"add [guests.{settings.name}.machine] (it may be empty) to let nixvm-loop define the domain",
        )
    return settings.machine


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is to be defined, and where."""

    context: Context
    machine: MachineSettings
    hypervisor: Connection
    store: StoreMode

    async def xml(self, uuid: str | None, key: str | None) -> str:
        """The definition; raises DomainError."""
        context, hypervisor = self.context, self.hypervisor
        generations = context.generations
        current = generations.current_or_none()
        boot = BootConfig(str(generations.kernel_link), str(generations.initrd_link), UNBUILT)
        if current is not None:
            boot = await boot_for(context, hypervisor, current)
        host = await hypervisor.host()
        return owned(context.settings, self.machine, host, boot, uuid=uuid, key=key, store=self.store)


async def _create(call: Call, sink: Sink, machine: MachineSettings) -> str:
    context = call.context(sink)
    store = StoreMode.ABSENT if call.arguments.no_virtiofs else StoreMode.SHARED
    try:
        plan = _Plan(context, machine, await context.link.hypervisor(), store)
        existing = await plan.hypervisor.find(context.settings.domain)
        if existing is not None:
            check_ours(context.settings, await existing.definition())
        elif (other := await other_domain(plan.hypervisor, context.settings)) is not None:
            raise await _known_by_another_name(context, other)
        if call.arguments.print_xml:
            return await plan.xml(existing.uuid if existing else None, _key_so_far(context))
        return await _define(plan, existing)
    finally:
        await context.link.close()


async def _known_by_another_name(context: Context, domain: Domain) -> DomainError:
    error = renamed(context.settings, domain)
    if await is_ours(context, domain):
        error.hint = f"{error.hint}; or nixvm-loop delete removes it with its state, after which create makes another"
    return error


async def _define(plan: _Plan, existing: Domain | None) -> str:
    context, hypervisor = plan.context, plan.hypervisor
    settings = context.settings
    identity.check_apart(settings.state_dir, settings.flake_dir)
    await needs.check(settings, hypervisor, domainxml.read(await plan.xml(None, _key_so_far(context))))
    identity.check(settings.state_dir, flake=settings.flake)
    async with hold(context):
        identity.check(settings.state_dir, flake=settings.flake)
        uuid = existing.uuid if existing else identity.domain_uuid(settings.state_dir) or str(uuid4())
        xml = await plan.xml(uuid, own_key(settings))
        async with needs.provided(settings, domainxml.read(xml)):
            domain = await hypervisor.define(xml)
        # What libvirt refuses leaves the state as it was; whoever is interrupted here has the next create finish it.
        context.generations.prepare()
        identity.claim(settings.state_dir, flake=settings.flake, domain_uuid=domain.uuid)
    await _tell(plan, "updated" if existing else "defined")
    return xml


async def _tell(plan: _Plan, done: str) -> None:
    context, settings = plan.context, plan.context.settings
    if plan.store is StoreMode.ABSENT:
        hint = "nixvm-loop create puts the store back; cycles need it"
        context.emitter(Notice(Severity.INFO, f"domain {settings.domain} is {done} without the shared store", hint))
        return
    hint = "nixvm-loop rebuild builds and boots its system"
    context.emitter(Notice(Severity.INFO, f"domain {settings.domain} is {done}", hint))
    host = await plan.hypervisor.host()
    if not host.readonly_share and not host_store(settings, plan.machine, host).unchanging:
        context.emitter(
            Notice(Severity.WARNING, NOT_ENFORCED, _ENFORCE.format(view=VIEW, reason=host.no_readonly_because))
        )


def _key_so_far(context: Context) -> str | None:
    # Printing makes no key; `create` will.
    settings = context.settings
    made = settings.state_dir / "ssh" / "id_ed25519"
    return own_key(settings) if made.exists() or settings.ssh.key is not None else _NO_KEY_YET
