"""Shows events: a live view on terminals, lines for editors and pipes, NDJSON for programs."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from nixvm_loop.present.choice import Output, Verbosity
from nixvm_loop.present.stream import LineWriter, is_reader_gone, unwritable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from nixvm_loop.events.emitter import Sink
    from nixvm_loop.model.clock import Clock

__all__ = ["Keys", "Output", "Verbosity", "resolve", "sink"]

_TERMINALS_WITHOUT_CURSOR = frozenset({"dumb", "unknown"})


@dataclass(frozen=True, slots=True)
class Keys:
    """What is typed into `stdin` while a live view is shown: `on_key` gets each key, as the character it is."""

    stdin: TextIO
    on_key: Callable[[str], None]


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
    on_lost: Callable[[OSError], None] | None = None,
    keys: Keys | None = None,
) -> Iterator[Sink]:
    """The listener that shows events in the form asked for; the terminal is restored at the end.

    Only in a loop (after `loop_started`) does it show a failed cycle's error; else that is left to the command line.
    Checks outside a cycle and `status` are results and go to stdout. `on_lost` is called once if stdout cannot be
    written, because whoever read it has gone or its disk is full, say; the sink is silent on it from then on. That
    stderr cannot be written is nobody's business.

    Raises:
        OutputError: at the end, when stdout could not be written, and not because its reader had gone; in a group with
            what else ended the block.
    """
    out = LineWriter(stdout, on_lost)
    chosen = resolve(output, stdout)
    with _complete(out):
        if chosen is Output.JSON:
            from nixvm_loop.present.jsonl import JsonSink  # noqa: PLC0415  # each output loads only what it needs

            yield JsonSink(out)
        elif chosen is Output.PLAIN:
            from nixvm_loop.present.plain import PlainSink  # noqa: PLC0415  # as above

            yield PlainSink(out, LineWriter(stderr), verbosity)
        else:
            from nixvm_loop.present.live import LiveSink  # noqa: PLC0415  # as above

            with LiveSink(stdout, out, clock, verbosity, keys) as live:
                yield live


@contextmanager
def _complete(out: LineWriter) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        if out.lost is None or is_reader_gone(out.lost):
            raise
        raise BaseExceptionGroup("the output is not complete either", [error, unwritable(out.lost)]) from None
    if out.lost is not None and not is_reader_gone(out.lost):
        raise unwritable(out.lost)
