"""One cycle, from the build to the verdict."""

from __future__ import annotations

import asyncio
import os
import shlex
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Final

from nixvm_loop.cycle.build import build
from nixvm_loop.cycle.gate import SupersededError
from nixvm_loop.decide import Wish, may_switch, same_system
from nixvm_loop.errors import GenerationError, InterruptedByUser, NixvmLoopError
from nixvm_loop.events.types import CycleFinished, CycleStarted, ErrorInfo, Notice
from nixvm_loop.generation import entries, identity
from nixvm_loop.journal import CycleNotes
from nixvm_loop.lock import Holder, held
from nixvm_loop.model.values import Action, Severity, Verdict

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from nixvm_loop.cycle.apply import Apply
    from nixvm_loop.cycle.build import Built
    from nixvm_loop.cycle.context import Context
    from nixvm_loop.cycle.gate import Gate
    from nixvm_loop.cycle.look import Early
    from nixvm_loop.events.emitter import Emitter
    from nixvm_loop.journal import CycleFolder
    from nixvm_loop.model.values import Check, CycleRecord

_HEAD_START_S: Final = 0.05


class Kept(Enum):
    """A generation that is known by what it is, not by its number."""

    CURRENT = auto()


@dataclass(frozen=True, slots=True)
class Order:
    """What a cycle is asked for, and why.

    Attributes:
        changes: The paths for whose change it is.
        boot: The kept generation to boot instead of building one.
    """

    reason: str
    changes: tuple[Path, ...] = ()
    wish: Wish = Wish.AS_NEEDED
    boot: int | Kept | None = None


def rollback_order(context: Context, number: int | None) -> Order:
    """The order for a rollback, to the newest good generation before the current one unless a number is given.

    Raises:
        GenerationError: there is none, or it was edited.
    """
    generations = context.generations
    if number is None:
        current = generations.current_number()
        good = generations.last_good(before=current)
        if good is None:
            raise GenerationError(
                f"guest {context.settings.name} has no verified generation before the current one",
                hint="nixvm-loop history shows what is kept; nixvm-loop rollback N takes any of it",
            )
        number = good.number
    elif generations.read(number) is None:
        raise GenerationError(f"there is no generation {number}", hint="nixvm-loop history shows what is kept")
    return Order(f"rollback to generation {number}", boot=number)


@dataclass(frozen=True, slots=True)
class Result:
    """How a cycle ended, and the error that ended it."""

    finished: CycleFinished
    error: NixvmLoopError | None


async def run_cycle(context: Context, order: Order, gate: Gate) -> Result:
    """Run one cycle with the guest's lock held; every failure that is meant for the user is in what it returns.

    Raises:
        UsageError, GenerationError: the state directory is another guest's, or cannot be used at all.
        asyncio.CancelledError: the user stopped it; the cycle's end has been told.
    """
    identity.check_apart(context.settings.state_dir, context.settings.flake_dir)
    identity.check(context.settings.state_dir, flake=context.settings.flake)

    async with hold(context):
        for text in (*context.generations.prepare(), *entries.problems(context.generations)):
            context.emitter(Notice(Severity.WARNING, text, None))
        folder = context.journal.begin()
        notes = CycleNotes()
        emitter = context.emitter.bound(cycle=folder.number).with_sink(notes)
        try:
            return await _Cycle(context, order, gate, folder, emitter, notes).run()
        finally:
            record = notes.record(folder.number)
            if record is not None:
                _append(context, record)


@asynccontextmanager
async def hold(context: Context) -> AsyncIterator[None]:
    """Hold the guest's lock; whoever else holds it is named while we wait."""

    def waiting(holder: Holder | None) -> None:
        who = holder or "another process"
        context.emitter(Notice(Severity.INFO, f"waiting for guest {context.settings.name}: {who} holds it", None))

    async with held(context.settings.state_dir / "lock", _me(context), waiting):
        yield


@dataclass(slots=True)
class _Cycle:
    """A cycle under way, and how far it came."""

    context: Context
    order: Order
    gate: Gate
    folder: CycleFolder
    emit: Emitter
    notes: CycleNotes
    action: Action | None = None
    generation: int | None = None
    _began: float = field(init=False)

    async def run(self) -> Result:
        """Everything in its order; each way out ends with the event that tells it."""
        self._began = self.context.clock.monotonic()
        self.emit(CycleStarted(self.order.reason))
        try:
            return self._ended(await self._stages(), None)
        except SupersededError:
            return self._ended(Verdict.CANCELLED, None)
        except NixvmLoopError as error:
            return self._ended(Verdict.FAILED, error)
        except asyncio.CancelledError:
            self._ended(Verdict.CANCELLED, InterruptedByUser("interrupted"))
            raise
        except Exception as error:
            self._ended(Verdict.FAILED, NixvmLoopError(f"a bug in nixvm-loop: {error!r}"))
            raise

    async def _stages(self) -> Verdict:
        if self.order.boot is not None:
            return await self._boot(self.order.boot)
        early = asyncio.create_task(self._early_sight())
        try:
            built = await self.gate.build(build(self.context, self.folder, self.emit))
            return await self._put_to_work(built, early)
        finally:
            early.cancel()
            await asyncio.gather(early, return_exceptions=True)

    async def _put_to_work(self, built: Built, early: asyncio.Task[Early | None]) -> Verdict:
        apply = self._apply()
        used = False
        try:
            wanted = may_switch(self.order.wish, self.context.settings.apply.mode) or self._is_current(built)
            seen = await early if wanted else None
            early.cancel()
            self.generation = self.context.generations.current_number()
            site = await apply.survey()
            decision = await apply.decide(site, built, self.order.wish, seen)
            checks = apply.checks
            if decision.action is not Action.NONE:
                self.context.link.release()
                generation = apply.generation_for(site, built, self._about(built))
                used = generation.number == built.slot.number
                self.generation = generation.number
                if decision.action is Action.SWITCH:
                    checks = await apply.switch(site, generation, self.order.wish)
                else:
                    checks = await apply.restart(site, generation)
        finally:
            self.action = apply.action
            if not used:
                self.context.generations.discard(built.slot.number)
        return self._verdict(checks)

    def _is_current(self, built: Built) -> bool:
        return same_system(built.artifacts, built.cmdline, self.context.generations.current_or_none())

    async def _early_sight(self) -> Early | None:
        """How the guest is, asked while Nix builds, if the decision will want to know, or may and it costs little."""
        # After nix has started: the imports would hold it up.
        await asyncio.sleep(_HEAD_START_S)
        await self.context.link.warmed()
        wish, mode = self.order.wish, self.context.settings.apply.mode
        kept = self.context.link.ssh
        at_hand = wish is Wish.AS_NEEDED and kept is not None and not kept.closed
        if not (may_switch(wish, mode) or at_hand):
            return None
        from nixvm_loop.cycle.look import early_sight  # noqa: PLC0415  # as above

        return await early_sight(self.context, wish)

    async def _boot(self, which: int | Kept) -> Verdict:
        """A kept generation, without a build."""
        apply = self._apply()
        try:
            site = await apply.survey()
            number = apply.to_revive(site) if which is Kept.CURRENT else which
            self.generation = number
            return self._verdict(await apply.boot(site, number, self.order.reason))
        finally:
            self.action = apply.action

    def _apply(self) -> Apply:
        from nixvm_loop.cycle.apply import Apply  # noqa: PLC0415  # loaded by a thread while nix builds

        return Apply(self.context, self.folder, self.emit, self.gate, self.notes.stage_seconds)

    def _verdict(self, checks: tuple[Check, ...]) -> Verdict:
        from nixvm_loop import verify  # noqa: PLC0415  # as above

        failure = verify.failure(checks)
        if failure is not None:
            raise failure
        return Verdict.UNCHANGED if self.action is Action.NONE else Verdict.OK

    def _about(self, built: Built) -> dict[str, Any]:
        """What a new generation is to remember of where it came from."""
        return {
            "created": self.context.clock.now().isoformat(timespec="seconds"),
            "cycle": self.folder.number,
            "reason": self.order.reason,
            "changes": [str(path) for path in self.order.changes],
            "revision": built.revision.rev,
            "dirty": built.revision.dirty,
        }

    def _ended(self, verdict: Verdict, error: NixvmLoopError | None) -> Result:
        finished = CycleFinished(
            verdict=verdict,
            action=self.action,
            generation=self.generation,
            seconds=self.context.clock.monotonic() - self._began,
            exit_code=_exit_code(verdict, error),
            error=None if error is None else ErrorInfo(error.message, error.hint, error.details),
        )
        self.emit(finished)
        return Result(finished, error)


def _append(context: Context, record: CycleRecord) -> None:
    try:
        context.journal.append(record)
    except GenerationError as error:  # the verdict has been told, and stands
        context.emitter(Notice(Severity.WARNING, error.message, error.hint))


def _exit_code(verdict: Verdict, error: NixvmLoopError | None) -> int:
    if verdict is Verdict.CANCELLED:
        return InterruptedByUser.exit_code
    return 0 if error is None else error.exit_code


def _me(context: Context) -> Holder:
    command = shlex.join(["nixvm-loop", *sys.argv[1:2]])
    return Holder(os.getpid(), command, context.clock.now().isoformat(timespec="seconds"))
