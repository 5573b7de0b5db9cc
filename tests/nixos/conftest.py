"""The copies of nixpkgs that the environment names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

import pytest

from tests.nixos.trees import Tree

VARIABLE: Final = "NIXVM_LOOP_NIXPKGS"


def _trees() -> list[Any]:
    paths = [Path(path).resolve() for path in os.environ.get(VARIABLE, "").split(":") if path]
    if not paths:
        reason = f"{VARIABLE} names no copy of nixpkgs: the NixOS modules are NOT evaluated with real NixOS"
        return [pytest.param(None, marks=pytest.mark.skip(reason=reason), id="no-nixpkgs")]
    return [pytest.param(Tree(path), id=path.name) for path in paths]


@pytest.fixture(params=_trees(), scope="session")
def tree(request: pytest.FixtureRequest) -> Tree:
    """Each copy of nixpkgs that the environment names."""
    found = request.param
    assert isinstance(found, Tree)
    if not found.path.joinpath("nixos/lib/eval-config.nix").exists():
        pytest.fail(f"{VARIABLE} names {found.path}, which has no NixOS")
    return found
