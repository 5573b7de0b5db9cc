"""Questions that several probes have in common: asked once, and never waited for beyond their time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from nixvm_loop.doctor.probe import NotPossibleError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")


class Asked:
    """The questions of one examination, whose patience is counted from its start."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._started = self._loop.time()
        self._tasks: dict[str, asyncio.Task[Any]] = {}

    async def once(self, key: str, who: str, make: Callable[[], Coroutine[Any, Any, T]], until_s: float) -> T:
        """The answer to the question `key`, which only the first caller asks.

        Raises:
            NotPossibleError: `who` had not answered `until_s` after the start.
        """
        task = self._tasks.get(key)
        if task is None:
            task = self._tasks[key] = asyncio.create_task(self._bounded(who, make(), until_s))
        return await asyncio.shield(task)

    async def _bounded(self, who: str, question: Coroutine[Any, Any, T], until_s: float) -> T:
        patience = asyncio.timeout_at(self._started + until_s)
        try:
            async with patience:
                return await question
        except TimeoutError as error:
            if not patience.expired():
                raise
            raise NotPossibleError(f"{who} did not answer within {until_s:g}s") from error

    async def close(self) -> None:
        """Ask no further."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
