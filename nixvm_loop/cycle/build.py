"""The build stage: one evaluation, one toplevel, and what the domain needs read from it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nixvm_loop import nix
from nixvm_loop.cycle.stage import stage
from nixvm_loop.model.cmdline import command_line
from nixvm_loop.model.values import Stage

if TYPE_CHECKING:
    from nixvm_loop.cycle.context import Context
    from nixvm_loop.events.types import Emit
    from nixvm_loop.generation.store import Slot
    from nixvm_loop.journal import CycleFolder
    from nixvm_loop.model.values import Artifacts


@dataclass(frozen=True, slots=True)
class Built:
    """A rooted toplevel in its slot, what was read from it, and the command line it is to boot with."""

    slot: Slot
    artifacts: Artifacts
    cmdline: str
    revision: nix.Revision


async def build(context: Context, folder: CycleFolder, emit: Emit) -> Built:
    """Build the guest's system into a new slot; without success, cancelled included, the slot is gone again.

    Raises:
        BuildError: Nix did not build it, or it cannot be booted directly.
        GenerationError: the slot or the log cannot be written.
    """
    slot = context.generations.slot()
    # Asked for while Nix reads the same tree, so that it is the revision of what is built.
    asking = asyncio.create_task(nix.revision(context.settings))
    try:
        with stage(emit, context.clock, Stage.BUILD), folder.open_log("nix.log", emit) as log:
            toplevel = await nix.build(context.settings, slot.root, emit, log.write, folder.path / "nix.log")
            artifacts = nix.read_artifacts(toplevel)
        cmdline = command_line(artifacts, context.settings.apply.kernel_params)
        return Built(slot, artifacts, cmdline, await asking)
    except BaseException:
        context.generations.discard(slot.number)
        raise
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
