"""`console`: the guest's console on this terminal."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from nixvm_loop import console
from nixvm_loop.cycle.context import not_running
from nixvm_loop.interrupt import interruptible

if TYPE_CHECKING:
    from nixvm_loop.commands.call import Call
    from nixvm_loop.events.emitter import Sink


def run(call: Call) -> int:
    """Attach until Ctrl-] or the domain's end."""
    with call.sink() as sink:
        asyncio.run(_attach(call, sink))
    return 0


async def _attach(call: Call, sink: Sink) -> None:
    context = call.context(sink)
    try:
        domain = await context.link.domain()
        if await domain.running() is None:
            raise not_running(call.settings)
        if sys.stdin.isatty():
            sys.stderr.write(f"nixvm-loop: the console of domain {domain.name}; Ctrl-] leaves it\r\n")
            sys.stderr.flush()
        ended = await interruptible(console.interact(domain))
        if ended is console.Ended.BY_GUEST:
            sys.stderr.write("\nnixvm-loop: the console ended: the domain stopped, or somebody else took it\n")
    finally:
        await context.link.close()
