"""Flakes that real nix builds, in checkouts of their own."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.nix.flakes import FIXTURES, Heard, git

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def heard() -> Heard:
    """Ears for one build."""
    return Heard()


@pytest.fixture
def checkout(tmp_path: Path) -> Callable[[str], Path]:
    """Makes a committed checkout of one of the recorded trees."""

    def make(name: str) -> Path:
        tree = tmp_path / name
        shutil.copytree(FIXTURES / "trees" / name, tree)
        git(tree, "init", "-q")
        git(tree, "add", ".")
        git(tree, "commit", "-qm", "first")
        return tree

    return make
