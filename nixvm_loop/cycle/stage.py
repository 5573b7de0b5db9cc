"""A stage's frame: its two events and the time between them."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from nixvm_loop.events.types import Emit, StageFinished, StageStarted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nixvm_loop.model.clock import Clock
    from nixvm_loop.model.values import Stage


@contextmanager
def stage(emit: Emit, clock: Clock, which: Stage) -> Iterator[None]:
    """Announce a stage, and how it ended."""
    emit(StageStarted(which))
    began = clock.monotonic()
    finished = False
    try:
        yield
        finished = True
    finally:
        emit(StageFinished(which, finished, clock.monotonic() - began))
