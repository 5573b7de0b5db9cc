"""Has a running `watch` do what a command was asked for, so that one process alone acts on the guest."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING

from nixvm_loop import control
from nixvm_loop.errors import InterruptedByUser, UsageError
from nixvm_loop.events.types import CycleFinished, Notice
from nixvm_loop.generation import identity
from nixvm_loop.interrupt import interruptible
from nixvm_loop.model.values import Severity, Verdict

if TYPE_CHECKING:
    from nixvm_loop.commands.call import Call
    from nixvm_loop.control import Rebuild, Rollback
    from nixvm_loop.control.client import Reached
    from nixvm_loop.events.emitter import Sink
    from nixvm_loop.events.types import Stamped
    from nixvm_loop.interrupt import StopRequest


class InOrder:
    """A sink that numbers events anew, so that those of several processes make one stream of one cycle.

    When that has ended there is nothing left to stop: a reader that has gone by then does not change its exit code.
    """

    def __init__(self, sink: Sink, stop: StopRequest) -> None:
        self._sink = sink
        self._stop = stop
        self._numbers = itertools.count(1)

    def handle(self, stamped: Stamped) -> None:
        """Take one event."""
        if isinstance(stamped.event, CycleFinished) and stamped.event.verdict is not Verdict.CANCELLED:
            self._stop.withdraw()
        self._sink.handle(replace(stamped, seq=next(self._numbers)))


async def by_watch(call: Call, sink: Sink, order: Rebuild | Rollback) -> int | None:
    """The exit code of the cycle that a running `watch` ran for us; None when we are to do it ourselves.

    Raises:
        NixvmLoopError: what ended that cycle, or kept it from being run.
        InterruptedByUser: we were told to leave, or `watch` ended; its message says what became of the cycle.
    """
    identity.check(call.settings.state_dir, flake=call.settings.flake)
    watch = await control.reach(call.settings)
    if watch is None:
        return None
    try:
        return await _ordered(call, sink, watch, order)
    finally:
        await watch.close()


async def _ordered(call: Call, sink: Sink, watch: Reached, order: Rebuild | Rollback) -> int | None:
    if not watch.is_alike:
        raise UsageError(
            f"{watch} looks after this guest with another configuration, or is another version of nixvm-loop",
            hint="stop it and start it again, then it knows the configuration as it is now",
        )
    emit = call.emitter(sink)
    emit(Notice(Severity.INFO, f"{watch} does it; it is {watch.standing}", None))
    try:
        answered = await interruptible(watch.order(order, sink.handle), stop=call.stop)
    except InterruptedByUser as error:
        raise InterruptedByUser(f"{error.message}; {watch} goes on with the cycle") from None
    if answered.error is not None:
        raise answered.error
    if answered.exit_code is None:
        emit(Notice(Severity.INFO, f"{watch} ended before it began", None))
    return answered.exit_code
