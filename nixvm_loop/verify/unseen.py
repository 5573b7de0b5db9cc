"""Store paths that the guest does not see, told apart by the reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nixvm_loop.model.facts import GuestFacts
    from nixvm_loop.verify.expected import Expected


@dataclass(frozen=True, slots=True)
class Unseen:
    """The store paths that the guest does not see, by the reason for it.

    Attributes:
        hidden: The share has them; the overlay was asked for them too early.
        stale: The share has them; the overlay knows them as they were before they were replaced.
        gone: This host does not have them any more.
        absent: This host has them, the share does not.
    """

    hidden: tuple[str, ...]
    stale: tuple[str, ...]
    gone: tuple[str, ...]
    absent: tuple[str, ...]


def unseen(expected: Expected, facts: GuestFacts) -> Unseen:
    """Tell the missing paths apart."""
    known = {*facts.hidden_paths, *facts.stale_paths, *expected.gone}
    return Unseen(
        hidden=tuple(path for path in facts.hidden_paths if path not in expected.gone),
        stale=tuple(path for path in facts.stale_paths if path not in expected.gone),
        gone=tuple(path for path in facts.missing_paths if path in expected.gone),
        absent=tuple(path for path in facts.missing_paths if path not in known),
    )
