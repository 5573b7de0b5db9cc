"""`rollback`: the guest on an older generation, verified."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from nixvm_loop.commands.by_watch import InOrder, by_watch
from nixvm_loop.commands.rebuild import one_cycle
from nixvm_loop.control import Rollback
from nixvm_loop.cycle.run import rollback_order

if TYPE_CHECKING:
    from nixvm_loop.commands.call import Call
    from nixvm_loop.events.emitter import Sink


def run(call: Call) -> int:
    """Flip, restart, verify, or have a running `watch` do so; raises what ended it, if that was not success."""
    number = next(iter(call.arguments.generations), None)
    with call.sink(call.stop_without_reader) as sink:
        return asyncio.run(_rollback(call, InOrder(sink, call.stop), number))


async def _rollback(call: Call, sink: Sink, number: int | None) -> int:
    code = await by_watch(call, sink, Rollback(number))
    if code is not None:
        return code
    return await one_cycle(call, sink, rollback_order(call.context(sink), number))
