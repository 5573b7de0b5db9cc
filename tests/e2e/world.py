"""What differs between the hosts that the end-to-end tests run on."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class World:
    """A host with real daemons, as scripts/world makes it.

    Attributes:
        repo: This repository, where every user of the world can read it.
        as_user: What is put before a command to run it as a user who is not root, in group libvirt.
        user_home: That user's home, mode 0700: QEMU's user cannot enter it.
        readonly_enforced: Whether the host refuses what root in the guest writes to the share.
    """

    name: str
    repo: Path
    as_user: tuple[str, ...]
    user_home: Path
    readonly_enforced: bool


def here() -> World:
    """The world that this process runs in."""
    name, repo = os.environ["NIXVM_LOOP_WORLD"], Path(os.environ["NIXVM_LOOP_REPO"])
    return World(
        name=name,
        repo=repo,
        as_user=(str(repo / "scripts/lib/world-user"),),
        user_home=Path(os.environ["HOME"]).parent / "nobody",
        # libvirt 11 and the Rust virtiofsd 1.13 know read-only shares.
        readonly_enforced=name == "debian13",
    )
