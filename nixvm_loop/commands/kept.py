"""The domain that a state directory was made for, which need not be the one that the config names any more."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from nixvm_loop.generation import identity

if TYPE_CHECKING:
    from nixvm_loop.cycle.context import Context
    from nixvm_loop.domain import Domain


async def other_domain(context: Context) -> Domain | None:
    """That domain, if it is there and the config names another; raises DomainError when libvirt cannot say."""
    uuid = identity.domain_uuid(context.settings.state_dir)
    if uuid is None or not _is_uuid(uuid):
        return None
    domain = await (await context.link.hypervisor()).find_by_uuid(uuid)
    return domain if domain is not None and domain.name != context.settings.domain else None


async def is_ours(context: Context, domain: Domain) -> bool:
    """Whether nixvm-loop made the domain for this state directory."""
    owner = (await domain.definition()).owner
    return owner is not None and owner.state_dir == str(context.settings.state_dir)


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
