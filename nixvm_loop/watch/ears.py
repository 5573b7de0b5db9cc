"""Which directories are listened to, and how that keeps up with a tree that changes its shape."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Final

from watchfiles._rust_notify import WatchfilesRustInternalError

from nixvm_loop.watch.notifier import Notifier, names_changed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from nixvm_loop.watch.notifier import Batch

_ATTEMPTS: Final = 5


class Ears:
    """Hears the kernel out on a changing set of directories. Without the kernel's help it is deaf."""

    def __init__(
        self,
        deliver: Callable[[Batch, float], None],
        missed: Callable[[str], None],
        deafened: Callable[[str], None],
    ) -> None:
        """Nothing is listened to before `cover`.

        Args:
            deliver: Is told what happened, and how many seconds ago at least.
            missed: Is told why something may have been missed; the next `cover` listens again.
            deafened: Is told why, once, when the kernel does not notify us.
        """
        self._deliver, self._missed, self._deafened = deliver, missed, deafened
        self._notifier: Notifier | None = None
        self._retired: list[Notifier] = []
        self._armed: frozenset[str] = frozenset()
        self.deaf = False

    def __contains__(self, path: str) -> bool:
        return path in self._armed

    def forget(self, directories: frozenset[str]) -> None:
        """These came or went: what was heard there, and below, is not to be relied on."""
        self._armed = surviving(self._armed, directories & self._armed)

    async def cover(self, directories: Iterable[str]) -> frozenset[str]:
        """Listen to these; gives back those that were not listened to before, and exist.

        Nothing is missed in between: the new ears are open before the old ones close.
        """
        wanted = frozenset(directories)
        fresh = frozenset(path for path in wanted - self._armed if _can_be_heard(path))
        if self.deaf or not fresh:
            return frozenset()
        armed = (wanted & self._armed) | fresh
        try:
            notifier, armed = await self._listen(armed)
        except (OSError, WatchfilesRustInternalError) as error:
            self._go_deaf(str(error))
            return frozenset()
        self._retire()
        self._notifier, self._armed = notifier, armed
        return fresh

    async def close(self) -> None:
        """Stop listening; nothing is delivered afterwards."""
        self._retire()
        for notifier in self._retired:
            await asyncio.to_thread(notifier.join)
        self._retired.clear()

    async def _listen(self, directories: frozenset[str]) -> tuple[Notifier, frozenset[str]]:
        loop = asyncio.get_running_loop()
        for attempt in range(_ATTEMPTS):
            try:
                return Notifier(directories, loop, self._deliver, self._broken), directories
            except (FileNotFoundError, PermissionError):
                # One of them changed since we looked.
                if attempt == _ATTEMPTS - 1:
                    raise
                directories = frozenset(filter(_can_be_heard, directories))
        raise AssertionError

    def _broken(self, reason: str) -> None:
        # A file name that is not UTF-8 is enough.
        self._armed = frozenset()
        self._missed(reason)

    def _go_deaf(self, reason: str) -> None:
        self.deaf = True
        self._armed = frozenset()
        self._retire()
        self._deafened(reason)

    def _retire(self) -> None:
        if self._notifier is not None:
            self._notifier.retire()
            self._retired = [notifier for notifier in self._retired if notifier.alive]
            self._retired.append(self._notifier)
            self._notifier = None


def surviving(armed: frozenset[str], gone: frozenset[str]) -> frozenset[str]:
    """The directories that are neither among `gone` nor below one of them; pure."""

    def lost(path: str) -> bool:
        while path not in gone:
            above = os.path.dirname(path)
            if above == path:
                return False
            path = above
        return True

    return frozenset(path for path in armed if not lost(path)) if gone else armed


def came_or_went(batch: Batch) -> frozenset[str]:
    """The paths that were made, deleted or moved, not merely written."""
    return frozenset(path for change, path in batch if names_changed(change))


def _can_be_heard(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return os.path.isdir(path) and os.access(path, os.R_OK)
