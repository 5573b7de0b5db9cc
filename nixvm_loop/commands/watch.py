"""`watch`: cycles until stopped."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from nixvm_loop.errors import InterruptedByUser
from nixvm_loop.present import Keys
from nixvm_loop.runner import Runner
from nixvm_loop.saves import CONFIG_CHANGED

if TYPE_CHECKING:
    from nixvm_loop.commands.call import Call
    from nixvm_loop.events.emitter import Sink

_QUIT: Final = "q"


@dataclass(slots=True)
class _Typist:
    """Hands keys on: `q` ends everything, the rest is the running loop's."""

    call: Call
    runner: Runner | None = None
    paused: bool = False

    def on_key(self, key: str) -> None:
        if key == _QUIT:
            self.call.stop.make(_QUIT)
        elif self.runner is not None:
            self.runner.on_key(key)


def run(call: Call) -> int:
    """Watch and run cycles; ends by a signal, or by `q` in the live view, which is no interruption."""
    typist = _Typist(call)
    with call.sink(call.stop_without_output, Keys(sys.stdin, typist.on_key)) as sink:
        reason = asyncio.run(_watch(call, sink, typist))
    return 0 if reason == _QUIT else InterruptedByUser.exit_code


async def _watch(call: Call, sink: Sink, typist: _Typist) -> str:
    while (reason := await _until_stopped(call, sink, typist)) == CONFIG_CHANGED:
        call = replace(call, settings=call.reread())
    return reason


async def _until_stopped(call: Call, sink: Sink, typist: _Typist) -> str:
    context = call.context(sink)
    runner = Runner(context, call.config_file, call.reread, call.stop, paused=typist.paused)
    typist.runner = runner
    try:
        return await runner.run()
    finally:
        typist.runner, typist.paused = None, runner.paused
        await context.link.close()
