"""From a built system to a guest that was seen to run it: decide, act, look, and go back if it does not come up."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from nixvm_loop import domainxml
from nixvm_loop.cycle import definition, restart
from nixvm_loop.cycle import look as look_room
from nixvm_loop.cycle.look import system_of
from nixvm_loop.cycle.observe import told
from nixvm_loop.cycle.site import Site, boots, survey, warn
from nixvm_loop.cycle.switch import LiveSwitch
from nixvm_loop.cycle.trial import Trial, passed
from nixvm_loop.decide import Wish, decide, fallback, same_system, withheld
from nixvm_loop.errors import (
    BootError,
    DomainError,
    GenerationError,
    GuestError,
    NixvmLoopError,
    OperatorStopError,
    VerificationError,
)
from nixvm_loop.events.types import ActionChosen, DomainState, RolledBack
from nixvm_loop.generation import identity
from nixvm_loop.generation.folder import missing_from_store
from nixvm_loop.generation.trials import failed_trial
from nixvm_loop.model.settings import ApplyMode, StopPolicy
from nixvm_loop.model.values import Action, Decision, Generation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nixvm_loop.cycle.build import Built
    from nixvm_loop.cycle.context import Context
    from nixvm_loop.cycle.gate import Gate
    from nixvm_loop.cycle.look import Early, Looked, Sight
    from nixvm_loop.decide import Seen
    from nixvm_loop.domain import Domain
    from nixvm_loop.events.emitter import Emitter
    from nixvm_loop.generation.trials import FailedTrial
    from nixvm_loop.journal import CycleFolder
    from nixvm_loop.model.values import Check

_FORMER_DEFINITION: Final = "the domain's former definition"
_RESTART_HINT: Final = "nixvm-loop rebuild --force restarts the guest, and so does r in the live view of watch"


@dataclass(slots=True)
class Apply:
    """What one cycle does with the guest.

    Attributes:
        action: The last one taken.
        checks: Those of a guest that is left as it is.
    """

    context: Context
    folder: CycleFolder
    emit: Emitter
    gate: Gate
    stage_seconds: Mapping[str, float] = field(default_factory=dict)
    action: Action | None = None
    checks: tuple[Check, ...] = ()
    _sight: Sight | None = None

    async def survey(self) -> Site:
        """Find the domain, see whether it is one to work with, and hold the state directory to it.

        Raises:
            DomainError, UsageError, GuestError: see `site.survey`.
        """
        site = await survey(self.context, self.emit)
        settings = self.context.settings
        identity.claim(settings.state_dir, flake=settings.flake, domain_uuid=site.domain.uuid)
        return site

    async def decide(self, site: Site, built: Built, wish: Wish, early: Early | None) -> Decision:
        """Look at the guest as far as the decision needs it, choose the action, and tell it.

        Raises:
            AccessError: the guest does not let us in, which no action would change.
            GuestError, VerificationError: this very system has failed before, and nothing has changed since.
            VerificationError: a restart is due, and only the user may order it.
        """
        system = system_of(built.artifacts.toplevel, built.cmdline)
        view = await look_room.view(self.context, site, system, wish, early=early, emit=self.emit)
        seen, mode = view.seen, self.context.settings.apply.mode
        self._sight = view.sight
        decision = decide(wish, mode, system, seen)
        known = self._failed_before(site, built) if wish is Wish.AS_NEEDED else None
        if decision.action is not Action.NONE and known is not None:
            raise await self._not_again(site, known, seen)
        if withheld(wish, mode, seen, decision):
            due = "; ".join(decision.reasons)
            self._choose(Decision(Action.NONE, (f"a restart is due, and is yours to order: {due}",)))
            raise VerificationError(f"a restart is due: {due}", hint=_RESTART_HINT)
        self._choose(decision)
        if decision.action is Action.NONE and site.current is not None and view.looked is not None:
            await self._leave_alone(site, site.current, view.looked)
        return decision

    async def _leave_alone(self, site: Site, current: Generation, looked: Looked) -> None:
        if not definition.boots(site.defined, await boots(self.context, current)):
            await restart.define(self.context, site.domain, current)
        if looked.booted and not self.context.generations.is_good(current.number):
            # Its own cycle was interrupted, or failed by something that has mended: now it has passed.
            self.context.generations.annotate(current.number, passed(self.context, site.under, None))
        for check in looked.checks:
            self.emit(told(check))
        self.checks = looked.checks

    def _choose(self, decision: Decision) -> None:
        self.action = decision.action
        self.emit(ActionChosen(decision.action, decision.reasons))

    def _failed_before(self, site: Site, built: Built) -> FailedTrial | None:
        return failed_trial(self.context.generations, built.artifacts, built.cmdline, site.under)

    def generation_for(self, site: Site, built: Built, about: dict[str, Any]) -> Generation:
        """The generation to put to work: the current one if it is what was built, else a new one of the built slot.

        The newest, if it is what was built and was given up: trying again makes no further one.
        """
        generations = self.context.generations
        if site.current is not None and same_system(built.artifacts, built.cmdline, site.current):
            return site.current
        newest = generations.newest_whole()
        given_up = newest is not None and not generations.is_verified(newest.number)
        if newest is not None and given_up and same_system(built.artifacts, built.cmdline, newest):
            return newest
        return self.context.generations.write(built.slot, built.artifacts, built.cmdline, about)

    def to_revive(self, site: Site) -> int:
        """What to start a guest with that went down: the current generation, or the likeliest good one.

        Raises:
            GenerationError: there is none.
        """
        if site.current is not None and not missing_from_store(site.current):
            return site.current.number
        good = next(iter(self.context.generations.good()), None)
        if good is None:
            message = "the current generation is damaged, and no other was ever verified, so the guest stays off"
            raise GenerationError(message, hint="nixvm-loop rebuild builds a new one")
        warn(self.emit, (f"the current generation is damaged; generation {good.number} takes its place",))
        return good.number

    async def boot(self, site: Site, number: int, reason: str) -> tuple[Check, ...]:
        """Boot and verify a kept generation.

        Raises:
            GenerationError: it is not there, or not whole; and what `restart` raises.
        """
        generation = self.context.generations.read(number)
        if generation is None:
            raise GenerationError(f"there is no generation {number}", hint="nixvm-loop history shows what is kept")
        gone = missing_from_store(generation)
        if gone:
            raise GenerationError(
                f"generation {number} cannot be booted: gone from the store: {', '.join(map(str, gone))}",
                hint="nixvm-loop rebuild builds its configuration again",
            )
        self._choose(Decision(Action.RESTART, (reason,)))
        return await self.restart(site, generation)

    async def switch(self, site: Site, generation: Generation, wish: Wish) -> tuple[Check, ...]:
        """Switch the running guest to a generation and verify it; with `auto`, restart it if that does not do.

        Who wished for a switch gets no restart.

        Raises:
            GenerationError, DomainError, GuestError, VerificationError: what failed, and what was done about it.
        """
        assert self._sight is not None  # noqa: S101  # decided by it
        live = LiveSwitch(self.context, self.folder, self.emit, self.gate, site, self._sight, self.stage_seconds)
        try:
            return await live.run(generation)
        except (GuestError, VerificationError) as error:
            if isinstance(error, OperatorStopError):
                self.emit(DomainState("shut off"))
                raise
            if self.context.settings.apply.mode is not ApplyMode.AUTO or wish is Wish.SWITCH:
                raise _and_then(error, await self._flip_back(site, generation)) from error
            self._choose(Decision(Action.RESTART, (f"the switch did not do: {error.message}",)))
        return await self.restart(site, generation)

    async def _flip_back(self, site: Site, generation: Generation) -> str:
        """What was not switched to is not to be booted by a reboot either; what came of it, in words."""
        mixed = f"the guest may run parts of generation {generation.number}"
        if site.current is None or site.current.number == generation.number:
            return mixed
        try:
            await restart.point(self.context, site.domain, site.current, site.text, self.emit)
        except (GenerationError, DomainError) as second:
            return f"{mixed}, and a reboot boots it: {second.message}"
        return f"{mixed}, and generation {site.current.number} is current again"

    async def restart(self, site: Site, generation: Generation) -> tuple[Check, ...]:
        """Restart the guest with a generation and verify it; back to the last good one when that fails.

        Raises:
            GenerationError, DomainError, GuestError, VerificationError: what failed, and what was done about it.
        """
        hypervisor = await self.context.link.hypervisor()
        xml = await definition.definition_for(self.context, hypervisor, site.domain, generation)
        stop = self.context.settings.apply.stop
        trial = self._trial(site.domain, site.under, stop, "console.log", self.stage_seconds)
        try:
            return await trial.run(generation, xml)
        except OperatorStopError:
            raise
        except (GuestError, VerificationError, DomainError) as error:
            if not trial.touched or (isinstance(error, DomainError) and trial.started):
                raise  # what libvirt has troubles with once the guest runs is not the system's fault
            raise await self._fall_back(site, generation.number, error) from error

    def _trial(
        self, domain: Domain, under: str, stop: StopPolicy, log: str, stage_seconds: Mapping[str, float]
    ) -> Trial:
        return Trial(self.context, self.folder, self.emit, self.gate, domain, under, stop, log, stage_seconds)

    async def _fall_back(self, site: Site, failed: int, error: NixvmLoopError) -> NixvmLoopError:
        """Back to the last good generation, in the definition that the domain had; the error that tells all of it."""
        wanted, known = self.context.settings.apply.rollback, self.context.generations.good()
        good = fallback(failed, site.current, known, wanted=wanted, redefined=bool(site.changes))
        if isinstance(good, str):
            return _and_then(error, good)
        self.action = Action.RESTART
        self.emit(RolledBack(failed, good.number))
        # A guest that is known to hang does not hear its power button.
        stop = StopPolicy.FORCE if isinstance(error, BootError) else self.context.settings.apply.stop
        try:
            domain, boot = await self.context.link.domain(), await boots(self.context, good)
            xml = domainxml.with_boot(site.text, kernel=boot.kernel, initrd=boot.initrd, cmdline=boot.cmdline)
            under = _FORMER_DEFINITION if site.changes else site.under
            await self._trial(domain, under, stop, "rollback-console.log", {}).run(good, xml)
        except NixvmLoopError as second:
            return _and_then(
                error,
                f"generation {good.number}, the last good one, does not come up either ({second.message}), so nothing"
                " more is tried",
            )
        return _and_then(error, f"rolled back to generation {good.number}, which is verified")

    async def _not_again(self, site: Site, known: FailedTrial, seen: Seen) -> NixvmLoopError:
        error, current = known.again(), site.current
        self._choose(Decision(Action.NONE, (f"generation {known.generation}, of the same system, has failed",)))
        if seen.running and self.context.settings.apply.mode is ApplyMode.SWITCH:
            return error
        if seen.running and current is not None:
            another = current.number != known.generation or bool(site.changes)
            if another and (await look_room.look(self.context, site, current, self.emit)).trouble is None:
                return error
        return await self._fall_back(site, known.generation, error)


def _and_then(error: NixvmLoopError, what: str) -> NixvmLoopError:
    return type(error)(f"{error.message}; {what}", hint=error.hint, details=error.details)
