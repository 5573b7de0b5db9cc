"""The guest's domain as a cycle finds it, before anything is done to it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nixvm_loop import domainxml
from nixvm_loop import guest as guest_room
from nixvm_loop.cycle import definition
from nixvm_loop.cycle.trial import circumstances
from nixvm_loop.errors import GenerationError
from nixvm_loop.events.types import Notice
from nixvm_loop.generation import identity
from nixvm_loop.model.values import Severity

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nixvm_loop.cycle.context import Context
    from nixvm_loop.domain import Domain
    from nixvm_loop.domainxml import DomainXml
    from nixvm_loop.events.types import Emit
    from nixvm_loop.model.values import Generation


@dataclass(frozen=True, slots=True)
class Site:
    """The guest's domain as a cycle finds it.

    Attributes:
        text: Its definition, to go back to.
        under: A digest of what is added to a system, see `circumstances`.
        changes: What the config asks of it that the definition does not have, in words.
        since_start: What its definition has, or has lost, since the run that goes on was started with it.
    """

    domain: Domain
    text: str
    defined: DomainXml
    current: Generation | None
    changes: tuple[str, ...]
    under: str
    since_start: tuple[str, ...] = ()


async def survey(context: Context, emit: Emit) -> Site:
    """Find the domain and see whether it is one to work with.

    Raises:
        DomainError: there is no such domain, it is not the guest's own, or does not boot its kernel directly.
        UsageError: the state directory belongs to another domain, or the domain to another guest.
        GuestError: the configured SSH key cannot be used, which no restart would mend.
    """
    settings = context.settings
    if settings.ssh.key is not None:
        await asyncio.to_thread(guest_room.private_key, context.key)
    domain = await context.link.domain()
    text = await domain.definition_text()
    defined = domainxml.read(text)
    if settings.machine is not None:
        definition.check_ours(settings, defined)
        definition.check_shared(settings, defined)
    definition.check_bootable(defined)
    identity.check(settings.state_dir, flake=settings.flake, domain_uuid=domain.uuid)
    current = _current(context, emit)
    changes: tuple[str, ...] = ()
    if current is not None:
        changes = await definition.changes(context, domain, current)
        warn(emit, definition.warnings(settings, defined, await boots(context, current)))
    since_start = await definition.changes_since_start(context, domain)
    return Site(domain, text, defined, current, changes, circumstances(context, text), since_start)


def _current(context: Context, emit: Emit) -> Generation | None:
    try:
        return context.generations.current()
    except GenerationError as error:
        warn(emit, (error.message,))
        return None


async def boots(context: Context, generation: Generation) -> definition.BootConfig:
    """What the domain has to be defined to boot for a generation."""
    return await definition.boot_for(context, await context.link.hypervisor(), generation)


def warn(emit: Emit, texts: Iterable[str]) -> None:
    """Tell of things that do not end the cycle."""
    for text in texts:
        emit(Notice(Severity.WARNING, text, None))
