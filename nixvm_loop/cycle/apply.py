"""From a built system to a guest that was seen to run it: decide, then act, then look."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from nixvm_loop.cycle import definition, restart
from nixvm_loop.cycle.boot import connect
from nixvm_loop.cycle.observe import Look, new_paths, observe, tell
from nixvm_loop.cycle.stage import stage
from nixvm_loop.decide import Seen, Wish, decide, same_system
from nixvm_loop.errors import BootError, GenerationError, GuestError
from nixvm_loop.events.types import ActionChosen, Notice
from nixvm_loop.generation import identity
from nixvm_loop.model.values import Action, Outcome, Severity, Stage, Verdict

if TYPE_CHECKING:
    from pathlib import Path

    from nixvm_loop.cycle.build import Built
    from nixvm_loop.cycle.context import Context
    from nixvm_loop.cycle.gate import Gate
    from nixvm_loop.cycle.observe import Seen as Observed
    from nixvm_loop.domain import Domain
    from nixvm_loop.events.emitter import Emitter
    from nixvm_loop.journal import CycleFolder, CycleNotes
    from nixvm_loop.model.values import Check, Decision, Generation

_LOOK_TIMEOUT_S = 5.0


@dataclass(slots=True)
class Apply:
    """What one cycle does with what it built."""

    context: Context
    folder: CycleFolder
    emit: Emitter
    built: Built
    checks: tuple[Check, ...] = ()
    _domain: Domain | None = None
    _kept: bool = False

    @property
    def number(self) -> int | None:
        """The current generation's number."""
        return self.context.generations.current_number()

    def discard_unused(self) -> None:
        """Let the slot go unless a generation was made of it."""
        if not self._kept:
            self.context.generations.discard(self.built.slot.number)
            self._kept = True

    async def decide(self, wish: Wish) -> Decision:
        """Find the domain, look at the guest if it may be left alone, and choose the action.

        Raises:
            DomainError: there is no such domain, it is not the guest's own, or does not boot its kernel directly.
            UsageError: the state directory belongs to another domain, or the domain to another guest.
        """
        domain = self._domain = await self.context.link.domain()
        settings, defined = self.context.settings, await domain.definition()
        if settings.machine is not None:
            definition.check_ours(settings, defined)
        definition.check_bootable(defined)
        identity.claim(settings.state_dir, flake=settings.flake, domain_uuid=domain.uuid)
        current = self._current()
        changes: tuple[str, ...] = ()
        if current is not None:
            changes = await definition.changes(self.context, domain, current)
            self._warn(definition.warnings(settings, defined, await self._boots(current)))
        running = await domain.state() == "running"
        trouble = None
        if current is not None and running and not changes and wish is Wish.AS_NEEDED and self._is(current):
            trouble = await self._look(domain, current)
        decision = decide(wish, self.built.artifacts, self.built.cmdline, current, Seen(running, trouble, changes))
        self.emit(ActionChosen(decision.action, decision.reasons))
        if decision.action is Action.NONE and current is not None:
            if not definition.boots(defined, await self._boots(current)):
                await restart.define(self.context, domain, current)
            for check in self.checks:
                tell(self.emit, check)
        return decision

    def _current(self) -> Generation | None:
        try:
            return self.context.generations.current()
        except GenerationError as error:
            self._warn((f"{error.message}; a new one takes its place",))
            return None

    async def _boots(self, current: Generation) -> definition.BootConfig:
        return await definition.boot_for(self.context, await self.context.link.hypervisor(), current)

    def _warn(self, texts: tuple[str, ...]) -> None:
        for text in texts:
            self.emit(Notice(Severity.WARNING, text, None))

    def _is(self, generation: Generation) -> bool:
        return same_system(self.built.artifacts, self.built.cmdline, generation)

    async def _look(self, domain: Domain, current: Generation) -> str | None:
        """Why the running guest cannot be left as it is; None when it is sound."""
        live = await domain.running()
        if live is None:
            return "the domain has just stopped"
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
                connection = await connect(self.context, domain, self.emit, _LOOK_TIMEOUT_S)
                # A guest that is restarted anyway is not reported on.
                seen = await observe(self.context, connection, look, lambda _: None)
        except GuestError as error:
            await self.context.link.drop_ssh()
            return error.message
        self.checks = seen.checks
        failed = _required_that_failed(seen.checks)
        if failed:
            return f"check {failed[0].id} failed: {failed[0].actual}"
        if not good:
            # Its own cycle was interrupted, or failed by something that has mended: now it has passed.
            self.context.generations.annotate(current.number, {"verdict": Verdict.OK})
        return None

    def generation_for(self, reason: str, changes: tuple[Path, ...]) -> Generation:
        """The generation to boot: the current one if it is what was built, else a new one."""
        current = self.context.generations.current_or_none()
        if current is not None and self._is(current):
            return current
        about: dict[str, Any] = {
            "created": self.context.clock.now().isoformat(timespec="seconds"),
            "cycle": self.folder.number,
            "reason": reason,
            "changes": [str(path) for path in changes],
            "revision": self.built.revision.rev,
            "dirty": self.built.revision.dirty,
        }
        generation = self.context.generations.write(self.built.slot, self.built.artifacts, self.built.cmdline, about)
        self._kept = True
        return generation

    async def restart(self, gate: Gate, generation: Generation, notes: CycleNotes) -> tuple[Check, ...]:
        """Flip, start, reach and look; what came of it is written into the generation.

        Raises:
            GenerationError, DomainError, GuestError: where it failed.
        """
        paths = asyncio.create_task(new_paths(self.context, generation))
        verdict: Verdict | None = None
        seen: Observed | None = None
        try:
            seen = await self._boot(gate, generation, paths)
            verdict = Verdict.FAILED if _required_that_failed(seen.checks) else Verdict.OK
        except GuestError:
            verdict = Verdict.FAILED
            raise
        finally:
            paths.cancel()
            await asyncio.gather(paths, return_exceptions=True)
            self._annotate(generation, verdict, notes)
            self._prune(seen.facts.booted_system if seen is not None else None)
        return seen.checks

    async def _boot(self, gate: Gate, generation: Generation, paths: asyncio.Task[tuple[str, ...]]) -> Observed:
        assert self._domain is not None  # noqa: S101  # decide() came first
        before = self.context.journal.last_seen()
        async with AsyncExitStack() as listeners:
            work = restart.put_to_work(
                self.context, self._domain, generation, self.folder, self.emit, listeners=listeners
            )
            boot = await gate.critical(work)
            connection = await restart.reach(self.context, boot, self.emit)
            with stage(self.emit, self.context.clock, Stage.VERIFY):
                live = await boot.domain.running()
                if live is None:
                    raise BootError("the domain stopped right after the guest had answered")
                look = Look(
                    Action.RESTART,
                    generation,
                    live,
                    paths=await paths,
                    previous_boot_id=before.boot_id if before else None,
                    started_s=boot.started_s,
                    settle_s=self.context.settings.apply.boot_timeout_s,
                )
                # A guest that panics or reboots now has not booted.
                return await boot.watch.unless_failed(observe(self.context, connection, look, partial(tell, self.emit)))

    def _annotate(self, generation: Generation, verdict: Verdict | None, notes: CycleNotes) -> None:
        # Neither an interruption nor libvirt's troubles take anything from what an earlier boot has proved.
        about = ({} if verdict is None else {"verdict": verdict}) | {
            "checks": notes.checks,
            "stage_seconds": notes.stage_seconds,
            "console": str(self.folder.path / "console.log"),
        }
        try:
            self.context.generations.annotate(generation.number, about)
        except GenerationError as error:
            self._warn((error.message,))

    def _prune(self, booted: str | None) -> None:
        try:
            self.context.generations.prune(self.context.settings.keep, booted)
        except GenerationError as error:
            self._warn((error.message,))


def _required_that_failed(checks: tuple[Check, ...]) -> list[Check]:
    return [check for check in checks if check.required and check.outcome is Outcome.FAILED]
