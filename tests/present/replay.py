"""Plays a recording (`-o json`) or the scripted run in real time, to look at a presenter."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from nixvm_loop.events.codec import decode
from nixvm_loop.model.clock import SystemClock
from nixvm_loop.present import Output, Verbosity, sink
from tests.present import scenario


async def play() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("file", nargs="?", type=Path)
    parser.add_argument("--output", type=Output, default=Output.AUTO)
    parser.add_argument("--speed", type=float, default=1.0)
    parser.add_argument("--stay", type=float, default=0.0, help="seconds to idle before the last event")
    parser.add_argument("-v", "--verbose", action="store_const", const=Verbosity.VERBOSE, default=Verbosity.NORMAL)
    arguments = parser.parse_args()
    events = scenario.whole_run()
    if arguments.file is not None:
        events = [decode(line) for line in arguments.file.read_text().splitlines()]
    clock = SystemClock()
    shift = clock.now() - events[0].time
    with sink(arguments.output, sys.stdout, sys.stderr, clock, verbosity=arguments.verbose) as presenter:
        for event in events:
            time = event.time + shift
            wait_s = (time - clock.now()).total_seconds() / arguments.speed
            if event is events[-1]:
                wait_s += arguments.stay
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            shift += clock.now() - (event.time + shift)
            presenter.handle(type(event)(event.seq, clock.now(), event.guest, event.cycle, event.event))


if __name__ == "__main__":
    asyncio.run(play())
