"""What differs between two systems in the store: in Nix's own words, and in the files that those leave out."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Final

from nixvm_loop.errors import GenerationError, UsageError
from nixvm_loop.files import in_words
from nixvm_loop.nix.queries import NIX_ENV
from nixvm_loop.nix.trees import Trees, compare
from nixvm_loop.nixlog import clean
from nixvm_loop.process import Request, run

if TYPE_CHECKING:
    from pathlib import Path

_NIX: Final = ("nix", "--extra-experimental-features", "nix-command")


async def closure_difference(before: Path, after: Path) -> tuple[str, ...]:
    """The lines of `nix store diff-closures`; it leaves out packages whose size differs by less than 8 KiB.

    Raises:
        GenerationError: Nix does not know one of the paths, or cannot be started.
    """
    request = Request((*_NIX, "store", "diff-closures", str(before), str(after)), env=NIX_ENV)
    try:
        outcome = await run(request)
    except UsageError as error:
        raise GenerationError(error.message, hint="install Nix: https://nixos.org/download") from error
    if not outcome.ok:
        words = clean(outcome.stderr.decode("utf-8", "replace")).strip().splitlines()
        raise GenerationError(
            f"nix cannot compare {before} with {after}",
            hint="nix-store --verify shows whether the store holds what its database says",
            details=tuple(words[-5:]),
        )
    lines = clean(outcome.stdout.decode("utf-8", "replace")).splitlines()
    return tuple(line for line in lines if line.strip())


async def etc_difference(before: Path, after: Path) -> Trees:
    """The files below `etc` that differ between two toplevels. Raises GenerationError when they cannot be read."""
    stop = threading.Event()
    try:
        return await asyncio.to_thread(compare, before / "etc", after / "etc", stop.is_set)
    except OSError as error:
        raise GenerationError(f"the files below etc cannot be compared: {in_words(error)}") from error
    finally:
        stop.set()
