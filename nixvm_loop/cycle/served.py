"""The domain that a guest's state was made for, which need not be called as the config says any more."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING
from uuid import UUID

from nixvm_loop.errors import DomainError
from nixvm_loop.generation import identity

if TYPE_CHECKING:
    from nixvm_loop.domain import Connection, Domain
    from nixvm_loop.model.settings import GuestSettings


async def served(hypervisor: Connection, settings: GuestSettings) -> Domain:
    """The domain that the config names.

    Raises:
        DomainError: there is none of that name; the one that the state was made for is named, if it is there.
    """
    found = await hypervisor.find(settings.domain)
    if found is not None:
        return found
    other = await other_domain(hypervisor, settings)
    if other is not None:
        raise renamed(settings, other)
    return await hypervisor.get(settings.domain)


async def other_domain(hypervisor: Connection, settings: GuestSettings) -> Domain | None:
    """The one that the state was made for, if it is there and has another name; raises DomainError."""
    uuid = identity.domain_uuid(settings.state_dir)
    if uuid is None or not _is_uuid(uuid):
        return None
    domain = await hypervisor.find_by_uuid(uuid)
    return domain if domain is not None and domain.name != settings.domain else None


def renamed(settings: GuestSettings, domain: Domain) -> DomainError:
    """The error for a config that names a domain otherwise than libvirt does."""
    return DomainError(
        f"this guest's domain is {domain.name} (UUID {domain.uuid}), not {settings.domain}",
        hint=f'domain = "{domain.name}" in the config names it again; or, while it is off,'
        f" `virsh domrename {shlex.quote(domain.name)} {shlex.quote(settings.domain)}`",
    )


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
