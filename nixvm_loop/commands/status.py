"""`status`: what is known without asking the guest, taking a lock or repairing anything."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nixvm_loop import control
from nixvm_loop.cycle.served import other_domain, renamed
from nixvm_loop.errors import DomainError
from nixvm_loop.events.types import Status
from nixvm_loop.generation import identity
from nixvm_loop.generation.store import Generations
from nixvm_loop.journal import Journal, LastSeen
from nixvm_loop.lock import read_holder

if TYPE_CHECKING:
    from datetime import datetime

    from nixvm_loop.commands.call import Call
    from nixvm_loop.model.settings import GuestSettings

_WATCH_TIMEOUT_S = 0.2
_LIBVIRT_TIMEOUT_S = 3.0
_UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Watching:
    """A running `watch`: its process, and where it is, in words."""

    process: int
    text: str


def run(call: Call) -> int:
    """Report; a libvirt that cannot be asked is part of the report."""
    watching, (state, problem) = asyncio.run(_look(call.settings))
    with call.sink() as sink:
        call.emitter(sink)(_status(call, state, problem, watching))
    return 0


async def _look(settings: GuestSettings) -> tuple[Watching | None, tuple[str, str | None]]:
    # In this order: importing libvirt's binding would use up the patience with the socket.
    return await _watching(settings), await _domain_state(settings)


async def _watching(settings: GuestSettings) -> Watching | None:
    watch = await control.reach(settings, _WATCH_TIMEOUT_S)
    if watch is None:
        return None
    await watch.close()
    return Watching(watch.process, f"{watch}, {watch.standing}")


async def _domain_state(settings: GuestSettings) -> tuple[str, str | None]:
    from nixvm_loop.domain import Connection  # noqa: PLC0415  # the slowest import of this command

    try:
        async with asyncio.timeout(_LIBVIRT_TIMEOUT_S):
            # Not closed: the process ends right after, and a libvirt that hangs is not to be waited for.
            connection = await Connection.open(settings.libvirt_uri)
            domain = await connection.find(settings.domain)
            if domain is not None:
                return await domain.state(), None
            other = await other_domain(connection, settings)
            return "not defined", renamed(settings, other).message if other is not None else None
    except DomainError as error:
        return _UNKNOWN, error.message
    except TimeoutError:
        return _UNKNOWN, f"libvirt did not answer within {_LIBVIRT_TIMEOUT_S:g}s"


def _holder(settings: GuestSettings, watching: Watching | None) -> str | None:
    """In whose hands the guest is: a process that holds its lock, a `watch` even while it waits for changes."""
    holder = read_holder(settings.state_dir / "lock")
    if watching is None:
        return str(holder) if holder else None
    return watching.text if holder is None or holder.pid == watching.process else f"{holder}; {watching.text}"


def _status(call: Call, state: str, problem: str | None, watching: Watching | None) -> Status:
    settings = call.settings
    identity.check(settings.state_dir, flake=settings.flake)
    generations, journal = Generations(settings.state_dir), Journal(settings.state_dir)
    seen, last = journal.last_seen(), journal.last()
    return Status(
        domain=settings.domain,
        state=state,
        domain_error=problem,
        built=generations.newest_number(),
        current=generations.current_number(),
        booted=generations.number_of(seen.booted_system) if seen and seen.booted_system else None,
        booted_system=seen.booted_system if seen else None,
        runs=generations.number_of(seen.current_system) if seen and seen.current_system else None,
        runs_system=seen.current_system if seen else None,
        booted_age_seconds=_age(call, seen.time) if seen else None,
        last_verdict=last.verdict if last else None,
        last_cycle=last.cycle if last else None,
        last_cycle_age_seconds=_age(call, last.started) - last.seconds if last else None,
        last_error=last.error if last else None,
        store_used_bytes=seen.store_used_bytes if seen else None,
        store_size_bytes=seen.store_size_bytes if seen else None,
        store_used_inodes=seen.store_used_inodes if seen else None,
        store_inodes=seen.store_inodes if seen else None,
        holder=_holder(settings, watching),
        store_grown_bytes=journal.layer_growth(),
        store_nearly_full=_nearly_full(settings, seen),
    )


def _nearly_full(settings: GuestSettings, seen: LastSeen | None) -> bool | None:
    pairs = (
        ((seen.store_used_bytes, seen.store_size_bytes), (seen.store_used_inodes, seen.store_inodes)) if seen else ()
    )
    shares = [used / size for used, size in pairs if used is not None and size]
    return max(shares) >= settings.store.warn_at if shares else None


def _age(call: Call, then: datetime) -> float:
    return max(0.0, (call.clock.now() - then).total_seconds())
