"""`verify`: the checks against the running guest, which nothing here changes but, if asked, its caches."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from nixvm_loop import nix, verify
from nixvm_loop.cycle.boot import connect
from nixvm_loop.cycle.context import not_running
from nixvm_loop.cycle.observe import Look, observe, told
from nixvm_loop.errors import GenerationError, GuestError
from nixvm_loop.guest import kept_key
from nixvm_loop.interrupt import interruptible
from nixvm_loop.model.values import Action

if TYPE_CHECKING:
    from nixvm_loop.commands.call import Call
    from nixvm_loop.cycle.context import Context
    from nixvm_loop.events.emitter import Sink

_REACH_TIMEOUT_S = 15.0
_REFRESH_TIMEOUT_S = 10.0


def run(call: Call) -> int:
    """Look and judge; raises VerificationError when a check failed."""
    with call.sink() as sink:
        return asyncio.run(interruptible(_verify(call, sink)))


async def _verify(call: Call, sink: Sink) -> int:
    context = call.context(sink)
    try:
        await _look(context, refresh=call.arguments.refresh)
    finally:
        await context.link.close()
    return 0


async def _look(context: Context, *, refresh: bool) -> None:
    settings = context.settings
    context.link.warm()
    domain = await context.link.domain()
    generation = context.generations.current()
    if generation is None:
        raise GenerationError(f"guest {settings.name} has no generation yet", hint="nixvm-loop rebuild makes one")
    live = await domain.running()
    if live is None:
        raise not_running(settings)
    state = await domain.state()
    if state == "paused":
        raise GuestError(f"domain {settings.domain} is paused", hint=f"virsh resume {settings.domain} lets it go on")
    if settings.ssh.key is None:
        kept_key(settings.state_dir / "ssh")  # who only looks makes none
    connection = await connect(context, domain, context.emitter, _REACH_TIMEOUT_S)
    if refresh:
        await connection.refresh(_REFRESH_TIMEOUT_S)
    look = Look(
        Action.NONE,
        generation,
        live,
        paths=tuple(sorted(await nix.closure(generation.toplevel))),
        switched_on=context.generations.switched_on(generation.number),
        settle_s=settings.apply.boot_timeout_s,
    )
    seen = await observe(context, connection, look, lambda check: context.emitter(told(check)))
    failure = verify.failure(seen.checks)
    if failure is not None:
        raise failure
