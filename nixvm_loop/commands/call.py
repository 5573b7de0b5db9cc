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
    from collections.abc import Callable
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

    def sink(self, on_closed: Callable[[], None] | None = None) -> AbstractContextManager[Sink]:
        """The presenter that the user chose; `on_closed` is called when whoever read its output has gone."""
        return present.sink(
            self.arguments.output,
            sys.stdout,
            sys.stderr,
            self.clock,
            verbosity=self.arguments.verbosity,
            on_closed=on_closed,
        )

    def emitter(self, sink: Sink) -> Emitter:
        """The stream for this guest."""
        return Emitter((sink,), self.clock, guest=self.settings.name)

    def context(self, sink: Sink) -> Context:
        """What cycles work with; its link is to be closed.

        Raises:
            UsageError: the state directory is another flake's.
        """
        # Only commands that act on the guest pay for these imports.
        from nixvm_loop.cycle.context import Context, Link  # noqa: PLC0415
        from nixvm_loop.generation import identity  # noqa: PLC0415
        from nixvm_loop.generation.store import Generations  # noqa: PLC0415
        from nixvm_loop.journal import Journal  # noqa: PLC0415

        state_dir = self.settings.state_dir
        identity.check(state_dir, flake=self.settings.flake)
        return Context(
            self.settings,
            self.clock,
            self.emitter(sink),
            Generations(state_dir),
            Journal(state_dir),
            Link(self.settings),
        )


def stop_in_order() -> None:
    """End this process as on a request from outside; for commands that listen to signals."""
    os.kill(os.getpid(), signal.SIGTERM)
