"""A `watch` without a guest: it serves orders with cycles that are only events, as a test has them."""

from __future__ import annotations

import asyncio
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from nixvm_loop import config, control
from nixvm_loop.control.fan import Fan
from nixvm_loop.control.server import serve
from nixvm_loop.decide import Wish
from nixvm_loop.events import types as ev
from nixvm_loop.events.emitter import Emitter
from nixvm_loop.model.clock import SystemClock
from nixvm_loop.model.settings import GuestSettings
from nixvm_loop.model.values import Action, Stage, Verdict

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from nixvm_loop.control import Rebuild, Rollback
    from nixvm_loop.errors import NixvmLoopError


def settings_for(state_dir: Path) -> GuestSettings:
    """A guest that nobody ever builds."""
    return GuestSettings("demo", "/flake", Path("/flake"), "nixosConfigurations.demo", "demo", "test:///", state_dir)


def finished(exit_code: int = 0, error: ev.ErrorInfo | None = None, verdict: Verdict = Verdict.OK) -> ev.CycleFinished:
    """A cycle's end."""
    return ev.CycleFinished(verdict, Action.RESTART, 4, 1.5, exit_code, error)


SUPERSEDED = ev.CycleFinished(Verdict.CANCELLED, None, None, 0.1, 130, None)


@dataclass
class Desk:
    """Takes orders and remembers them; the test plays the cycles."""

    fan: Fan = field(default_factory=Fan)
    taken: asyncio.Queue[tuple[int, Rebuild | Rollback]] = field(default_factory=asyncio.Queue)
    refusal: NixvmLoopError | None = None
    told: list[ev.Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.emit = Emitter((self.fan,), SystemClock(), guest="demo")

    def order(self, ticket: int, request: Rebuild | Rollback) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.taken.put_nowait((ticket, request))

    @asynccontextmanager
    async def serving(self, guest: Path | GuestSettings) -> AsyncIterator[Desk]:
        settings = settings_for(guest) if isinstance(guest, Path) else guest
        async with serve(settings, self.fan, self.order, self.told.append):
            yield self

    def play(self, cycle: int, *events: ev.Event) -> None:
        emit = self.emit.bound(cycle=cycle)
        for event in (ev.CycleStarted("asked for"), *events):
            emit(event)


async def main(guest: Path | GuestSettings, delay_s: float) -> None:
    """A process that serves each order by a cycle that boots for `delay_s`."""
    desk = Desk()
    async with desk.serving(guest):
        print("serving", flush=True)  # noqa: T201  # the test waits for it
        while True:
            ticket, order = await desk.taken.get()
            desk.fan.begin([ticket])
            desk.play(7, ev.StageStarted(Stage.BOOT), ev.Console("Linux version 6.12"))
            await asyncio.sleep(delay_s)
            failing = order == control.Rebuild(Wish.RESTART)
            error = ev.ErrorInfo("the guest did not boot: kernel panic", "look", ("panic",)) if failing else None
            desk.emit.bound(cycle=7)(finished(6, error, Verdict.FAILED) if failing else finished())


if __name__ == "__main__":
    given = Path(sys.argv[1])
    known = config.load(given).guests["demo"] if given.suffix == ".toml" else given
    asyncio.run(main(known, float(sys.argv[2])))
