"""What a cycle would do, and why: a build and a look, after which everything is as it was."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nixvm_loop import nix
from nixvm_loop.cycle.look import system_of, view
from nixvm_loop.cycle.site import survey
from nixvm_loop.cycle.stage import stage
from nixvm_loop.decide import Wish, decide, fallback, withheld
from nixvm_loop.events.types import ActionChosen
from nixvm_loop.generation import identity
from nixvm_loop.generation.trials import failed_trial
from nixvm_loop.model.cmdline import command_line
from nixvm_loop.model.values import Action, Decision, Stage

if TYPE_CHECKING:
    from nixvm_loop.cycle.context import Context
    from nixvm_loop.cycle.site import Site
    from nixvm_loop.decide import Seen
    from nixvm_loop.generation.trials import FailedTrial

_YOURS: Final = "apply.mode leaves a restart to you"


def _not_again(context: Context, site: Site, seen: Seen, known: FailedTrial) -> Decision:
    """What a cycle does with a system that is known to fail: it leaves the guest alone, or goes back if that is off."""
    apply, said = context.settings.apply, known.again().message
    good = fallback(
        known.generation, site.current, context.generations.good(), wanted=apply.rollback, redefined=bool(site.changes)
    )
    if seen.running or isinstance(good, str):
        return Decision(Action.NONE, (said,))
    return Decision(Action.RESTART, (said, f"generation {good.number} is booted instead"))


async def plan(context: Context, wish: Wish) -> Decision:
    """Build, without keeping it, and decide; the action and its reasons are told as `action_chosen`.

    Raises:
        UsageError, BuildError, DomainError, GuestError: what a cycle would raise before it acts.
    """
    settings, emit = context.settings, context.emitter
    identity.check(settings.state_dir, flake=settings.flake)
    # The root lasts as long as the question does.
    with tempfile.TemporaryDirectory(prefix="nixvm-loop-plan-") as folder:
        with stage(emit, context.clock, Stage.BUILD):
            toplevel = await nix.build(settings, Path(folder) / "toplevel", emit, lambda _: None)
            artifacts = nix.read_artifacts(toplevel)
        built = system_of(toplevel, command_line(artifacts, settings.apply.kernel_params))
        site = await survey(context, emit)
        seen = (await view(context, site, built, wish, early=None, emit=emit)).seen
        known = failed_trial(context.generations, artifacts, built.cmdline, site.under)
    decision = decide(wish, settings.apply.mode, built, seen)
    if known is not None and wish is Wish.AS_NEEDED and decision.action is not Action.NONE:
        decision = _not_again(context, site, seen, known)
    elif withheld(wish, settings.apply.mode, seen, decision):
        decision = replace(decision, reasons=(*decision.reasons, _YOURS))
    emit(ActionChosen(decision.action, decision.reasons))
    return decision
