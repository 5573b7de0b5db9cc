"""The asyncio shell around the pure loop: saves and signals in, cycles out."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, assert_never

from nixvm_loop import nix
from nixvm_loop.control import Rebuild, Rollback
from nixvm_loop.control.fan import Fan
from nixvm_loop.control.orders import Standing
from nixvm_loop.control.server import serve
from nixvm_loop.cycle.gate import Gate
from nixvm_loop.cycle.run import Kept, Order, Result, rollback_order, run_cycle
from nixvm_loop.decide import Wish
from nixvm_loop.errors import DomainError, GenerationError, OperatorStopError
from nixvm_loop.events.types import DomainState, LoopPaused, LoopStopped, Notice, OrderNoted
from nixvm_loop.guard import Guard
from nixvm_loop.interrupt import StopRequest, handling
from nixvm_loop.loop import (
    REVIVALS,
    Begin,
    Built,
    CancelBuild,
    Changed,
    Effect,
    Ended,
    Exit,
    GuestLost,
    Input,
    LoopState,
    Ordered,
    Pause,
    Phase,
    Settled,
    StartCycle,
    Stop,
    StopCycle,
    Work,
    step,
)
from nixvm_loop.model.values import Action, Severity, Verdict
from nixvm_loop.saves import Saves

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from nixvm_loop.cycle.context import Context
    from nixvm_loop.guard import Down
    from nixvm_loop.model.settings import GuestSettings

_NAMED_PATHS: Final = 3
_PAUSE_KEY: Final = "p"
_WISH_KEYS: Final = {" ": Wish.AS_NEEDED, "r": Wish.RESTART, "s": Wish.SWITCH}
_WISHES: Final = {Wish.AS_NEEDED: "cycle", Wish.RESTART: "restart", Wish.SWITCH: "switch"}
_SETTLED_S: Final = 120.0
_PAUSED: Final = "paused"


@dataclass(slots=True)
class Runner:
    """Runs `watch` for one guest until it is stopped, or `reread` gives other settings than those it runs with."""

    context: Context
    config_file: Path
    reread: Callable[[], GuestSettings]
    stop: StopRequest = field(default_factory=StopRequest)
    paused: bool = False
    _inputs: asyncio.Queue[Input] = field(default_factory=asyncio.Queue)
    _gate: Gate | None = None
    _cycle: asyncio.Task[None] | None = None
    _stopping: bool = False
    _orders: dict[int, Order] = field(default_factory=dict)
    # By whoever typed; its ticket is negative, since nobody listens to its cycle by a connection.
    _typed: Ordered | None = None
    _typed_tickets: Iterator[int] = field(default_factory=lambda: itertools.count(-1, -1))
    _down: Down | None = None
    _domain_state: str = ""
    _ended_s: float = 0.0
    _fan: Fan = field(init=False)
    _saves: Saves = field(init=False)
    _state: LoopState = field(init=False)
    _pause: LoopPaused = field(init=False)

    def __post_init__(self) -> None:
        self._state = LoopState(self.context.settings.watch.on_change, paused=self.paused)
        self._fan = Fan(Standing(paused=self.paused))
        self._pause = LoopPaused(self.paused, 0)
        self.context = replace(self.context, emitter=self.context.emitter.with_sink(self._fan))
        self._saves = Saves(self.context, self.config_file, self.reread, self._inputs.put_nowait)

    async def run(self) -> str:
        """Run cycles until a signal; returns its name.

        Raises:
            UsageError: the flake's files cannot be watched.
        """
        context, guarding = self.context, asyncio.create_task(Guard(self.context, self._on_down, self._on_state).run())
        with handling(self._on_signal, self.stop):
            try:
                async with serve(context.settings, self._fan, self._order, context.emitter):
                    await self._saves.start()
                    self._tell_of_missing_lock()
                    return await self._loop()
            finally:
                await self._end(self._saves.task, self._cycle, guarding)

    def _tell_of_missing_lock(self) -> None:
        notice = nix.missing_lock(self.context.settings)
        if notice is not None:
            self.context.emitter(notice)

    def _on_signal(self, name: str) -> None:
        if self._stopping and self._gate is not None:
            self._gate.abort()
        if not self._stopping and self._state.phase is not Phase.IDLE:
            text = "stopping as soon as the guest is in order; the same again stops at once"
            self.context.emitter(Notice(Severity.INFO, text, None))
        self._stopping = True
        self._inputs.put_nowait(Stop(name))

    def _order(self, ticket: int, request: Rebuild | Rollback) -> None:
        """Take the order of another process. Raises GenerationError when there is nothing to roll back to."""
        work = Work.BUILD if isinstance(request, Rebuild) else Work.BOOT
        if isinstance(request, Rebuild):
            self._orders[ticket] = Order("asked for", wish=request.wish)
        else:
            self._orders[ticket] = rollback_order(self.context, request.generation)
        self._inputs.put_nowait(Ordered(ticket, work))

    def on_key(self, key: str) -> None:
        """Take a key that was typed: `r` restart, `s` switch, space a cycle now, `p` pause; any other means nothing."""
        if key == _PAUSE_KEY:
            self._inputs.put_nowait(Pause())
            return
        wish, serving = _WISH_KEYS.get(key), self._state.serving
        if wish is None:
            return
        typed = self._typed if self._typed is not None and self._typed != serving else None
        before = typed or (serving if serving is not None and serving.ticket < 0 else None)
        if before is not None and self._orders[before.ticket].wish is wish:
            return  # a key that is held down is one order
        if typed is None:
            typed = self._typed = Ordered(next(self._typed_tickets), Work.BUILD)
            self._inputs.put_nowait(typed)
        self._orders[typed.ticket] = Order("asked for", wish=wish)  # the last word counts
        if self._state.phase is not Phase.IDLE and not self._stopping:
            self.context.emitter(OrderNoted(_WISHES[wish]))

    def _on_state(self, state: str) -> None:
        self._domain_state = state
        if self._state.phase is not Phase.APPLYING:
            self.context.emitter(DomainState(state))

    def _on_down(self, down: Down) -> None:
        if self._state.phase is Phase.APPLYING and self._gate is not None:
            self._down = down  # the cycle's own business, unless it ends without having noticed
            return
        self.context.emitter(DomainState("shut off"))
        settled = self.context.clock.monotonic() - self._ended_s > _SETTLED_S
        if down.wanted:
            idle = self._gate is None
            which = "the next save, or nixvm-loop rebuild," if idle else "the cycle that is building now"
            self._tell(f"the guest {down.value}; {which} starts it again")
        elif self._state.revivals >= REVIVALS and not settled:
            self._tell(f"the guest {down.value} again and again, and is left alone until the next save")
        self._down = down
        if not down.wanted:
            if settled:
                self._inputs.put_nowait(Settled())
            self._inputs.put_nowait(GuestLost())

    def _tell(self, message: str) -> None:
        self.context.emitter(Notice(Severity.WARNING, message, None))

    async def _loop(self) -> str:
        # What was changed in the pause is taken after it, the config included.
        self._inputs.put_nowait(Changed(frozenset({self.config_file})) if self.paused else Begin())
        while True:
            given = await self._next_input()
            served = self._state.serving
            self._state, effects = step(self._state, given)
            if isinstance(given, Ended) and served is not None and served != self._state.serving:
                self._forget(served.ticket)
            self._tell_of_pause()
            for effect in effects:
                if isinstance(effect, Exit):
                    self.context.emitter(LoopStopped(effect.reason))
                    return effect.reason
                self._carry_out(effect)

    def _tell_of_pause(self) -> None:
        self.paused = self._state.paused
        now = LoopPaused(self.paused, len(self._state.waiting) if self.paused else 0)
        if now != self._pause:
            self._pause = now
            self.context.emitter(now)

    def _forget(self, ticket: int) -> None:
        if ticket not in {order.ticket for order in self._state.orders}:
            self._orders.pop(ticket, None)
            self._typed = None if self._typed is not None and ticket == self._typed.ticket else self._typed

    async def _next_input(self) -> Input:
        """The next input; a watcher or a cycle that failed by itself ends the loop."""
        taking = asyncio.ensure_future(self._inputs.get())
        try:
            working = [task for task in (self._saves.task, self._cycle) if task is not None]
            waited_for: list[asyncio.Future[Any]] = [taking, *working]
            await asyncio.wait(waited_for, return_when=asyncio.FIRST_COMPLETED)
            for task in working:
                if task.done() and not task.cancelled():
                    task.result()
            if self._cycle is not None and self._cycle.done():
                self._cycle = None
            return await taking
        finally:
            taking.cancel()

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case StartCycle():
                self._gate = Gate(lambda: self._inputs.put_nowait(Built()))
                self._cycle = asyncio.create_task(self._run_cycle(self._gate, self._order_for(effect)))
                if effect.order is not None:
                    self._fan.begin([effect.order.ticket])
            case CancelBuild():
                if self._gate is not None:
                    self._gate.supersede()
            case StopCycle():
                if self._cycle is not None:
                    self._cycle.cancel()
            case Exit():
                pass
            case _:
                assert_never(effect)

    def _order_for(self, effect: StartCycle) -> Order:
        paths = tuple(sorted(effect.paths))
        if effect.order is not None:
            order = self._orders[effect.order.ticket]
            reason = f"{order.reason}; {reason_for(paths)}" if paths else order.reason
            return replace(order, reason=reason, changes=paths)
        if effect.work is Work.BUILD:
            return Order(reason_for(paths), paths)
        reason = f"the guest {self._down.value}" if self._down is not None else "the guest went down"
        return Order(reason, boot=Kept.CURRENT)

    async def _run_cycle(self, gate: Gate, order: Order) -> None:
        verdict, lost = Verdict.CANCELLED, False
        self._down = None
        try:
            result = await run_cycle(self.context, order, gate)
            verdict = result.finished.verdict
            await self._saves.again()
            lost = await self._was_lost(result)
            self.context.link.prepare()
        except GenerationError as error:
            # Before it began: a full disk, say. The next save may find it mended.
            verdict = Verdict.FAILED
            self.context.emitter(Notice(Severity.ERROR, error.message, error.hint))
            self._fan.fail(error)
        finally:
            self._ended_s, self._gate = self.context.clock.monotonic(), None
            if self._domain_state == _PAUSED:
                self.context.emitter(DomainState(_PAUSED))  # by somebody else, while the cycle ran
            self._inputs.put_nowait(Ended(verdict))
            if lost:
                self._inputs.put_nowait(GuestLost())

    async def _was_lost(self, result: Result) -> bool:
        """Whether the guest went down during the cycle, and is not meant to stay down."""
        finished, reset = result.finished, isinstance(result.error, OperatorStopError)
        gave_up = finished.verdict is Verdict.FAILED and finished.action is Action.RESTART
        if (gave_up and not reset) or self._down is None or self._down.wanted:
            return False
        try:
            return await (await self.context.link.domain()).running() is None
        except DomainError:
            return False  # whoever is asked next tells of it

    async def _end(self, *tasks: asyncio.Task[None] | None) -> None:
        ending = [task for task in tasks if task is not None]
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)


def reason_for(paths: tuple[Path, ...]) -> str:
    """Why a cycle runs, in words: the changed files by name, the first few of many."""
    if not paths:
        return "the first cycle"
    named = ", ".join(path.name for path in paths[:_NAMED_PATHS])
    more = len(paths) - _NAMED_PATHS
    return f"changed: {named}" + (f" and {more} more" if more > 0 else "")
