"""From a built system to a guest that was seen to run it: decide, act, look, and go back if it does not come up."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from nixvm_loop import domainxml
from nixvm_loop import guest as guest_room
from nixvm_loop.cycle import definition, restart
from nixvm_loop.cycle.boot import connect
from nixvm_loop.cycle.observe import Look, new_paths, observe, told
from nixvm_loop.cycle.stage import stage
from nixvm_loop.cycle.trial import Trial, circumstances, passed, required_that_failed
from nixvm_loop.decide import Seen, Wish, decide, fallback, same_system
from nixvm_loop.errors import (
    AccessError,
    BootError,
    DomainError,
    GenerationError,
    GuestError,
    NixvmLoopError,
    OperatorStopError,
    VerificationError,
)
from nixvm_loop.events.types import ActionChosen, Notice, RolledBack
from nixvm_loop.generation import identity
from nixvm_loop.generation.store import missing_from_store
from nixvm_loop.generation.trials import failed_trial
from nixvm_loop.model.settings import StopPolicy
from nixvm_loop.model.values import Action, Decision, Generation, Severity, Stage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nixvm_loop.cycle.build import Built
    from nixvm_loop.cycle.context import Context
    from nixvm_loop.cycle.gate import Gate
    from nixvm_loop.domain import Domain
    from nixvm_loop.domainxml import DomainXml
    from nixvm_loop.events.emitter import Emitter
    from nixvm_loop.generation.trials import FailedTrial
    from nixvm_loop.journal import CycleFolder
    from nixvm_loop.model.values import Check

_LOOK_TIMEOUT_S: Final = 5.0
_FORMER_DEFINITION: Final = "the domain's former definition"


@dataclass(frozen=True, slots=True)
class Site:
    """The guest's domain as a cycle finds it.

    Attributes:
        text: Its definition, to go back to.
        under: A digest of what is added to a system, see `circumstances`.
        changes: What the config asks of it that the definition does not have, in words.
    """

    domain: Domain
    text: str
    defined: DomainXml
    current: Generation | None
    changes: tuple[str, ...]
    under: str


@dataclass(slots=True)
class Apply:
    """What one cycle does with the guest.

    Attributes:
        action: The last one taken.
    """

    context: Context
    folder: CycleFolder
    emit: Emitter
    gate: Gate
    stage_seconds: Mapping[str, float] = field(default_factory=dict)
    action: Action | None = None

    async def survey(self) -> Site:
        """Find the domain and see whether it is one to work with.

        Raises:
            DomainError: there is no such domain, it is not the guest's own, or does not boot its kernel directly.
            UsageError: the state directory belongs to another domain, or the domain to another guest.
            GuestError: the configured SSH key cannot be used, which no restart would mend.
        """
        if self.context.settings.ssh.key is not None:
            await asyncio.to_thread(guest_room.private_key, self.context.key)
        domain = await self.context.link.domain()
        settings = self.context.settings
        text = await domain.definition_text()
        defined = domainxml.read(text)
        if settings.machine is not None:
            definition.check_ours(settings, defined)
        definition.check_bootable(defined)
        identity.claim(settings.state_dir, flake=settings.flake, domain_uuid=domain.uuid)
        current = self._current()
        changes: tuple[str, ...] = ()
        if current is not None:
            changes = await definition.changes(self.context, domain, current)
            self._warn(definition.warnings(settings, defined, await self._boots(current)))
        return Site(domain, text, defined, current, changes, circumstances(self.context, text))

    async def decide(self, site: Site, built: Built, wish: Wish) -> tuple[Decision, tuple[Check, ...]]:
        """Look at the guest if it may be left alone, and choose the action; with what was seen, when that is none.

        Raises:
            GuestError, VerificationError: this very system has failed before, and nothing has changed since.
        """
        running = await site.domain.state() == "running"
        trouble: str | None = None
        checks: tuple[Check, ...] = ()
        current, may_stay = site.current, running and not site.changes and wish is Wish.AS_NEEDED
        if may_stay and current is not None and same_system(built.artifacts, built.cmdline, current):
            trouble, checks = await self._look(site, current)
        seen = Seen(running, trouble, site.changes)
        decision = decide(wish, built.artifacts, built.cmdline, site.current, seen)
        known = self._failed_before(site, built) if wish is Wish.AS_NEEDED else None
        if decision.action is not Action.NONE and known is not None:
            raise await self._not_again(site, known, running=running)
        self._choose(decision)
        if decision.action is Action.NONE and site.current is not None:
            if not definition.boots(site.defined, await self._boots(site.current)):
                await restart.define(self.context, site.domain, site.current)
            for check in checks:
                self.emit(told(check))
        return decision, checks

    def _choose(self, decision: Decision) -> None:
        self.action = decision.action
        self.emit(ActionChosen(decision.action, decision.reasons))

    def _failed_before(self, site: Site, built: Built) -> FailedTrial | None:
        return failed_trial(self.context.generations, built.artifacts, built.cmdline, site.under)

    def _current(self) -> Generation | None:
        try:
            return self.context.generations.current()
        except GenerationError as error:
            self._warn((error.message,))
            return None

    async def _boots(self, current: Generation) -> definition.BootConfig:
        return await definition.boot_for(self.context, await self.context.link.hypervisor(), current)

    def _warn(self, texts: tuple[str, ...]) -> None:
        for text in texts:
            self.emit(Notice(Severity.WARNING, text, None))

    async def _look(self, site: Site, current: Generation) -> tuple[str | None, tuple[Check, ...]]:
        """Why the running guest cannot be left as it is, None when it is sound; and the checks.

        Raises:
            AccessError: it does not let us in, and would not after a restart.
        """
        live = await site.domain.running()
        if live is None:
            return "the domain has just stopped", ()
        good = self.context.generations.is_good(current.number)
        look = Look(
            Action.NONE,
            current,
            live,
            paths=() if good else await new_paths(self.context, current),
            settle_s=self.context.settings.apply.boot_timeout_s,
        )
        try:
            with stage(self.emit, self.context.clock, Stage.VERIFY):
                connection = await connect(self.context, site.domain, self.emit, _LOOK_TIMEOUT_S)
                # A guest that is restarted anyway is not reported on.
                seen = await observe(self.context, connection, look, lambda _: None)
        except AccessError:
            raise
        except GuestError as error:
            await self.context.link.drop_ssh()
            return error.message, ()
        failed = required_that_failed(seen.checks)
        if failed:
            return f"check {failed[0].id} failed: {failed[0].actual}", seen.checks
        if not good:
            # Its own cycle was interrupted, or failed by something that has mended: now it has passed.
            self.context.generations.annotate(current.number, passed(self.context, site.under, None))
        return None, seen.checks

    def generation_for(self, site: Site, built: Built, about: dict[str, Any]) -> Generation:
        """The generation to boot: the current one if it is what was built, else a new one of the built slot."""
        if site.current is not None and same_system(built.artifacts, built.cmdline, site.current):
            return site.current
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
        self._warn((f"the current generation is damaged; generation {good.number} takes its place",))
        return good.number

    async def boot(self, site: Site, number: int, reason: str) -> tuple[Check, ...]:
        """Boot and verify a kept generation.

        Raises:
            GenerationError: it is not there, or not whole; and what `put_to_work` raises.
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
        return await self.put_to_work(site, generation)

    async def put_to_work(self, site: Site, generation: Generation) -> tuple[Check, ...]:
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
            domain, boot = await self.context.link.domain(), await self._boots(good)
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

    async def _not_again(self, site: Site, known: FailedTrial, *, running: bool) -> NixvmLoopError:
        error, current = known.again(), site.current
        self._choose(Decision(Action.NONE, (f"generation {known.generation}, of the same system, has failed",)))
        if running and current is not None:
            another = current.number != known.generation or bool(site.changes)
            if another and (await self._look(site, current))[0] is None:
                return error
        return await self._fall_back(site, known.generation, error)


def _and_then(error: NixvmLoopError, what: str) -> NixvmLoopError:
    return type(error)(f"{error.message}; {what}", hint=error.hint, details=error.details)
