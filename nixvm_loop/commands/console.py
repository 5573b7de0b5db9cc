"""`console`: the guest's console on this terminal.

Libvirt gives a console to one reader, and while `watch` boots the guest that has to be `watch`: what it reads comes
through its socket then.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Final

from nixvm_loop import console, control
from nixvm_loop.console.terminal import Keys, raw_mode, write_all
from nixvm_loop.cycle.context import not_running
from nixvm_loop.interrupt import interruptible
from nixvm_loop.model.values import Stage
from nixvm_loop.present.sanitise import clean
from nixvm_loop.present.stream import LineWriter

if TYPE_CHECKING:
    from nixvm_loop.commands.call import Call
    from nixvm_loop.control.client import Reached
    from nixvm_loop.cycle.context import Context
    from nixvm_loop.events.emitter import Sink

_READING: Final = frozenset({Stage.DOMAIN, Stage.BOOT, Stage.VERIFY})
_LINE_LIMIT: Final = 4000
_RESTART_TIMEOUT_S: Final = 2.0
_POLL_S: Final = 0.1


def run(call: Call) -> int:
    """Attach until Ctrl-] or the domain's end; while `watch` restarts the guest, stay."""
    with call.sink() as sink:
        asyncio.run(interruptible(_attach(call, sink)))
    return 0


async def _attach(call: Call, sink: Sink) -> None:
    context = call.context(sink)
    try:
        booting = await _booting(call, 0)
        while booting is None or await _follow(booting) is console.Ended.BY_GUEST:
            if await _interact(context) is console.Ended.BY_USER:
                return
            booting = await _booting(call, _RESTART_TIMEOUT_S)
            if booting is None:
                _say("\nnixvm-loop: the console ended: the domain stopped, or somebody else took it\n")
                return
    finally:
        await context.link.close()


async def _interact(context: Context) -> console.Ended:
    domain = await context.link.domain()
    if await domain.running() is None:
        raise not_running(context.settings)
    if sys.stdin.isatty():
        _say(f"nixvm-loop: the console of domain {domain.name}; Ctrl-] leaves it\r\n")
    return await console.interact(domain)


async def _booting(call: Call, patience_s: float) -> Reached | None:
    """A `watch` that boots the guest, or does so within `patience_s`; to be closed."""
    deadline_s = call.clock.monotonic() + patience_s
    while (watch := await control.reach(call.settings)) is not None:
        if watch.standing.stage in _READING:
            return watch
        await watch.close()
        if call.clock.monotonic() >= deadline_s:
            break
        await asyncio.sleep(_POLL_S)
    return None


async def _follow(watch: Reached) -> console.Ended:
    """Show what `watch` reads until its cycle is over, or the user leaves; what is typed goes nowhere."""
    _say(f"nixvm-loop: {watch} reads the console {watch.standing}; until that is over this is read-only\n")
    with raw_mode(0):
        keys = Keys(0)
        leaving = asyncio.create_task(_end_of(keys))
        following = asyncio.create_task(watch.follow_console(_show))
        try:
            await asyncio.wait({leaving, following}, return_when=asyncio.FIRST_COMPLETED)
            return console.Ended.BY_GUEST if following.done() else console.Ended.BY_USER
        finally:
            keys.end()
            for task in (leaving, following):
                task.cancel()
            await asyncio.gather(leaving, following, return_exceptions=True)
            await watch.close()


async def _end_of(keys: Keys) -> None:
    while await keys.next() is not None:
        pass


def _show(line: str) -> None:
    write_all(1, f"{clean(line, _LINE_LIMIT)}\r\n".encode())


def _say(text: str) -> None:
    LineWriter(sys.stderr).write(text)
