"""What the guest booted: by its own word if it gives it soon, else as it was last seen."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from nixvm_loop.errors import DomainError, GuestError
from nixvm_loop.events.generations import BootedSource
from nixvm_loop.journal import Journal

if TYPE_CHECKING:
    from datetime import datetime

    from nixvm_loop.commands.call import Call
    from nixvm_loop.cycle.context import Context
    from nixvm_loop.domain import Domain
    from nixvm_loop.events.types import Stamped

_PATIENCE_S: Final = 4.0
_REACH_TIMEOUT_S: Final = 3.0
_RUN_TIMEOUT_S: Final = 2.0
_OFF: Final = frozenset({"shut off", "crashed"})
# By the shell alone: a guest's sshd may know no programs.
_WHAT_RUNS: Final = (
    "exec /bin/sh -c 'cd -P /run/booted-system && pwd -P && cd -P /run/current-system && pwd -P &&"
    ' read -r line </proc/cmdline && echo "$line"\''
)
_WHAT_RUNS_LINES: Final = 3


@dataclass(frozen=True, slots=True)
class Booted:
    """What is booted and who says so.

    Attributes:
        system: The toplevel, None when nothing runs or nothing is known.
        cmdline: The kernel's command line, known only from the guest itself.
        current: The toplevel that it runs now, another one than `system` after a live switch.
        problem: Why the guest itself does not say it now.
    """

    system: str | None
    cmdline: str | None = None
    source: BootedSource | None = None
    seen: datetime | None = None
    problem: str | None = None
    current: str | None = None


async def ask(call: Call) -> Booted:
    """Ask libvirt, then the guest; after a few seconds, or when one of them refuses, memory has to do."""
    try:
        async with asyncio.timeout(_PATIENCE_S):
            return await _ask(call)
    except TimeoutError:
        problem = f"the guest did not answer within {_PATIENCE_S:g}s"
    except (DomainError, GuestError) as error:
        problem = error.message
    seen = Journal(call.settings.state_dir).last_seen()
    if seen is None or seen.booted_system is None:
        return Booted(None, problem=problem)
    return Booted(
        seen.booted_system,
        source=BootedSource.LAST_SEEN,
        seen=seen.time,
        problem=problem,
        current=seen.current_system,
    )


async def _ask(call: Call) -> Booted:
    from nixvm_loop.domain import Connection  # noqa: PLC0415  # loaded late, so that its time counts

    settings = call.settings
    # Not closed: the process ends right after, and a libvirt that hangs is not to be waited for.
    domain = await (await Connection.open(settings.libvirt_uri)).find(settings.domain)
    state = "not defined" if domain is None else await domain.state()
    if domain is None or state in _OFF:
        return Booted(None, source=BootedSource.LIBVIRT, problem=f"domain {settings.domain} is {state}")
    if state != "running":
        raise DomainError(f"domain {settings.domain} is {state}")
    return await _ask_guest(call, domain)


async def _ask_guest(call: Call, domain: Domain) -> Booted:
    context = call.context(_Silence())
    if context.settings.ssh.key is None and not (context.settings.state_dir / "ssh/id_ed25519").exists():
        raise GuestError("nixvm-loop has no key for the guest yet")
    try:
        return await _answer(context, domain)
    finally:
        await context.link.close()


async def _answer(context: Context, domain: Domain) -> Booted:
    from nixvm_loop.cycle.boot import connect  # noqa: PLC0415  # the slowest import of this command

    connection = await connect(context, domain, lambda _: None, _REACH_TIMEOUT_S)
    said = await connection.run(_WHAT_RUNS, _RUN_TIMEOUT_S)
    lines = said.stdout.splitlines()
    if not said.ok or len(lines) != _WHAT_RUNS_LINES:
        why = " ".join(said.stderr.split()) or said.end.value
        raise GuestError(f"the guest does not say what it runs: {why}")
    booted, current, cmdline = lines
    return Booted(booted, cmdline, BootedSource.GUEST, context.clock.now(), current=current)


class _Silence:
    """Takes events that are not for the user: waiting for a guest that may not answer is no news."""

    def handle(self, stamped: Stamped) -> None:
        """Take one event."""
