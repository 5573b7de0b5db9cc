"""A command line that was understood: arguments, the guest it means, and where events go."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nixvm_loop import present
from nixvm_loop.events.emitter import Emitter

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from nixvm_loop.arguments import Arguments
    from nixvm_loop.cycle.context import Context
    from nixvm_loop.events.emitter import Sink
    from nixvm_loop.model.clock import Clock
    from nixvm_loop.model.settings import GuestSettings


@dataclass(frozen=True, slots=True)
class Call:
    """What every command gets."""

    arguments: Arguments
    settings: GuestSettings
    clock: Clock

    def sink(self) -> AbstractContextManager[Sink]:
        """The presenter that the user chose."""
        return present.sink(
            self.arguments.output,
            sys.stdout,
            sys.stderr,
            self.clock,
            verbosity=self.arguments.verbosity,
            on_closed=_stop,
        )

    def emitter(self, sink: Sink) -> Emitter:
        """The stream for this guest."""
        return Emitter((sink,), self.clock, guest=self.settings.name)

    def context(self, sink: Sink) -> Context:
        """What cycles work with; its link is to be closed."""
        # Only commands that act on the guest pay for these imports.
        from nixvm_loop.cycle.context import Context, Link  # noqa: PLC0415
        from nixvm_loop.generation.store import Generations  # noqa: PLC0415
        from nixvm_loop.journal import Journal  # noqa: PLC0415

        state_dir = self.settings.state_dir
        return Context(
            self.settings,
            self.clock,
            self.emitter(sink),
            Generations(state_dir),
            Journal(state_dir),
            Link(self.settings),
        )


def _stop() -> None:
    # Nobody reads any more: end as on the same request from outside, in order and with nothing left behind.
    os.kill(os.getpid(), signal.SIGTERM)
