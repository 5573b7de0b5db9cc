"""`watch`: cycles until stopped."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from nixvm_loop.commands.call import stop_in_order
from nixvm_loop.errors import InterruptedByUser
from nixvm_loop.runner import Runner

if TYPE_CHECKING:
    from nixvm_loop.commands.call import Call
    from nixvm_loop.events.emitter import Sink


def run(call: Call) -> int:
    """Watch and run cycles; ends by a signal."""
    with call.sink(stop_in_order) as sink:
        asyncio.run(_watch(call, sink))
    return InterruptedByUser.exit_code


async def _watch(call: Call, sink: Sink) -> None:
    context = call.context(sink)
    try:
        await Runner(context).run()
    finally:
        await context.link.close()
