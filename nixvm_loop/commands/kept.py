"""Whether a domain is nixvm-loop's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nixvm_loop.cycle.context import Context
    from nixvm_loop.domain import Domain


async def is_ours(context: Context, domain: Domain) -> bool:
    """Whether nixvm-loop made the domain for this state directory."""
    owner = (await domain.definition()).owner
    return owner is not None and owner.state_dir == str(context.settings.state_dir)
