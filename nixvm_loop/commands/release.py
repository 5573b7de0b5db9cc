"""`release`: an adopted domain is defined as it was before, to the letter."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nixvm_loop.commands.redefine import WhileRunning, check_own, check_redefinable, check_same, redefine, show
from nixvm_loop.cycle.run import hold
from nixvm_loop.cycle.served import renamed, served
from nixvm_loop.domainxml.changed import changed_since, moved_disks
from nixvm_loop.domainxml.normal import same, unified, with_name
from nixvm_loop.errors import DomainError
from nixvm_loop.events.types import Notice
from nixvm_loop.generation import identity, original
from nixvm_loop.model.values import Severity

if TYPE_CHECKING:
    from nixvm_loop.commands.call import Call
    from nixvm_loop.cycle.context import Context
    from nixvm_loop.domain import Domain
    from nixvm_loop.events.emitter import Sink


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is to be done.

    Attributes:
        before: The definition that the user was shown.
        after: The original; None when the domain has it already.
        loses: What others changed since the adoption.
    """

    before: str
    after: str | None
    loses: tuple[str, ...]


def run(call: Call) -> int:
    """Show, ask, then do it; raises UsageError when nobody can be asked."""
    running = WhileRunning(call.arguments.while_running)
    return redefine(
        call,
        lambda sink: _plan(call, sink, running),
        lambda sink, plan: _release(call, sink, plan, running),
        losing=lambda plan: ", and lose what was changed since" if plan.loses else "",
    )


async def _plan(call: Call, sink: Sink, running: WhileRunning) -> _Plan | None:
    """What there is to do, told and shown; None for nothing at all."""
    context = call.context(sink)
    try:
        kept = original.read(context.settings.state_dir)
        if kept is None:
            domain = await (await context.link.hypervisor()).find(context.settings.domain)
            if domain is not None:
                check_own(context, await domain.definition())
            text = f"domain {context.settings.domain} is not adopted: there is nothing to give back"
            context.emitter(Notice(Severity.INFO, text, None))
            return None
        domain = await _domain(context, kept)
        before = await domain.definition_text()
        # Libvirt gives a domain no other name by a definition, and who renamed it did not do so for the loop.
        wanted = with_name(kept.text, domain.name)
        if same(before, wanted):
            return _Plan(before, None, ())
        await check_redefinable(domain, running)
        loses = changed_since(with_name(kept.after, domain.name), before) if kept.after is not None else ()
        _warn(context, kept, loses)
        await _warn_of_disks(context, domain, before, wanted)
        show(context, before, wanted)
        return _Plan(before, wanted, loses)
    finally:
        await context.link.close()


async def _domain(context: Context, kept: original.Original) -> Domain:
    """The domain whose original is kept. Raises DomainError when it is gone, or another has its name."""
    hypervisor = await context.link.hypervisor()
    name = context.settings.domain
    domain = await hypervisor.find(name)
    if domain is None or domain.uuid != kept.uuid:
        adopted = None if kept.uuid is None else await hypervisor.find_by_uuid(kept.uuid)
        if adopted is not None:
            raise renamed(context.settings, adopted)
        what = f"there is no domain {name} any more" if domain is None else f"domain {name} is not the adopted one"
        raise DomainError(
            f"{what}: nothing can be given back",
            hint=f"{kept.file} keeps the definition from before (`virsh define` takes it); move it away when you are"
            " done with it",
        )
    return domain


def _warn(context: Context, kept: original.Original, loses: tuple[str, ...]) -> None:
    keep_it = (
        f"`virsh dumpxml --inactive --security-info {shlex.quote(context.settings.domain)} >FILE` keeps it as it is now"
    )
    if kept.after is None:
        text = "the adoption was interrupted, so it is not known what others changed since; see the difference"
        context.emitter(Notice(Severity.WARNING, text, keep_it))
    for change in loses:
        context.emitter(Notice(Severity.WARNING, f"changed since the adoption, and lost by this: {change}", None))
    if loses:
        context.emitter(Notice(Severity.WARNING, "change it again after this, where it is still wanted", keep_it))


async def _warn_of_disks(context: Context, domain: Domain, before: str, after: str) -> None:
    """Tell what a disk's or a snapshot's file has to do with a definition that is of another time."""
    name = shlex.quote(domain.name)
    for disk, now, then in moved_disks(before, after):
        text = (
            f"disk {disk} is {now} now, and would be {then} again: what was written since the change would be missing,"
            f" and if {now} is based on {then} (a snapshot), a start spoils it for good"
        )
        hint = (
            f"`virsh blockcommit {name} {disk} --active --pivot`, while it runs, first puts a snapshot's both into one"
        )
        context.emitter(Notice(Severity.WARNING, text, hint))
    if await domain.snapshots():
        text = f"domain {domain.name} has snapshots: going back to one brings back the definition of its time as well"
        context.emitter(Notice(Severity.WARNING, text, "nixvm-loop release, or adopt, sets it right again"))


async def _release(call: Call, sink: Sink, plan: _Plan, running: WhileRunning) -> None:
    context = call.context(sink)
    settings = context.settings
    try:
        hypervisor = await context.link.hypervisor()
        identity.check(settings.state_dir, flake=settings.flake)
        async with hold(context):
            domain = await served(hypervisor, settings)
            await check_same(domain, plan.before)
            if plan.after is not None:
                await check_redefinable(domain, running)
                await hypervisor.define(plan.after)
                _check_is_back(await domain.definition_text(), plan.after, domain.name)
            original.forget(settings.state_dir)
        text = f"domain {domain.name} is defined as it was before its adoption"
        context.emitter(Notice(Severity.INFO, text, f"nixvm-loop adopt {shlex.quote(domain.name)} takes it again"))
    finally:
        await context.link.close()


def _check_is_back(now: str, wanted: str, name: str) -> None:
    if not same(now, wanted):
        raise DomainError(
            f"domain {name} is not quite what it was before its adoption: libvirt made something else of it",
            hint="was libvirt replaced by another version meanwhile? adopted.xml is kept; move it away if this will do",
            details=unified(now, wanted, name),
        )
