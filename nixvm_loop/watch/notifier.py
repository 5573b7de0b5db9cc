"""The thread that listens to the kernel, and hands what it hears to the event loop."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final, TypeAlias

from watchfiles import Change
from watchfiles._rust_notify import RustNotify, WatchfilesRustInternalError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable

# One look per step; watchfiles answers at the second look, so that what it says is at least one step old.
_IDLE_STEP_MS: Final = 30
_BUSY_STEP_MS: Final = 5
_BUSY_S: Final = 1.0
_IDLE_WAIT_MS: Final = 250
_LAST_WAIT_MS: Final = 60
_AT_ONCE_MS: Final = 1
_JOIN_S: Final = 2.0

Batch: TypeAlias = set[tuple[int, str]]


class Notifier:
    """Listens to directories, each for itself and not to what is below.

    Listening to whole trees would take in every ignored directory and follow links such as `result` into the store.
    """

    def __init__(
        self,
        directories: Iterable[str],
        loop: asyncio.AbstractEventLoop,
        deliver: Callable[[Batch, float], None],
        fail: Callable[[str], None],
    ) -> None:
        """Start listening. In the loop's thread, `deliver` is told what happened and how long ago at least (seconds).

        `fail` is told why nothing more will be delivered.

        Raises:
            FileNotFoundError, PermissionError: one of the directories vanished, or was closed to us, meanwhile.
            OSError, WatchfilesRustInternalError: the kernel refuses, most likely because of a limit.
        """
        # Told to ignore missing permissions, watchfiles would pass over an exhausted limit, too.
        self._notify = RustNotify(list(directories), False, False, 300, False, False)
        self._loop, self._deliver, self._fail = loop, deliver, fail
        self._stop = threading.Event()
        self._retired = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether something may still be delivered."""
        return self._thread.is_alive()

    def retire(self) -> None:
        """Stop listening once what has happened until now is delivered."""
        self._retired.set()

    def join(self) -> None:
        """Stop listening at once and wait until nothing is delivered any more. Blocks for a step or two."""
        self._stop.set()
        self._thread.join(_JOIN_S)

    def _run(self) -> None:
        busy_until = 0.0
        try:
            while not (self._stop.is_set() or self._retired.is_set()):
                busy = time.monotonic() < busy_until
                if self._listen(_BUSY_STEP_MS if busy else _IDLE_STEP_MS, _IDLE_WAIT_MS):
                    busy_until = time.monotonic() + _BUSY_S
            self._listen(_BUSY_STEP_MS, _LAST_WAIT_MS)
        except WatchfilesRustInternalError as error:
            self._call(self._fail, str(error))
        finally:
            self._notify.close()

    def _listen(self, step_ms: int, wait_ms: int) -> bool:
        heard = self._notify.watch(_AT_ONCE_MS, step_ms, wait_ms, self._stop)
        if not isinstance(heard, set):
            return False
        self._call(self._deliver, heard, step_ms / 1000)
        return True

    def _call(self, function: Callable[..., None], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            # The loop is closed: nobody is left to be told.
            self._stop.set()


def names_changed(change: int) -> bool:
    """Whether something came or went at a path, rather than being written."""
    return change != Change.modified
