from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nixvm_loop.domain import Connection

if TYPE_CHECKING:
    from collections.abc import AsyncIterator



@pytest.fixture
async def connection() -> AsyncIterator[Connection]:
    """Libvirt's own test driver: a hypervisor in memory with one running domain, `test`."""
    opened = await Connection.open("test:///default")
    yield opened
    await opened.close()
