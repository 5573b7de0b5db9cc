"""What a flake calls the things in one of its attribute sets, asked for without evaluating them."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Final

from nixvm_loop import nixlog
from nixvm_loop.diagnostics.tree import UserTree
from nixvm_loop.errors import BuildError, UsageError
from nixvm_loop.nix.disk import Disk
from nixvm_loop.nix.failure import attribute_is_missing, failure
from nixvm_loop.nix.flakeref import for_nix
from nixvm_loop.nix.follow import Follower
from nixvm_loop.nix.queries import NIX, NIX_ENV
from nixvm_loop.nix.sources import override_arguments, source_roots
from nixvm_loop.process import Outcome, Request, Stream, run

if TYPE_CHECKING:
    from collections.abc import Callable

    from nixvm_loop.model.settings import GuestSettings

# An unlocked flake may have to fetch its inputs first.
_TIMEOUT_S: Final = 300.0
# Nix has nothing to clear away here, and does not always listen while it evaluates.
_INTERRUPT_WAIT_S: Final = 1.0


async def names_in(guest: GuestSettings, path: str, *, timeout_s: float = _TIMEOUT_S) -> tuple[str, ...]:
    """The names in the attribute set at `path` of the guest's flake, sorted; none where there is no such set.

    Cancelling, and the end of the time, end nix before this returns.

    Raises:
        BuildError: the flake cannot be evaluated so far, nix is missing or took too long; the message has the place.
    """
    installable = f"{for_nix(guest.flake)}#{path}"
    arguments = ("eval", "--json", "--no-write-lock-file", "--log-format", "internal-json", "--show-trace")
    argv = (*NIX, *arguments, installable, "--apply", "builtins.attrNames", *override_arguments(guest))
    follower, said = Follower(), bytearray()

    def hear(stream: Stream, line: bytes) -> None:
        if stream is Stream.STDERR:
            follower.take(nixlog.parse(line))
        else:
            said.extend(line)

    outcome = await _run(
        Request(argv, cwd=guest.flake_dir, env=NIX_ENV, interrupt_wait_s=_INTERRUPT_WAIT_S),
        hear,
        timeout_s,
        guest.flake,
    )
    if outcome.ok:
        return tuple(sorted(map(str, json.loads(said))))
    if attribute_is_missing(follower):
        return ()
    raise _explained(guest, follower, outcome)


async def _run(request: Request, hear: Callable[[Stream, bytes], None], timeout_s: float, flake: str) -> Outcome:
    try:
        async with asyncio.timeout(timeout_s):
            return await run(request, hear)
    except UsageError as error:
        raise BuildError(error.message, hint="install Nix: https://nixos.org/download") from error
    except TimeoutError as error:
        raise BuildError(
            f"nix did not tell within {timeout_s:g}s what {flake} has",
            hint=f"it may be fetching inputs: see for yourself with: nix flake show {flake}",
        ) from error


def _explained(guest: GuestSettings, follower: Follower, outcome: Outcome) -> BuildError:
    folder = guest.flake_dir or guest.state_dir
    tree = UserTree(folder / "flake.nix", source_roots(guest), Disk())
    return failure(follower, tree, outcome.exit_code, f"nix flake show {guest.flake}").error
