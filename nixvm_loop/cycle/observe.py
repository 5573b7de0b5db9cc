"""What the guest shows: one look, turned into checks, with the user's own checks after them."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nixvm_loop import guest as guest_room
from nixvm_loop import nix, verify
from nixvm_loop.domain.storeview import STORE, VIEW
from nixvm_loop.errors import BuildError, GenerationError, GuestError
from nixvm_loop.events.types import CheckFinished, Notice
from nixvm_loop.journal import LastSeen
from nixvm_loop.model.values import Action, Severity
from nixvm_loop.verify.kernel import HEAD_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

    from nixvm_loop.cycle.context import Context
    from nixvm_loop.domainxml import DomainXml
    from nixvm_loop.model.facts import GuestFacts
    from nixvm_loop.model.settings import CheckSettings, GuestSettings
    from nixvm_loop.model.values import Check, Generation


# The last of the built-in checks, and the one that a guest which is still starting cannot answer.
_UNITS: Final = "failed-units"
_ATTEMPTS: Final = 3
_AGAIN_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Look:
    """What is looked for.

    Attributes:
        paths: Store paths that the guest must see.
        switched_on: The generation that was booted when the guest was switched to `generation`, None if it never was.
        previous_boot_id: Of the boot before the action.
        started_s: When nixvm-loop started the domain, by the clock's monotonic time; None if it did not.
        settle_s: How long systemd's start-up may take before its units are judged.
    """

    action: Action
    generation: Generation
    live: DomainXml
    paths: tuple[str, ...] = ()
    switched_on: Generation | None = None
    previous_boot_id: str | None = None
    started_s: float | None = None
    settle_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Seen:
    """What came of it."""

    facts: GuestFacts
    checks: tuple[Check, ...]


async def observe(
    context: Context,
    connection: guest_room.Connection,
    look: Look,
    tell: Callable[[Check], object],
    known: GuestFacts | None = None,
) -> Seen:
    """Look, unless the answer is `known`, judge, tell each check as soon as it is known, and remember what was seen.

    A guest that has a Nix is told what it runs, unless nothing was done to it.

    The user's own checks come last, when the guest's start-up is over.

    Raises:
        GuestError: the guest was lost meanwhile.
    """
    settings = context.settings
    facts = known or await connection.gather(guest_room.FactsRequest(settings.store, look.paths))
    # Taken after the guest told its uptime, so that a slow guest cannot seem to be older than its start.
    since_start_s = None if look.started_s is None else context.clock.monotonic() - look.started_s
    expected = expected_of(settings, look, facts, since_start_s)
    if look.action is not Action.NONE and facts.has_nix and facts.is_root:
        await _register(context, connection, look.generation)
    early = [check for check in verify.checks(expected, facts) if not (facts.starting and check.id == _UNITS)]
    for check in early:
        tell(check)
    facts = await connection.settled(facts, look.settle_s) if look.settle_s else facts
    found = verify.checks(expected, facts)
    for check in found[len(early) :]:
        tell(check)
    own = await _user_checks(settings, connection, tell)
    _remember(context, facts)
    return Seen(facts, (*found, *own))


async def _register(context: Context, connection: guest_room.Connection, generation: Generation) -> None:
    # Nothing was ever installed there: to the guest's own Nix, all that it runs would be garbage.
    try:
        await connection.register(await nix.registration(generation.toplevel))
    except (BuildError, GuestError) as error:
        context.emitter(Notice(Severity.WARNING, error.message, error.hint))


async def new_paths(context: Context, generation: Generation) -> tuple[str, ...]:
    """The store paths of a generation's closure that the last verified one does not have.

    Raises:
        BuildError: Nix does not tell, although it was asked again: a daemon may be away for a moment.
    """
    good = context.generations.last_verified()
    if good is None or good.number == generation.number:
        return tuple(sorted(await _closure(generation.toplevel)))
    knowing = asyncio.create_task(_known_closure(good.toplevel))
    try:
        return tuple(sorted(await _closure(generation.toplevel) - await knowing))
    finally:
        knowing.cancel()
        await asyncio.gather(knowing, return_exceptions=True)


async def _known_closure(toplevel: Path) -> frozenset[str]:
    with suppress(BuildError):  # a last good generation that lost its store path proves nothing about any path
        return await nix.closure(toplevel)
    return frozenset()


async def _closure(toplevel: Path) -> frozenset[str]:
    for _ in range(_ATTEMPTS - 1):
        with suppress(BuildError):
            return await nix.closure(toplevel)
        await asyncio.sleep(_AGAIN_S)
    return await nix.closure(toplevel)


def told(check: Check) -> CheckFinished:
    """The event that makes a check known."""
    return CheckFinished(check.id, check.ok, check.required, check.expected, check.actual, check.hint)


def expected_of(settings: GuestSettings, look: Look, facts: GuestFacts, since_start_s: float | None) -> verify.Expected:
    """What the guest must show for this look."""
    booted = _booted(look, facts)
    return verify.Expected(
        action=look.action,
        system=look.generation.toplevel,
        booted_system=booted.toplevel,
        cmdline=booted.cmdline,
        kernel=booted.kernel,
        initrd=booted.initrd,
        live_kernel=_resolved(look.live.kernel),
        live_initrd=_resolved(look.live.initrd),
        kernel_release=_release(booted.kernel),
        previous_boot_id=look.previous_boot_id,
        since_start_s=since_start_s,
        host_share=_host_share(look.live, settings.store.share),
        store=settings.store,
        paths=look.paths,
        gone=frozenset(path for path in facts.missing_paths if not os.path.lexists(path)),
        settings=settings.checks,
    )


def _booted(look: Look, facts: GuestFacts) -> Generation:
    """What the guest must have booted: in a boot that was switched, what it had booted before."""
    before = look.switched_on
    if before is None or look.action is Action.RESTART:
        return look.generation
    same_boot = look.action is Action.SWITCH or facts.booted_system == str(before.toplevel)
    return before if same_boot else look.generation


async def _user_checks(
    settings: GuestSettings, connection: guest_room.Connection, tell: Callable[[Check], object]
) -> tuple[Check, ...]:
    async def one(setting: CheckSettings, command: str) -> Check:
        result = await connection.run(command, setting.timeout_s)
        said = verify.UserResult(result.exit_status, result.end.value, result.stdout + result.stderr)
        check = verify.user_check(setting, said)
        tell(check)
        return check

    own = [one(setting, setting.command) for setting in settings.checks if setting.command is not None]
    return tuple(await asyncio.gather(*own))


def _resolved(path: str | None) -> Path | None:
    if not path:
        return None
    resolved = Path(path).resolve()
    # What is read through the view is the store's.
    return STORE / resolved.relative_to(VIEW) if resolved.is_relative_to(VIEW) else resolved


def _release(kernel: Path) -> str | None:
    try:
        with kernel.open("rb") as image:
            return verify.kernel_release(image.read(HEAD_BYTES))
    except OSError:
        return None  # the image's path is compared all the same


def _host_share(live: DomainXml, tag: str) -> verify.HostShare:
    share = live.share(tag)
    if share is None:
        return verify.HostShare.UNKNOWN
    return verify.HostShare.REFUSES if share.readonly or is_read_only(share.source) else verify.HostShare.ALLOWS


def is_read_only(folder: str | None) -> bool:
    """Whether the folder is on a mount through which nothing can be written."""
    try:
        return folder is not None and bool(os.statvfs(folder).f_flag & os.ST_RDONLY)
    except OSError:
        return False  # a share of another host: nothing is known in its favour


def _remember(context: Context, facts: GuestFacts) -> None:
    space = facts.rw_store
    seen = LastSeen(
        time=context.clock.now(),
        boot_id=facts.boot_id,
        booted_system=facts.booted_system,
        current_system=facts.current_system,
        store_used_bytes=space.used_bytes if space else None,
        store_size_bytes=space.size_bytes if space else None,
        store_used_inodes=space.used_inodes if space else None,
        store_inodes=space.inodes if space else None,
    )
    try:
        context.journal.see(seen)
    except GenerationError as error:
        context.emitter(Notice(Severity.WARNING, error.message, error.hint))
