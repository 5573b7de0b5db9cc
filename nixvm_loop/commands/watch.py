"""`watch`: cycles until stopped."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from nixvm_loop.errors import InterruptedByUser
from nixvm_loop.present import QuitKey
from nixvm_loop.runner import CONFIG_CHANGED, Runner

if TYPE_CHECKING:
    from nixvm_loop.commands.call import Call
    from nixvm_loop.events.emitter import Sink

_QUIT: Final = "q"


def run(call: Call) -> int:
    """Watch and run cycles; ends by a signal, or by `q` in the live view, which is no interruption."""
    with call.sink(call.stop_without_output, QuitKey(sys.stdin, lambda: call.stop.make(_QUIT))) as sink:
        reason = asyncio.run(_watch(call, sink))
    return 0 if reason == _QUIT else InterruptedByUser.exit_code


async def _watch(call: Call, sink: Sink) -> str:
    while (reason := await _until_stopped(call, sink)) == CONFIG_CHANGED:
        call = replace(call, settings=call.reread())
    return reason


async def _until_stopped(call: Call, sink: Sink) -> str:
    context = call.context(sink)
    try:
        return await Runner(context, call.config_file, call.reread, call.stop).run()
    finally:
        await context.link.close()
