from __future__ import annotations

from typing import TYPE_CHECKING

import libvirt
import pytest

from tests.commands.adoption import Desk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    libvirt.registerErrorHandler(lambda *_: None, None)
    opened = Desk(tmp_path)
    yield opened
    opened.close()
