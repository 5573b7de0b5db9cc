"""`create`: the domain that the config describes, written and defined."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import uuid4

from nixvm_loop.commands.kept import is_ours, other_domain
from nixvm_loop.commands.rebuild import cycle
from nixvm_loop.cycle.definition import BootConfig, boot_for, check_ours, own_key, owned
from nixvm_loop.cycle.run import hold
from nixvm_loop.decide import Wish
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

_NO_SYSTEM_YET = "init=/not-built-yet"
_NO_KEY_YET = "ssh-ed25519 made-by-nixvm-loop-create"


def run(call: Call) -> int:
    """Print or define the domain; with `--start` run the first cycle too."""
    machine = _machine(call.settings)
    if call.arguments.print_xml and call.arguments.output is Output.JSON:
        raise UsageError("--print-xml prints XML, and -o json stands for JSON alone", hint="leave one of them out")
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


async def _create(call: Call, sink: Sink, machine: MachineSettings) -> str:
    context = call.context(sink)
    try:
        hypervisor = await context.link.hypervisor()
        existing = await hypervisor.find(context.settings.domain)
        if existing is not None:
            check_ours(context.settings, await existing.definition())
        elif (other := await other_domain(context)) is not None:
            raise await _known_by_another_name(context, other)
        if call.arguments.print_xml:
            return await _xml(context, machine, hypervisor, existing.uuid if existing else None, _key_so_far(context))
        return await _define(context, machine, hypervisor, existing)
    finally:
        await context.link.close()


async def _known_by_another_name(context: Context, domain: Domain) -> DomainError:
    name = context.settings.domain
    hint = f'domain = "{domain.name}" in the config names it again'
    if await is_ours(context, domain):
        hint += f"; nixvm-loop delete removes it with its state, after which create makes {name}"
    return DomainError(f"this guest's domain is {domain.name} (UUID {domain.uuid}), not {name}", hint=hint)


async def _define(context: Context, machine: MachineSettings, hypervisor: Connection, existing: Domain | None) -> str:
    settings = context.settings
    identity.check_apart(settings.state_dir, settings.flake_dir)
    identity.claim(settings.state_dir, flake=settings.flake)
    async with hold(context):
        context.generations.prepare()
        uuid = existing.uuid if existing else identity.domain_uuid(settings.state_dir) or str(uuid4())
        xml = await _xml(context, machine, hypervisor, uuid, own_key(settings))
        domain = await hypervisor.define(xml)
        identity.claim(settings.state_dir, flake=settings.flake, domain_uuid=domain.uuid)
    done = "updated" if existing else "defined"
    hint = "nixvm-loop rebuild builds and boots its system"
    context.emitter(Notice(Severity.INFO, f"domain {settings.domain} is {done}", hint))
    return xml


def _key_so_far(context: Context) -> str | None:
    # Printing makes no key; `create` will.
    settings = context.settings
    made = settings.state_dir / "ssh" / "id_ed25519"
    return own_key(settings) if made.exists() or settings.ssh.key is not None else _NO_KEY_YET


async def _xml(
    context: Context, machine: MachineSettings, hypervisor: Connection, uuid: str | None, key: str | None
) -> str:
    generations = context.generations
    current = generations.current_or_none()
    boot = BootConfig(str(generations.kernel_link), str(generations.initrd_link), _NO_SYSTEM_YET)
    if current is not None:
        boot = await boot_for(context, hypervisor, current)
    return owned(context.settings, machine, await hypervisor.host(), boot, uuid=uuid, key=key)
