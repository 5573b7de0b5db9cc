"""`history`: the generations, and which of them is built, current, booted and last good; changes nothing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from nixvm_loop.commands.booted import ask
from nixvm_loop.events.generations import History
from nixvm_loop.generation import identity
from nixvm_loop.generation.compare import booted_one
from nixvm_loop.generation.entries import entries, problems
from nixvm_loop.generation.listing import Marks, listed
from nixvm_loop.generation.store import Generations
from nixvm_loop.interrupt import interruptible

if TYPE_CHECKING:
    from nixvm_loop.commands.booted import Booted
    from nixvm_loop.commands.call import Call


def run(call: Call) -> int:
    """Report; damaged generations and a guest that does not answer are part of the report."""
    identity.check(call.settings.state_dir, flake=call.settings.flake)
    booted = asyncio.run(interruptible(ask(call)))
    with call.sink() as sink:
        call.emitter(sink)(_history(call, booted))
    return 0


def _history(call: Call, booted: Booted) -> History:
    generations, now = Generations(call.settings.state_dir), call.clock.now()
    found = entries(generations)
    whole = [entry.generation for entry in found if entry.generation is not None]
    good, current = generations.last_good(), generations.current_number()
    marks = Marks(
        built=generations.newest_number(),
        current=current,
        booted=booted_one(whole, booted.system, booted.cmdline, current) if booted.system else None,
        runs=booted_one(whole, booted.current, None, current) if booted.current else None,
        last_good=good.number if good else None,
    )
    return History(
        built=marks.built,
        current=marks.current,
        last_good=marks.last_good,
        booted=marks.booted,
        booted_system=booted.system,
        booted_source=booted.source,
        booted_age_seconds=max(0.0, (now - booted.seen).total_seconds()) if booted.seen else None,
        booted_problem=booted.problem,
        problems=problems(generations),
        generations=listed(found, marks, now),
    )
