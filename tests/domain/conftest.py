from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nixvm_loop.domain import Connection

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


NODE = """<node><domain type='test'><name>test</name><memory>65536</memory>
  <os><type>hvm</type><boot dev='hd'/></os></domain></node>"""


@pytest.fixture
def node(tmp_path: Path) -> str:
    """The URI of a hypervisor of this test's own."""
    (tmp_path / "node.xml").write_text(NODE)
    return f"test://{tmp_path}/node.xml"


@pytest.fixture
async def connection(node: str) -> AsyncIterator[Connection]:
    """Libvirt's own test driver: a hypervisor in memory with one running domain, `test`."""
    opened = await Connection.open(node)
    yield opened
    await opened.close()
