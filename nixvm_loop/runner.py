"""The asyncio shell around the pure loop: saves and signals in, cycles out."""

from __future__ import annotations

import asyncio
import shlex
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, assert_never

from nixvm_loop import nix
from nixvm_loop.cycle.gate import Gate
from nixvm_loop.cycle.run import Order, run_cycle
from nixvm_loop.errors import BuildError, GenerationError, UsageError
from nixvm_loop.events.types import ChangesSeen, LoopStarted, LoopStopped, Notice
from nixvm_loop.interrupt import handling
from nixvm_loop.loop import (
    Begin,
    Built,
    CancelBuild,
    Changed,
    Effect,
    Ended,
    Exit,
    Input,
    LoopState,
    StartCycle,
    Stop,
    StopCycle,
    step,
)
from nixvm_loop.model.values import Severity, Verdict
from nixvm_loop.watch import Watcher

if TYPE_CHECKING:
    from pathlib import Path

    from nixvm_loop.cycle.context import Context
    from nixvm_loop.model.sources import SourceRoot

_NAMED_PATHS = 3


@dataclass(slots=True)
class Runner:
    """Runs `watch` for one guest until it is stopped."""

    context: Context
    _inputs: asyncio.Queue[Input] = field(default_factory=asyncio.Queue)
    _gate: Gate | None = None
    _cycle: asyncio.Task[None] | None = None
    _watching: asyncio.Task[None] | None = None
    _roots: tuple[SourceRoot, ...] = ()
    _stopping: bool = False

    async def run(self) -> str:
        """Run cycles until a signal; returns its name.

        Raises:
            UsageError: the flake's files cannot be watched.
        """
        with handling(self._on_signal):
            try:
                await self._watch_roots()
                self._tell_of_missing_lock()
                return await self._loop()
            finally:
                await self._end(self._watching, self._cycle)

    def _tell_of_missing_lock(self) -> None:
        notice = nix.missing_lock(self.context.settings)
        if notice is not None:
            self.context.emitter(notice)

    def _on_signal(self, name: str) -> None:
        if self._stopping and self._gate is not None:
            self._gate.abort()
        self._stopping = True
        self._inputs.put_nowait(Stop(name))

    async def _loop(self) -> str:
        state = LoopState(self.context.settings.watch.on_change)
        self._inputs.put_nowait(Begin())
        while True:
            state, effects = step(state, await self._next_input())
            for effect in effects:
                if isinstance(effect, Exit):
                    self.context.emitter(LoopStopped(effect.reason))
                    return effect.reason
                self._carry_out(effect)

    async def _next_input(self) -> Input:
        """The next input; a watcher or a cycle that failed by itself ends the loop."""
        taking = asyncio.ensure_future(self._inputs.get())
        try:
            working = [task for task in (self._watching, self._cycle) if task is not None]
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
            case StartCycle(paths):
                self._gate = Gate(lambda: self._inputs.put_nowait(Built()))
                self._cycle = asyncio.create_task(self._run_cycle(self._gate, tuple(sorted(paths))))
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

    async def _run_cycle(self, gate: Gate, paths: tuple[Path, ...]) -> None:
        verdict = Verdict.CANCELLED
        try:
            verdict = (await run_cycle(self.context, Order(reason_for(paths), paths), gate)).finished.verdict
            await self._watch_roots_again()
        except GenerationError as error:
            # Before it began: a full disk, say. The next save may find it mended.
            verdict = Verdict.FAILED
            self.context.emitter(Notice(Severity.ERROR, error.message, error.hint))
        finally:
            self._inputs.put_nowait(Ended(verdict))

    async def _watch_roots_again(self) -> None:
        # While the flake's folder is away, the old watcher waits for it to come back.
        with suppress(UsageError):
            replaced = await self._watch_roots()
            if replaced:
                # What was saved there meanwhile is in the new watcher's first look, but in no cycle yet.
                self._inputs.put_nowait(Changed(frozenset(root.path for root in self._roots)))

    async def _watch_roots(self) -> bool:
        """Watch what the flake sees now, an edit may have given it other inputs; whether that is something new."""
        roots = self._source_roots()
        if roots == self._roots:
            return False
        settings = self.context.settings
        watcher = Watcher(
            roots,
            settings.watch,
            clock=self.context.clock,
            emit=self.context.emitter,
            on_untracked=self._untracked,
        )
        watched = await watcher.start()
        self.context.emitter(LoopStarted(tuple(str(root) for root in watched.roots), watched.files))
        previous, self._watching = self._watching, asyncio.create_task(self._follow(watcher))
        self._roots = roots
        await self._end(previous)
        return True

    def _source_roots(self) -> tuple[SourceRoot, ...]:
        try:
            return nix.source_roots(self.context.settings)
        except BuildError:
            # The lock file cannot be read, as in the middle of a merge. The cycle's build says so.
            return self._roots or nix.own_root(self.context.settings)

    async def _follow(self, watcher: Watcher) -> None:
        try:
            while True:
                changes = await watcher.next()
                self.context.emitter(ChangesSeen(tuple(str(path) for path in changes.paths)))
                self._inputs.put_nowait(Changed(frozenset(changes.paths)))
        finally:
            await watcher.close()

    def _untracked(self, paths: tuple[Path, ...]) -> None:
        named = paths[:_NAMED_PATHS]
        more = f" and {len(paths) - len(named)} more" if len(paths) > len(named) else ""
        message = f"not tracked by git, so Nix does not see it: {', '.join(map(str, named))}{more}"
        hint = shlex.join(["git", "-C", str(named[0].parent), "add", "-N", *map(str, named)])
        self.context.emitter(Notice(Severity.WARNING, message, hint))

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
