from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from nixvm_loop.cycle.look import Early
from nixvm_loop.errors import GuestError

HEARD_BY: Any = SimpleNamespace(closed=False)


class Domain:
    """A domain whose run has a mark."""

    def __init__(self, mark: str | None) -> None:
        self.mark = mark

    async def boot_mark(self) -> str | None:
        return self.mark


def context(now_s: float, ssh: Any) -> Any:
    """The parts that are looked at."""
    return SimpleNamespace(clock=SimpleNamespace(monotonic=lambda: now_s), link=SimpleNamespace(ssh=ssh))


@pytest.mark.parametrize(
    ("early_mark", "mark", "now_s", "ssh", "holds"),
    [
        ("run 1", "run 1", 101.9, HEARD_BY, True),
        ("run 1", "run 1", 102.1, HEARD_BY, False),
        ("run 1", "run 2", 101.0, HEARD_BY, False),
        (None, None, 101.0, HEARD_BY, False),
        ("run 1", None, 101.0, HEARD_BY, False),
        ("run 1", "run 1", 101.0, None, False),
        ("run 1", "run 1", 101.0, SimpleNamespace(closed=False), False),
    ],
)
async def test_what_was_said_holds_for_a_moment(
    early_mark: str | None, mark: str | None, now_s: float, ssh: Any, *, holds: bool
) -> None:
    """In the same run of the domain, which has to be known, and on the same connection."""
    early = Early(GuestError("it does not matter what"), 100.0, early_mark, HEARD_BY)
    domain: Any = Domain(mark)
    assert await early.holds(context(now_s, ssh), domain) is holds


async def test_a_connection_that_has_ended_vouches_for_nothing() -> None:
    """Whatever was said on it."""
    ended: Any = SimpleNamespace(closed=True)
    domain: Any = Domain("run 1")
    assert not await Early(GuestError("no"), 100.0, "run 1", ended).holds(context(100.5, ended), domain)
