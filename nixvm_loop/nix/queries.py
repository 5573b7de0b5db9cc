"""Small questions to the store and to git."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from nixvm_loop.errors import BuildError, UsageError
from nixvm_loop.model.sources import SourceKind
from nixvm_loop.nix.flakeref import local_flake
from nixvm_loop.nixlog import clean
from nixvm_loop.process import Outcome, Request, run

if TYPE_CHECKING:
    from pathlib import Path

    from nixvm_loop.model.settings import GuestSettings

NIX: Final = ("nix", "--extra-experimental-features", "nix-command flakes")
"""How nix is called: what is used of it is still called experimental."""
NIX_ENV: Final = {"IN_SYSTEMD": None, "GIT_OPTIONAL_LOCKS": "0"}
"""For nix and git: no journal prefixes, and no refresh of .git/index, which is being watched."""


@dataclass(frozen=True, slots=True)
class Revision:
    """The commit that a flake was built from; `rev` is None outside git, or before the first commit."""

    rev: str | None
    dirty: bool


async def closure(path: Path, *, interrupt_wait_s: float = 5.0) -> frozenset[str]:
    """The store paths that a store path needs, itself included.

    When it is cancelled, Nix has `interrupt_wait_s` to end.

    Raises:
        BuildError: Nix does not know the path.
    """
    argv = ("nix-store", "--query", "--requisites", str(path))
    request = Request(argv, env=NIX_ENV, interrupt_wait_s=interrupt_wait_s)
    try:
        outcome = await run(request)
    except UsageError as error:
        raise BuildError(error.message, hint="install Nix: https://nixos.org/download") from error
    if not outcome.ok:
        words = clean(outcome.stderr.decode("utf-8", "replace")).strip().splitlines()
        raise BuildError(f"the closure of {path} cannot be read", hint="build it again", details=tuple(words[-5:]))
    return frozenset(outcome.stdout.decode().split())


async def registration(path: Path) -> bytes:
    """What another store's database has to be told (`nix-store --load-db`) to know a store path and all it needs.

    Raises:
        BuildError: Nix does not know the path.
    """
    argv = ("nix-store", "--dump-db", *sorted(await closure(path)))
    outcome = await run(Request(argv, env=NIX_ENV))
    if not outcome.ok:
        words = clean(outcome.stderr.decode("utf-8", "replace")).strip().splitlines()
        raise BuildError(f"the registration of {path} cannot be read", hint="build it again", details=tuple(words[-5:]))
    return outcome.stdout


async def revision(guest: GuestSettings) -> Revision:
    """The flake's commit, and whether tracked files differ from it. Nothing that fails here is an error."""
    flake = local_flake(guest.flake)
    if flake is None or flake.root.kind is not SourceKind.GIT:
        return Revision(None, dirty=False)
    top = flake.root.path
    try:
        head, status = await asyncio.gather(
            _git(top, "rev-parse", "--verify", "--quiet", "HEAD"),
            _git(top, "status", "--porcelain", "--untracked-files=no", "--ignore-submodules=none"),
        )
    except UsageError:
        return Revision(None, dirty=False)  # without git there is no commit to tell
    return Revision(head.stdout.decode().strip() or None if head.ok else None, dirty=bool(status.stdout))


async def _git(top: Path, *arguments: str) -> Outcome:
    return await run(Request(("git", "-C", str(top), *arguments), env=NIX_ENV))
