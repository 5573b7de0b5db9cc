"""The point of no return: before it a newer save cancels a cycle, after it the guest is never left half changed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")


class SupersededError(Exception):
    """A newer save cancelled the build."""


class Gate:
    """Runs a cycle's build, then its critical part; the loop holds the other end."""

    def __init__(self, on_passed: Callable[[], None] = lambda: None) -> None:
        self._on_passed = on_passed
        self._build: asyncio.Task[Any] | None = None
        self._critical: asyncio.Task[Any] | None = None
        self._superseded = False
        self._passed = False

    async def build(self, work: Coroutine[Any, Any, T]) -> T:
        """Run the part that a newer save may cancel.

        Raises:
            SupersededError: it did.
        """
        if self._superseded:
            work.close()
            raise SupersededError
        self._build = task = asyncio.ensure_future(work)
        try:
            result = await task
            self._passed = True
        except asyncio.CancelledError:
            if self._superseded:
                raise SupersededError from None
            raise
        finally:
            self._build = None
        self._on_passed()
        return result

    def supersede(self) -> None:
        """Cancel the build, under way or still to come; too late for one that has ended."""
        if not self._passed and (self._build is None or self._build.cancel()):
            self._superseded = True

    async def critical(self, work: Coroutine[Any, Any, T]) -> T:
        """Run the part that is finished before a cancellation is let through, unless `abort` is called."""
        self._critical = task = asyncio.ensure_future(work)
        cancelled: asyncio.CancelledError | None = None
        while not task.done():
            try:
                await asyncio.wait({task})
            except asyncio.CancelledError as error:
                cancelled = error
        self._critical = None
        if cancelled is not None:
            if not task.cancelled():
                task.exception()  # the interruption is what is told; asking marks the failure as seen
            raise cancelled
        return task.result()

    def abort(self) -> None:
        """Cancel the critical part as well: the user insists. Its clean-up is not cut short by insisting further."""
        if self._critical is not None:
            self._critical.cancel()
            self._critical = None
