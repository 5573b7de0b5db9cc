"""Saves as inputs of the loop: what flake and config read of this machine is watched, whatever that is by now."""

from __future__ import annotations

import asyncio
import shlex
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from nixvm_loop import nix
from nixvm_loop.errors import BuildError, UsageError
from nixvm_loop.events.types import ChangesSeen, LoopStarted, Notice
from nixvm_loop.loop import Changed, Input, Stop
from nixvm_loop.model.values import Severity
from nixvm_loop.watch import Watcher

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nixvm_loop.cycle.context import Context
    from nixvm_loop.model.settings import GuestSettings
    from nixvm_loop.model.sources import SourceRoot

CONFIG_CHANGED: Final = "the config changed; watching goes on with the new one"

_NAMED_PATHS: Final = 3


@dataclass(slots=True)
class Saves:
    """Hands change sets to `put`, or a stop when `reread` gives other settings than those of the context.

    Attributes:
        task: Watches, and fails when that fails; to be cancelled at the end.
    """

    context: Context
    config_file: Path
    reread: Callable[[], GuestSettings]
    put: Callable[[Input], object]
    task: asyncio.Task[None] | None = None
    _roots: tuple[SourceRoot, ...] = ()

    async def again(self) -> None:
        """Follow an edit that gave the flake other inputs."""
        # While the flake's folder is away, the old watcher waits for it to come back.
        with suppress(UsageError):
            replaced = await self.start()
            if replaced:
                # What was saved there meanwhile is in the new watcher's first look, but in no cycle yet.
                self.put(Changed(frozenset(root.path for root in self._roots)))

    async def start(self) -> bool:
        """Watch what the flake sees now, an edit may have given it other inputs; whether that is something new.

        Raises:
            UsageError: the flake's files cannot be watched.
        """
        roots = self._source_roots()
        if roots == self._roots:
            return False
        settings = self.context.settings
        watcher = Watcher(
            roots,
            replace(settings.watch, paths=(*settings.watch.paths, self.config_file)),
            clock=self.context.clock,
            emit=self.context.emitter,
            on_untracked=self._untracked,
        )
        watched = await watcher.start()
        self.context.emitter(LoopStarted(tuple(str(root) for root in watched.roots), watched.files))
        previous, self.task = self.task, asyncio.create_task(self._follow(watcher))
        self._roots = roots
        if previous is not None:
            previous.cancel()
            await asyncio.gather(previous, return_exceptions=True)
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
                if self.config_file in changes.paths and self._is_reconfigured():
                    self.put(Stop(CONFIG_CHANGED))
                elif changes.paths != (self.config_file,):
                    self.put(Changed(frozenset(changes.paths)))
        finally:
            await watcher.close()

    def _is_reconfigured(self) -> bool:
        try:
            return self.reread() != self.context.settings
        except UsageError as error:
            details = "; ".join((error.message, *error.details))
            self.context.emitter(Notice(Severity.ERROR, details, "until it is mended, the former config holds"))
            return False

    def _untracked(self, paths: tuple[Path, ...]) -> None:
        named = paths[:_NAMED_PATHS]
        more = f" and {len(paths) - len(named)} more" if len(paths) > len(named) else ""
        message = f"not tracked by git, so Nix does not see it: {', '.join(map(str, named))}{more}"
        hint = shlex.join(["git", "-C", str(named[0].parent), "add", "-N", *map(str, named)])
        self.context.emitter(Notice(Severity.WARNING, message, hint))
