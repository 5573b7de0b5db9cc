"""`adopt`: an existing domain is put on direct kernel boot and the shared store, and what it was is kept."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nixvm_loop import domainxml
from nixvm_loop.commands.redefine import WhileRunning, check_own, check_redefinable, check_same, redefine, show
from nixvm_loop.cycle.definition import UNBUILT, BootConfig, boot_for
from nixvm_loop.cycle.needs import NOT_ENFORCED
from nixvm_loop.cycle.observe import is_read_only
from nixvm_loop.cycle.run import hold
from nixvm_loop.cycle.served import served
from nixvm_loop.domain.faults import is_refusal
from nixvm_loop.domain.networks import how_to_start
from nixvm_loop.domain.snapshots import deleted as snapshots_deleted
from nixvm_loop.domainxml.adopt import Adoption
from nixvm_loop.domainxml.normal import same, same_but_boot
from nixvm_loop.domainxml.values import STORE_DIR
from nixvm_loop.errors import DomainError, UsageError
from nixvm_loop.events.types import Notice
from nixvm_loop.generation import identity, original
from nixvm_loop.model.values import Severity

if TYPE_CHECKING:
    from nixvm_loop.commands.call import Call
    from nixvm_loop.cycle.context import Context
    from nixvm_loop.domain import Connection, Domain
    from nixvm_loop.domainxml import DomainXml, HostFacts
    from nixvm_loop.events.emitter import Sink

_BUILD_IT: Final = "nixvm-loop rebuild builds and boots its system; nixvm-loop release gives the domain back as it was"


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is to be done.

    Attributes:
        before: The definition that the user was shown.
        after: The one that the domain is to get, None when it needs none.
        kept: What an earlier adoption kept; None when `before` is what `release` is to bring back.
    """

    before: str
    after: str | None
    kept: original.Original | None


def run(call: Call) -> int:
    """Show, ask, then do it; raises UsageError when nobody can be asked."""
    _check_settings(call)
    running = WhileRunning(call.arguments.while_running)
    return redefine(call, lambda sink: _plan(call, sink, running), lambda sink, plan: _adopt(call, sink, plan, running))


def _check_settings(call: Call) -> None:
    settings = call.settings
    if settings.machine is not None:
        raise UsageError(
            f"guest {settings.name} has a [machine] table, so its domain is made by nixvm-loop create, not adopted",
            hint=f"remove [guests.{settings.name}.machine] to use a domain of your own",
        )
    identity.check_apart(settings.state_dir, settings.flake_dir)


async def _plan(call: Call, sink: Sink, running: WhileRunning) -> _Plan | None:
    """What there is to do, told and shown; None for nothing at all."""
    context = call.context(sink)
    try:
        hypervisor = await context.link.hypervisor()
        domain = await served(hypervisor, context.settings)
        identity.check(context.settings.state_dir, flake=context.settings.flake, domain_uuid=domain.uuid)
        before = await domain.definition_text()
        defined = domainxml.read(before)
        _check_not_made_by_us(defined)
        check_own(context, defined)
        kept = _kept(context, domain, before)
        after = domainxml.adopt(before, await _adoption(context, hypervisor, defined))
        if defined.boots_directly and same_but_boot(before, after):
            return _nothing_to_define(context, kept, before)
        await check_redefinable(domain, running)
        await _check_snapshots(context, domain)
        await _warn_of_networks(context, hypervisor, defined)
        show(context, before, after)
        return _Plan(before, after, kept)
    finally:
        await context.link.close()


def _nothing_to_define(context: Context, kept: original.Original | None, before: str) -> _Plan | None:
    name = context.settings.domain
    if kept is None:
        text = f"domain {name} boots directly and shares the store already: there is nothing to adopt"
        context.emitter(Notice(Severity.INFO, text, "nixvm-loop rebuild works with it as it is"))
        return None
    context.emitter(Notice(Severity.INFO, f"domain {name} is adopted already", _BUILD_IT))
    # Without the second file an adoption was interrupted after it was done.
    return _Plan(before, None, kept) if kept.after is None else None


def _check_not_made_by_us(defined: DomainXml) -> None:
    if defined.owner is not None:
        raise DomainError(
            f"domain {defined.name} was made by nixvm-loop create, for guest {defined.owner.guest}: it boots directly"
            " as it is",
            hint=f"give the guest its [machine] table: [guests.{defined.owner.guest}.machine]",
        )


def _kept(context: Context, domain: Domain, before: str) -> original.Original | None:
    """What an earlier adoption kept, as far as it still counts.

    Raises:
        DomainError: it is another domain's, or the domain was taken off direct boot by somebody else since.
    """
    kept = original.read(context.settings.state_dir)
    if kept is None:
        return None
    if kept.uuid != domain.uuid:
        raise DomainError(
            f"{kept.file} keeps the definition of another domain than {domain.name}",
            hint="move it away if that domain is gone; or give this guest another state_dir",
        )
    if same(kept.text, before):
        return None
    if domainxml.read(before).boots_directly:
        return kept
    tag = context.settings.store.share
    shares = [domainxml.read(text).share(tag) for text in (kept.text, before)]
    if kept.after is None and shares == [None, None]:
        return None  # that adoption was never done, and the domain was changed since
    what = "was being adopted, and was then changed"
    if kept.after is not None:
        what = "was adopted, and then taken off direct boot"
    raise DomainError(
        f"domain {domain.name} {what} by somebody else",
        hint=f"nixvm-loop release brings back what it was before; or move {kept.file} away to adopt it as it is now",
    )


async def _adoption(context: Context, hypervisor: Connection, defined: DomainXml) -> Adoption:
    generations, settings = context.generations, context.settings
    current = generations.current_or_none()
    boot = BootConfig(str(generations.kernel_link), str(generations.initrd_link), UNBUILT)
    if current is not None:
        boot = await boot_for(context, hypervisor, current)
    sources = [share.source for share in defined.shares if share.source is not None]
    mounts = [source for source in sources if settings.on_this_host and _is_store(source)]
    return Adoption(
        kernel=boot.kernel,
        initrd=boot.initrd,
        cmdline=boot.cmdline,
        share=settings.store.share,
        readonly=(await hypervisor.host()).readonly_share,
        stores=frozenset({STORE_DIR, *mounts}),
    )


def _is_store(folder: str) -> bool:
    try:
        return Path(folder).samefile(STORE_DIR)
    except OSError:
        return False


async def _check_snapshots(context: Context, domain: Domain) -> None:
    found = await domain.snapshots()
    memory = [one.name for one in found if one.memory]
    if memory:
        raise DomainError(
            f"domain {domain.name} has snapshots that hold its memory ({', '.join(memory)}): they cannot be gone back"
            " to with a virtiofs share",
            hint=f"delete them, or adopt a clone without them: {snapshots_deleted(domain.name, memory)}",
        )
    if found:
        text = f"domain {domain.name} has snapshots: going back to one brings back the definition of its time as well"
        context.emitter(Notice(Severity.WARNING, text, "nixvm-loop adopt puts it on direct boot again"))


async def _warn_of_networks(context: Context, hypervisor: Connection, defined: DomainXml) -> None:
    wanted = {card.network for card in defined.interfaces if card.network is not None}
    if not wanted:
        return
    try:
        up, down = await hypervisor.networks()
    except DomainError as error:
        context.emitter(Notice(Severity.WARNING, error.message, error.hint))
        return
    for network in sorted(wanted - up - down):
        text = f"libvirt has no network {network}, which domain {defined.name} is attached to: it will not start"
        context.emitter(Notice(Severity.WARNING, text, "`virsh net-list --all` shows those that it has"))
    for network in sorted(wanted & down):
        text = f"libvirt's network {network}, which domain {defined.name} is attached to, is down: it will not start"
        context.emitter(Notice(Severity.WARNING, text, how_to_start(network)))


async def _adopt(call: Call, sink: Sink, plan: _Plan, running: WhileRunning) -> None:
    context = call.context(sink)
    settings = context.settings
    try:
        hypervisor = await context.link.hypervisor()
        # Not even a lock is left behind by what is known to be refused.
        await _check_still(context, plan, running)
        async with hold(context):
            domain = await _check_still(context, plan, running)
            if plan.after is not None:
                await _define(context, hypervisor, domain, plan, plan.after)
            # Whoever is interrupted between these has the next adopt finish it.
            context.generations.prepare()
            if plan.kept is None or plan.kept.after is None:
                original.keep_after(settings.state_dir, await domain.definition_text())
            identity.claim(settings.state_dir, flake=settings.flake, domain_uuid=domain.uuid)
        if plan.after is not None:
            kept = f"; what it was is kept in {settings.state_dir}/adopted.xml"
            context.emitter(Notice(Severity.INFO, f"domain {domain.name} is adopted{kept}", _BUILD_IT))
            _warn_of_writable_store(context, plan.after, await hypervisor.host())
    finally:
        await context.link.close()


async def _check_still(context: Context, plan: _Plan, running: WhileRunning) -> Domain:
    """The domain, if what was planned can be done with it still. Raises DomainError or UsageError; changes nothing."""
    settings = context.settings
    domain = await served(await context.link.hypervisor(), settings)
    identity.check(settings.state_dir, flake=settings.flake, domain_uuid=domain.uuid)
    await check_same(domain, plan.before)
    if plan.after is not None:
        await check_redefinable(domain, running)
    return domain


async def _define(context: Context, hypervisor: Connection, domain: Domain, plan: _Plan, after: str) -> None:
    state_dir = context.settings.state_dir
    if plan.kept is None:
        original.keep(state_dir, plan.before)
    try:
        await hypervisor.define(after)
    except DomainError as error:
        # What libvirt did not answer may be done all the same, even later: then the next adopt finds it and goes on.
        if plan.kept is None and is_refusal(error) and await domain.definition_text() == plan.before:
            original.forget(state_dir)
            error.hint = error.hint or "the difference above shows what was asked of libvirt; nothing was changed"
        raise


def _warn_of_writable_store(context: Context, after: str, host: HostFacts) -> None:
    settings = context.settings
    share = domainxml.read(after).share(settings.store.share)
    if share is None or share.readonly or not settings.on_this_host or is_read_only(share.source):
        return
    # What can be done by libvirt is not there only if the share was there before, and stays as it was.
    hint = (
        f"`virsh edit {shlex.quote(settings.domain)}`: <readonly/> in the share with <target dir='{share.tag}'/> does"
        if host.readonly_share
        else f"libvirt 11 with virtiofsd 1.13 can (<readonly/>; here, {host.no_readonly_because}); before, a read-only"
        " mount of the store as the share's <source dir='…'/>"
    )
    context.emitter(Notice(Severity.WARNING, NOT_ENFORCED, hint))
