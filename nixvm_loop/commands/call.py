"""A command line that was understood: arguments, the guest it means, and where events go."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from nixvm_loop import config, present
from nixvm_loop.events.emitter import Emitter
from nixvm_loop.interrupt import StopRequest
from nixvm_loop.present.stream import LineWriter, is_reader_gone, unwritable

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from nixvm_loop.arguments import Arguments
    from nixvm_loop.cycle.context import Context
    from nixvm_loop.events.emitter import Sink
    from nixvm_loop.model.clock import Clock
    from nixvm_loop.model.settings import GuestSettings

_READER_GONE: Final = "the reader of the output is gone"


@dataclass(frozen=True, slots=True)
class Call:
    """What every command gets.

    Attributes:
        stop: The wish to end in order that comes from within: the output is lost, or `q` was typed.
    """

    arguments: Arguments
    config_file: Path
    settings: GuestSettings
    clock: Clock
    stop: StopRequest = field(default_factory=StopRequest)

    def reread(self) -> GuestSettings:
        """The guest's settings as the config has them now. Raises ConfigError and UsageError."""
        return config.select(config.load(self.config_file), self.arguments.guest)

    def sink(
        self, on_lost: Callable[[OSError], None] | None = None, keys: present.Keys | None = None
    ) -> AbstractContextManager[Sink]:
        """The presenter that the user chose; `on_lost` is called when its standard output cannot be written."""
        return present.sink(
            self.arguments.output,
            sys.stdout,
            sys.stderr,
            self.clock,
            verbosity=self.arguments.verbosity,
            on_lost=on_lost,
            keys=keys,
        )

    def write(self, text: str) -> None:
        """Write a result that is no event. Raises OutputError."""
        out = LineWriter(sys.stdout)
        out.write(text)
        if out.lost is not None and not is_reader_gone(out.lost):
            raise unwritable(out.lost)

    def stop_without_reader(self, error: OSError) -> None:
        """End a cycle that nobody reads of; a disk that is full costs only its report."""
        if is_reader_gone(error):
            LineWriter(sys.stderr).line(f"nixvm-loop: {_READER_GONE}")
            self.stop.make(_READER_GONE)

    def stop_without_output(self, error: OSError) -> None:
        """End what would go on for ever without a word."""
        self.stop_without_reader(error)
        self.stop.make(unwritable(error).message)

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
