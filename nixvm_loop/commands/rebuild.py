"""`rebuild`: one cycle."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from nixvm_loop import nix
from nixvm_loop.commands.by_watch import InOrder, by_watch
from nixvm_loop.control import Rebuild
from nixvm_loop.cycle.gate import Gate
from nixvm_loop.cycle.run import Order, Result, run_cycle
from nixvm_loop.decide import Wish
from nixvm_loop.interrupt import interruptible

if TYPE_CHECKING:
    from nixvm_loop.commands.call import Call
    from nixvm_loop.cycle.context import Context
    from nixvm_loop.events.emitter import Sink


def run(call: Call) -> int:
    """Run one cycle, or have a running `watch` run it; raises what ended it, if that was not success."""
    wish = Wish.RESTART if call.arguments.force else Wish.AS_NEEDED
    with call.sink(call.stop_without_reader) as sink:
        if call.arguments.plan:
            return asyncio.run(interruptible(_plan(call, sink, wish)))
        return asyncio.run(cycle(call, sink, wish))


async def cycle(call: Call, sink: Sink, wish: Wish) -> int:
    """A cycle for the flake as it is, by a running `watch` or by ourselves; also what `create --start` does."""
    ordered = InOrder(sink, call.stop)
    code = await by_watch(call, ordered, Rebuild(wish))
    return await one_cycle(call, ordered, Order("asked for", wish=wish)) if code is None else code


async def _plan(call: Call, sink: Sink, wish: Wish) -> int:
    from nixvm_loop.cycle.plan import plan  # noqa: PLC0415  # a cycle loads as much while nix builds

    context = call.context(sink)
    try:
        await plan(context, wish)
    finally:
        await context.link.close()
    return 0


async def one_cycle(call: Call, sink: Sink, order: Order) -> int:
    """A cycle from its first connection to its last; also what `rollback` does."""
    context = call.context(sink)
    gate = Gate()
    notice = nix.missing_lock(call.settings)
    if notice is not None:
        context.emitter(notice)
    result = await interruptible(_and_close(context, order, gate), gate.abort, call.stop)
    if result.error is not None:
        raise result.error
    return result.finished.exit_code


async def _and_close(context: Context, order: Order, gate: Gate) -> Result:
    try:
        return await run_cycle(context, order, gate)
    finally:
        await context.link.close()
