"""Flakes that real nix builds, in checkouts of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nixvm_loop.model.settings import BuildSettings, GuestSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from nixvm_loop.events.types import Event

FIXTURES = Path(__file__).parents[1] / "fixtures" / "nix"
IDENTITY = ("-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false")


def git(folder: Path, *arguments: str) -> None:
    """Run git in `folder`."""
    subprocess.run(["git", *IDENTITY, *arguments], cwd=folder, check=True, capture_output=True)


def guest_of(
    folder: Path,
    *,
    flake: str | None = None,
    attribute: str = "nixosConfigurations.demo",
    overrides: Mapping[str, str] | None = None,
    options: tuple[str, ...] = (),
) -> GuestSettings:
    """Settings of a guest whose flake lies in `folder`."""
    return GuestSettings(
        name="demo",
        flake=flake or str(folder),
        flake_dir=folder,
        attribute=attribute,
        domain="demo",
        libvirt_uri="test:///default",
        state_dir=folder.parent / "state",
        build=BuildSettings(options=options, override_inputs=overrides),
    )


@dataclass
class Heard:
    """Collects what a build tells."""

    events: list[Event] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def of(self, kind: type) -> list[Event]:
        """The events of one type."""
        return [event for event in self.events if isinstance(event, kind)]


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


@pytest.fixture
def real_nix(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nix as it is installed, without sandbox and caches where nobody configured it."""
    if shutil.which("nix") is None:
        pytest.skip("nix is not installed")
    if "NIX_CONFIG" not in os.environ and not Path("/etc/nix/nix.conf").exists():
        monkeypatch.setenv("NIX_CONFIG", "sandbox = false\nbuild-users-group =\nsubstituters =\n")
