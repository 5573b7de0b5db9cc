"""`verify`: the checks against the running guest, which nothing here changes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from nixvm_loop import verify
from nixvm_loop.cycle.boot import connect
from nixvm_loop.cycle.context import not_running
from nixvm_loop.cycle.observe import Look, new_paths, observe, told
from nixvm_loop.errors import GenerationError
from nixvm_loop.guest import kept_key
from nixvm_loop.interrupt import interruptible
from nixvm_loop.model.values import Action

if TYPE_CHECKING:
    from nixvm_loop.commands.call import Call
    from nixvm_loop.cycle.context import Context
    from nixvm_loop.events.emitter import Sink

_REACH_TIMEOUT_S = 15.0


def run(call: Call) -> int:
    """Look and judge; raises VerificationError when a check failed."""
    with call.sink() as sink:
        return asyncio.run(interruptible(_verify(call, sink)))


async def _verify(call: Call, sink: Sink) -> int:
    context = call.context(sink)
    try:
        await _look(context)
    finally:
        await context.link.close()
    return 0


async def _look(context: Context) -> None:
    settings = context.settings
    context.link.warm()
    domain = await context.link.domain()
    generation = context.generations.current()
    if generation is None:
        raise GenerationError(f"guest {settings.name} has no generation yet", hint="nixvm-loop rebuild makes one")
    live = await domain.running()
    if live is None:
        raise not_running(settings)
    if settings.ssh.key is None:
        kept_key(settings.state_dir / "ssh")  # who only looks makes none
    connection = await connect(context, domain, context.emitter, _REACH_TIMEOUT_S)
    paths = await new_paths(context, generation)
    look = Look(Action.NONE, generation, live, paths=paths, settle_s=settings.apply.boot_timeout_s)
    seen = await observe(context, connection, look, lambda check: context.emitter(told(check)))
    failure = verify.failure(seen.checks)
    if failure is not None:
        raise failure
