"""Waits until what the build can see has changed, and says which paths."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from nixvm_loop.events.types import Notice
from nixvm_loop.model.values import ChangeSet, Severity
from nixvm_loop.watch.ears import Ears, came_or_went
from nixvm_loop.watch.forest import Forest
from nixvm_loop.watch.settle import LIMIT_S, Work, quiet_for
from nixvm_loop.watch.strangers import Strangers

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from nixvm_loop.events.types import Emit
    from nixvm_loop.model.clock import Clock
    from nixvm_loop.model.settings import WatchSettings
    from nixvm_loop.model.sources import SourceRoot
    from nixvm_loop.watch.notifier import Batch

_log = logging.getLogger(__name__)

# The kernel may lose events, and a moved parent directory makes none: everything is looked at now and then. What that
# costs is a small share of the time in between, however large the tree.
_FIRST_SCAN_S: Final = 2.0
_SCAN_EVERY_S: Final = 10.0
_SCAN_REST: Final = 500
_DEAF_SCAN_EVERY_S: Final = 1.0
_DEAF_SCAN_REST: Final = 20
_LOST_LOOK_EVERY_S: Final = 0.2
_LOCK_LOOK_EVERY_S: Final = 0.01
_ARMING_ROUNDS: Final = 10


@dataclass(frozen=True, slots=True)
class Watched:
    """What is watched: the trees and files asked for, and how many files count."""

    roots: tuple[Path, ...]
    files: int


class Watcher:
    """The trees that a build reads, and the changes in them; one at a time may wait in `next`."""

    def __init__(
        self,
        roots: tuple[SourceRoot, ...],
        settings: WatchSettings,
        *,
        clock: Clock,
        emit: Emit | None = None,
        on_untracked: Callable[[tuple[Path, ...]], None] | None = None,
    ) -> None:
        """Nothing is looked at before `start`.

        Args:
            roots: What the flake and its local inputs are.
            settings: What else to look at, what not, and how long it has to be quiet.
            clock: Measures the quiet.
            emit: Is given notices: a tree is gone for now, the kernel has run out of watches.
            on_untracked: Is given new Nix files that git does not track, so that the build cannot see them.
        """
        self._settings, self._clock, self._emit = settings, clock, emit
        self._forest = Forest(roots, settings, emit or (lambda _: None))
        self._strangers = Strangers(self._forest, settings, on_untracked)
        self._ears = Ears(self._hear, self._miss, self._deafened)
        self._hints: set[str] = set()
        self._heard = asyncio.Event()
        self._heard_last_s = 0.0
        self._scan_due_s = 0.0
        self._unrest_since_s: float | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def start(self) -> Watched:
        """Listen, and take everything as it is now for known.

        Raises:
            UsageError: a tree does not exist or cannot be read.
        """
        try:
            await self._forest.open()
            await self._ears.cover(self._forest.directories())
            await self._forest.settle_baseline()
        except BaseException:
            await self.close()
            raise
        first_s = _DEAF_SCAN_EVERY_S if self._ears.deaf else _FIRST_SCAN_S
        self._scan_due_s = self._clock.monotonic() + first_s
        return Watched(self._forest.roots, len(self._forest))

    async def next(self) -> ChangeSet:
        """Wait for the paths (absolute, sorted) whose content differs from when `next` last returned.

        Cancelling loses nothing: the changes are part of what the following call returns.
        """
        while True:
            if not self._is_unrest() and (paths := self._forest.take()):
                self._unrest_since_s = None
                return ChangeSet(tuple(map(Path, sorted(paths))))
            if self._strangers and not self._hints:
                await self._ears.cover(await self._strangers.find_directories() | self._forest.directories())
                await self._strangers.report()
            if not self._is_unrest():
                self._unrest_since_s = None
                await self._wait()
            await self._settle()
            await self._look()

    async def close(self) -> None:
        """Stop listening. Nothing is called back afterwards."""
        await self._ears.close()

    def _hear(self, batch: Batch, age_s: float) -> None:
        names = came_or_went(batch)
        self._ears.forget(names)
        # A directory is reported for its own mode and times, too; no build sees those.
        paths = {path for _, path in batch if path in names or path not in self._ears}
        hints = set(filter(self._forest.hears, paths))
        self._strangers.meet((paths & names) - hints)
        self._hints |= hints
        if hints:
            self._heard_last_s = self._clock.monotonic() - age_s
        if hints or self._strangers:
            self._heard.set()

    def _miss(self, reason: str) -> None:
        _log.info("some changes may have been missed, looking at everything: %s", reason)
        self._scan_due_s = 0.0
        self._heard.set()

    def _deafened(self, reason: str) -> None:
        if self._emit is None:
            return
        self._emit(
            Notice(
                Severity.WARNING,
                f"the kernel does not tell us of changes ({reason}): looking for them every second or so",
                "raise fs.inotify.max_user_watches or fs.inotify.max_user_instances: "
                "`sysctl fs.inotify.max_user_watches=1048576`, and start again",
            )
        )

    async def _wait(self) -> None:
        wait_s = self._scan_due_s - self._clock.monotonic()
        if self._forest.lost:
            wait_s = min(wait_s, _LOST_LOOK_EVERY_S)
        try:
            async with asyncio.timeout(max(wait_s, 0)):
                await self._heard.wait()
        except TimeoutError:
            return

    def _work(self) -> Work:
        return self._forest.work(self._clock.now().timestamp())

    def _is_unrest(self) -> bool:
        # What began while we looked belongs to the same change set, unless it takes for ever.
        since_s, now_s = self._unrest_since_s, self._clock.monotonic()
        return since_s is not None and now_s - since_s < LIMIT_S and (bool(self._hints) or self._work() is Work.LOCKED)

    async def _settle(self) -> None:
        if self._unrest_since_s is None:
            self._unrest_since_s = self._clock.monotonic()
        resting = Work.NONE
        while (now_s := self._clock.monotonic()) - self._unrest_since_s < LIMIT_S:
            work = self._work()
            if work is Work.LOCKED:
                self._heard_last_s, resting = now_s, Work.RELEASED
            elif work is Work.NONE:
                work = resting
            rest_s = self._heard_last_s + quiet_for(self._settings.quiet_s, len(self._hints), work) - now_s
            if rest_s <= 0:
                return
            await asyncio.sleep(_LOCK_LOOK_EVERY_S if work is Work.LOCKED else rest_s)

    async def _look(self) -> None:
        started_s = self._clock.monotonic()
        scan = started_s >= self._scan_due_s
        hints, self._hints = self._hints, set()
        self._heard.clear()
        try:
            await self._compare(None if scan else frozenset(hints))
        except BaseException:
            self._hints |= hints
            self._heard.set()
            raise
        if scan:
            now_s = self._clock.monotonic()
            every_s, rest = (_DEAF_SCAN_EVERY_S, _DEAF_SCAN_REST) if self._ears.deaf else (_SCAN_EVERY_S, _SCAN_REST)
            self._scan_due_s = now_s + max(every_s, rest * (now_s - started_s))

    async def _compare(self, hints: frozenset[str] | None) -> None:
        # A new directory is full of files that nobody heard of: it is looked at once it is listened to.
        for _ in range(_ARMING_ROUNDS):
            await self._forest.refresh(hints)
            hints = await self._ears.cover(self._forest.directories() | self._strangers.directories)
            if not hints:
                return
