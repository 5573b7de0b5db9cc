"""`diff`: what differs from one generation to another, in Nix's words and in the files that those leave out."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from nixvm_loop.errors import GenerationError
from nixvm_loop.events.generations import Difference
from nixvm_loop.generation import identity
from nixvm_loop.generation.compare import parameters, units_and_files, usual_base
from nixvm_loop.generation.entries import UNFINISHED, entries
from nixvm_loop.generation.folder import missing_from_store
from nixvm_loop.generation.store import Generations
from nixvm_loop.interrupt import interruptible
from nixvm_loop.nix.diff import closure_difference, etc_difference

if TYPE_CHECKING:
    from nixvm_loop.commands.call import Call
    from nixvm_loop.model.values import Generation

_LIST_THEM = "nixvm-loop history lists the generations"


def run(call: Call) -> int:
    """Show it; raises GenerationError when one of the two is not there, or not whole."""
    identity.check(call.settings.state_dir, flake=call.settings.flake)
    generations = Generations(call.settings.state_dir)
    before, after = (_whole(generations, number) for number in _chosen(generations, call.arguments.generations))
    difference = asyncio.run(interruptible(_difference(before, after)))
    with call.sink() as sink:
        call.emitter(sink)(difference)
    return 0


def _chosen(generations: Generations, given: tuple[int, ...]) -> tuple[int, int]:
    match given:
        case (before, after):
            return before, after
        case (before,):
            current = generations.current_number()
            if current is None:
                raise GenerationError("no generation is current yet", hint=_LIST_THEM)
            return before, current
        case _:
            return _usual(generations)


def _usual(generations: Generations) -> tuple[int, int]:
    # A damaged one is not passed over: it is named when it is read.
    complete = [entry.number for entry in entries(generations) if entry.problem != UNFINISHED]
    good = generations.last_good()
    base = usual_base(complete, generations.current_number(), good.number if good else None)
    if base is None:
        count = "there is only one generation" if complete else "there is no generation yet"
        raise GenerationError(f"{count}: nothing to compare", hint="nixvm-loop rebuild makes one of what has changed")
    return base, complete[-1]


def _whole(generations: Generations, number: int) -> Generation:
    try:
        generation = generations.read(number)
    except GenerationError as error:
        raise GenerationError(error.message, hint=_LIST_THEM) from error
    if generation is None:
        raise GenerationError(f"there is no generation {number}", hint=_LIST_THEM)
    gone = missing_from_store(generation)
    if gone:
        raise GenerationError(
            f"generation {number} cannot be compared: {gone[0]} is gone from the store",
            hint="it was deleted by force; compare others, or build the same again: nixvm-loop rebuild",
        )
    return generation


async def _difference(before: Generation, after: Generation) -> Difference:
    closure, etc = await asyncio.gather(
        closure_difference(before.toplevel, after.toplevel), etc_difference(before.toplevel, after.toplevel)
    )
    words = parameters(before.cmdline, after.cmdline)
    units, files = units_and_files(etc.changes)
    return Difference(
        before=before.number,
        after=after.number,
        toplevel_before=str(before.toplevel),
        toplevel_after=str(after.toplevel),
        kernel_before=str(before.kernel),
        kernel_after=str(after.kernel),
        initrd_before=str(before.initrd),
        initrd_after=str(after.initrd),
        parameters_added=words.added,
        parameters_removed=words.removed,
        parameters_reordered=words.reordered,
        units=units,
        etc=files,
        etc_incomplete=etc.incomplete,
        closure=closure,
    )
