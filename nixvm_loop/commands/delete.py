"""`delete`: the domain that `create` made, the guest's state, and with it the garbage-collector roots."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nixvm_loop.commands.agree import agree
from nixvm_loop.commands.kept import is_ours
from nixvm_loop.cycle import needs
from nixvm_loop.cycle.run import hold
from nixvm_loop.cycle.served import other_domain
from nixvm_loop.domain import storeview
from nixvm_loop.domain.snapshots import deleted as snapshots_deleted
from nixvm_loop.errors import DomainError, GenerationError, UsageError
from nixvm_loop.events.types import Notice
from nixvm_loop.files import place_hint
from nixvm_loop.generation import identity, original
from nixvm_loop.interrupt import interruptible
from nixvm_loop.model.settings import StopPolicy
from nixvm_loop.model.values import Severity

if TYPE_CHECKING:
    from nixvm_loop.commands.call import Call
    from nixvm_loop.cycle.context import Context
    from nixvm_loop.domain import Domain
    from nixvm_loop.domainxml import DomainXml
    from nixvm_loop.events.emitter import Sink

_OURS: Final = (
    "current", "kernel-current", "initrd-current", "generations", "cycles", "ssh",
    "journal.jsonl", "seen.json", "started.json", "guest.json", "adopted-as.xml", "lock", "control.sock",
)  # fmt: skip


def run(call: Call) -> int:
    """Ask, then remove; raises UsageError when nobody can be asked."""
    with call.sink() as sink:
        if not call.arguments.yes:
            # Between two runs of the event loop, so that Ctrl-C ends the question at once.
            what = asyncio.run(interruptible(_what(call, sink)))
            agree(f"Remove {what}?", alone=f"delete would remove {what}", refused="nothing was removed")
        asyncio.run(interruptible(_delete(call, sink)))
    return 0


async def _what(call: Call, sink: Sink) -> str:
    context = call.context(sink)
    try:
        await _check_released(context)
        ours, _ = await _domains(context)
        return " and ".join((str(call.settings.state_dir), *(_named(context, domain) for domain in ours)))
    finally:
        await context.link.close()


async def _delete(call: Call, sink: Sink) -> None:
    context = call.context(sink)
    try:
        await _check_released(context)
        ours, others = await _domains(context)
        for domain in others:
            await _tell_that_it_stays(context, domain)
        await _remove(context, ours)
    finally:
        await context.link.close()


async def _check_released(context: Context) -> None:
    kept = original.read(context.settings.state_dir)
    hypervisor = await context.link.hypervisor()
    uuid = kept.uuid if kept is not None else None
    domain = await hypervisor.find_by_uuid(uuid) if uuid is not None else None
    if domain is not None:
        raise UsageError(
            f"domain {domain.name} is adopted: with the state its original definition would be lost",
            hint="nixvm-loop release gives it back as it was; then delete removes the state",
        )


async def _domains(context: Context) -> tuple[list[Domain], list[Domain]]:
    """The domains of this guest, by the config's name and by the state's memory: `create`'s for it, and others."""
    hypervisor = await context.link.hypervisor()
    named = await hypervisor.find(context.settings.domain)
    found = [domain for domain in (named, await other_domain(hypervisor, context.settings)) if domain is not None]
    ours = [domain for domain in found if await is_ours(context, domain)]
    return ours, [domain for domain in found if domain not in ours]


def _named(context: Context, domain: Domain) -> str:
    named = context.settings.domain
    also = "" if domain.name == named else f" (the state was made for it; the config names {named})"
    return f"domain {domain.name}{also}"


async def _tell_that_it_stays(context: Context, domain: Domain) -> None:
    hint = _loss(context, domain, await domain.definition())
    text = f"{_named(context, domain)} was not made by nixvm-loop for this guest and stays"
    context.emitter(Notice(Severity.INFO, text, hint))


def _loss(context: Context, domain: Domain, definition: DomainXml) -> str | None:
    """What a domain that stays loses with the state."""
    state_dir = context.settings.state_dir
    boots = [Path(path) for path in (definition.kernel, definition.initrd) if path is not None]
    if not state_dir.is_dir():
        return None
    if any(path.is_relative_to(state_dir) for path in boots):
        return "its <kernel> and <initrd> are gone with the state: set them before it is started again"
    if boots and domain.uuid == identity.domain_uuid(state_dir):
        return "nothing keeps its <kernel> and <initrd> from Nix's garbage collector any more"
    return None


async def _remove(context: Context, domains: list[Domain]) -> None:
    settings = context.settings
    known = settings.state_dir.is_dir()
    async with hold(context) if known else nullcontext():
        for domain in domains:
            await _check_snapshots(domain)
        for domain in domains:
            await domain.stop(StopPolicy.FORCE, 0)
            await domain.undefine()
            context.emitter(Notice(Severity.INFO, f"{_named(context, domain)} is removed", None))
        await _remove_view(context)
        if known:
            left = _remove_state(settings.state_dir)
            text = f"stays: it holds {', '.join(left)}" if left else "is removed"
            context.emitter(Notice(Severity.INFO, f"{settings.state_dir} {text}", None))


async def _check_snapshots(domain: Domain) -> None:
    # Libvirt would refuse as well, but only after the guest was stopped.
    names = [snapshot.name for snapshot in await domain.snapshots()]
    if names:
        raise DomainError(
            f"domain {domain.name} has snapshots ({', '.join(names)}): libvirt removes no domain that has any",
            hint=f"delete them first: {snapshots_deleted(domain.name, names)}; to keep what they hold, copy the disks",
        )


async def _remove_view(context: Context) -> None:
    """Unmount the read-only view of the host's store, once no domain uses it."""
    if not context.settings.on_this_host:
        return
    hypervisor = await context.link.hypervisor()

    async def is_used() -> bool:
        domains = [found for name in await hypervisor.names() if (found := await hypervisor.find(name)) is not None]
        seen = [one for domain in domains for one in (await domain.definition(), await domain.running())]
        return any(needs.uses_view(one) for one in seen if one is not None)

    try:
        await storeview.remove(is_used)
    except DomainError as error:
        context.emitter(Notice(Severity.WARNING, f"{storeview.VIEW} stays mounted: {error.message}", error.hint))


def _remove_state(state_dir: Path) -> list[str]:
    """Remove what is ours; the names of what is not."""
    try:
        for name in _OURS:
            path = state_dir / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        left = sorted(entry.name for entry in state_dir.iterdir())
        if not left:
            state_dir.rmdir()
    except OSError as error:
        raise GenerationError(f"{state_dir} cannot be removed: {error.strerror}", hint=place_hint(error)) from error
    return left
