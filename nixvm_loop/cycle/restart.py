"""Puts a generation to work: flip, define, stop, start, and wait for the guest."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from nixvm_loop import console, domainxml
from nixvm_loop.cycle import needs
from nixvm_loop.cycle.boot import BootWatch, reach_booting
from nixvm_loop.cycle.definition import definition_for, keep_started
from nixvm_loop.cycle.stage import stage
from nixvm_loop.domain import StopResult
from nixvm_loop.errors import DomainError, GenerationError
from nixvm_loop.events.types import DomainState, GenerationFlipped, Notice
from nixvm_loop.model.settings import StopPolicy
from nixvm_loop.model.values import Severity, Stage

if TYPE_CHECKING:
    from contextlib import AsyncExitStack

    from nixvm_loop import guest as guest_room
    from nixvm_loop.cycle.context import Context
    from nixvm_loop.domain import Domain
    from nixvm_loop.events.types import Emit
    from nixvm_loop.journal import Log
    from nixvm_loop.model.values import Generation


_CONSOLE_HINT: Final = (
    "a boot that fails is then known by its silence alone, and the guest's host key is taken on trust: "
    "make <serial type='pty'/> its first serial port"
)


@dataclass(frozen=True, slots=True)
class Boot:
    """A domain that was just started, and who listens to it."""

    domain: Domain
    watch: BootWatch
    host_keys: guest_room.HostKeys
    started_s: float


def flip(context: Context, generation: Generation, emit: Emit) -> None:
    """Make the generation current, and say so if that is new."""
    before = context.generations.current_number()
    context.generations.flip(generation)
    if before != generation.number:
        emit(GenerationFlipped(before, generation.number))


async def define(context: Context, domain: Domain, generation: Generation) -> Domain:
    """Let the domain boot the generation at its next start. Raises DomainError."""
    hypervisor = await context.link.hypervisor()
    return await hypervisor.define(await definition_for(context, hypervisor, domain, generation))


async def point(context: Context, domain: Domain, generation: Generation, definition: str, emit: Emit) -> Domain:
    """Flip to the generation and give the domain the definition that boots it; the guest runs on.

    Raises:
        GenerationError, DomainError: one of them failed. A definition that libvirt refuses undoes the flip.
    """
    with stage(emit, context.clock, Stage.FLIP):
        previous = context.generations.current_or_none()
        hypervisor = await context.link.hypervisor()
        wanted = domainxml.read(definition)
        await needs.check(context.settings, hypervisor, wanted)
        if context.settings.machine is not None and context.settings.on_this_host:
            needs.check_ports(wanted, await domain.running())
        async with needs.provided(context.settings, wanted):
            flip(context, generation, emit)
            try:
                return await hypervisor.define(definition)
            except DomainError:
                if previous is not None:
                    flip(context, previous, emit)
                raise


async def start(
    context: Context, domain: Domain, log: Log, emit: Emit, *, stop: StopPolicy, listeners: AsyncExitStack
) -> Boot:
    """Stop the domain and start it anew: the part of a cycle that is not left half done.

    Console and domain are listened to until `listeners` is closed.

    Raises:
        DomainError: libvirt refused, and the domain is off.
    """
    with stage(emit, context.clock, Stage.DOMAIN):
        await context.link.drop_ssh()
        if await domain.stop(stop, context.settings.apply.stop_timeout_s) is not StopResult.WAS_OFF:
            emit(DomainState("shut off"))
        return await _start(context, domain, log, emit, listeners)


async def _start(context: Context, domain: Domain, log: Log, emit: Emit, listeners: AsyncExitStack) -> Boot:
    mark = uuid4().hex
    host_keys = context.host_keys(mark)
    host_keys.begin(mark)
    watch = BootWatch(emit, log.write, host_keys, context.settings.store.share)
    listeners.callback(watch.close)
    starting = asyncio.ensure_future(domain.start_paused())
    try:
        await asyncio.shield(starting)
        await domain.set_boot_mark(mark)
        if await _has_console(domain):
            follower = await listeners.enter_async_context(console.follow(domain, watch.line))
            listeners.push_async_callback(_end, asyncio.create_task(watch.console_ends(follower.ended())))
        else:
            host_keys.expect_silence()
            emit(Notice(Severity.WARNING, f"domain {domain.name} has no console to listen to", _CONSOLE_HINT))
        following = asyncio.create_task(watch.follow(await listeners.enter_async_context(domain.lifecycle())))
        listeners.push_async_callback(_end, following)
        alive = (await context.link.hypervisor()).alive
        listeners.push_async_callback(_end, asyncio.create_task(watch.libvirt_ends(alive)))
        await domain.resume()
    except BaseException:
        # A domain that has not run yet must not be left paused, nor may libvirt start it when we have gone; why it
        # failed is what is told.
        await asyncio.gather(starting, return_exceptions=True)
        with suppress(DomainError):
            await domain.stop(StopPolicy.FORCE, 0)
        raise
    emit(DomainState("running"))
    try:
        await keep_started(context, domain, mark)
    except (DomainError, GenerationError) as error:
        emit(Notice(Severity.WARNING, error.message, error.hint))  # the guest runs all the same
    return Boot(domain, watch, host_keys, context.clock.monotonic())


async def _has_console(domain: Domain) -> bool:
    # Libvirt's stream leads to the first one.
    return (await domain.definition()).consoles[:1] == ("pty",)


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def reach(context: Context, boot: Boot, emit: Emit) -> guest_room.Connection:
    """Wait for the guest's sshd, but not for a guest that is known to have failed.

    Raises:
        GuestError: it was not reached; BootError when it is known why.
    """
    with stage(emit, context.clock, Stage.BOOT):
        definition = await boot.domain.definition()
        context.link.ssh = await boot.watch.unless_failed(
            reach_booting(
                context,
                boot.domain,
                definition,
                host_keys=boot.host_keys,
                emit=emit,
                timeout_s=context.settings.apply.boot_timeout_s,
            )
        )
        return context.link.ssh
