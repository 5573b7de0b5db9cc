"""Shows events: a live view on terminals, lines for editors and pipes, NDJSON for programs."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from nixvm_loop.present.choice import Output, Verbosity
from nixvm_loop.present.stream import LineWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nixvm_loop.events.emitter import Sink
    from nixvm_loop.model.clock import Clock

__all__ = ["Output", "Verbosity", "resolve", "sink"]

_TERMINALS_WITHOUT_CURSOR = frozenset({"dumb", "unknown"})


def resolve(output: Output, stdout: TextIO) -> Output:
    """What `auto` stands for on this stdout; without a terminal there is no live view either."""
    if output in {Output.PLAIN, Output.JSON}:
        return output
    plain = os.environ.get("TERM", "dumb") in _TERMINALS_WITHOUT_CURSOR or not stdout.isatty()
    return Output.PLAIN if plain else Output.LIVE


@contextmanager
def sink(
    output: Output,
    stdout: TextIO,
    stderr: TextIO,
    clock: Clock,
    *,
    verbosity: Verbosity = Verbosity.NORMAL,
    on_closed: Callable[[], None] | None = None,
) -> Iterator[Sink]:
    """The listener that shows events in the form asked for; the terminal is restored at the end.

    Only in a loop (after `loop_started`) does it show a failed cycle's error; else that is left to the command line.
    Checks outside a cycle and `status` are results and go to stdout. `on_closed` is called once if whoever reads
    stdout has gone; the sink itself is silent from then on.
    """
    chosen = resolve(output, stdout)
    if chosen is Output.JSON:
        from nixvm_loop.present.jsonl import JsonSink  # noqa: PLC0415  # each output loads only what it needs

        yield JsonSink(LineWriter(stdout, on_closed))
    elif chosen is Output.PLAIN:
        from nixvm_loop.present.plain import PlainSink  # noqa: PLC0415  # as above

        yield PlainSink(LineWriter(stdout, on_closed), LineWriter(stderr), verbosity)
    else:
        from nixvm_loop.present.live import LiveSink  # noqa: PLC0415  # as above

        with LiveSink(stdout, clock, verbosity, on_closed) as live:
            yield live
