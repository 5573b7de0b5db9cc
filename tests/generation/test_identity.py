from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from nixvm_loop.errors import UsageError
from nixvm_loop.generation.identity import claim

if TYPE_CHECKING:
    from pathlib import Path


def test_a_state_directory_is_held_to_its_flake_and_domain(tmp_path: Path) -> None:
    """The first claim stays; the same again is fine; another flake or domain is refused, naming both."""
    claim(tmp_path, flake="/a")
    claim(tmp_path, flake="/a", domain_uuid="u1")
    claim(tmp_path, flake="/a", domain_uuid="u1")
    with pytest.raises(UsageError, match=r"its flake is /a, not /b"):
        claim(tmp_path, flake="/b")
    with pytest.raises(UsageError, match=r"its domain UUID is u1, not u2"):
        claim(tmp_path, flake="/a", domain_uuid="u2")
