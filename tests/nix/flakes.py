"""Helpers for tests around flakes: git, settings, ears."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from nixvm_loop.model.settings import BuildSettings, GuestSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nixvm_loop.events.types import Event

FIXTURES = Path(__file__).parents[1] / "fixtures" / "nix"
IDENTITY = ("-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false")

# Evaluating the names takes longer than anybody waits, and next to no memory.
ENDLESS = """
  let
    many = builtins.genList (number: number) 10000;
    sum = number: builtins.foldl' (a: b: a + b) number many;
  in { ${toString (builtins.foldl' (a: b: a + sum b) 0 (builtins.genList (number: number) 1000000))} = 1; }
"""


def git(folder: Path, *arguments: str) -> None:
    """Run git in `folder`."""
    subprocess.run(["git", *IDENTITY, *arguments], cwd=folder, check=True, capture_output=True)


def flake_in(folder: Path, configurations: str, *, output: str = "nixosConfigurations") -> Path:
    """A new folder with a flake, without git, whose only output is on the second line; returns the folder."""
    folder.mkdir()
    (folder / "flake.nix").write_text(f"{{ outputs = _: {{\n{output} = {configurations};\n}}; }}\n")
    return folder


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
