"""A generation put to the test: into the domain, started, reached, looked at; what came of it is written into it."""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from nixvm_loop import domainxml, verify
from nixvm_loop.cycle import restart
from nixvm_loop.cycle.observe import Look, new_paths, observe, told
from nixvm_loop.cycle.stage import stage
from nixvm_loop.errors import (
    BootError,
    BuildError,
    GenerationError,
    GuestError,
    HostFaultError,
    NixvmLoopError,
    OperatorStopError,
    VerificationError,
)
from nixvm_loop.events.types import Notice
from nixvm_loop.model.settings import HostKeyPolicy
from nixvm_loop.model.values import Action, Outcome, Severity, Stage, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from nixvm_loop.cycle.context import Context
    from nixvm_loop.cycle.gate import Gate
    from nixvm_loop.cycle.observe import Seen
    from nixvm_loop.domain import Domain
    from nixvm_loop.events.emitter import Emitter
    from nixvm_loop.journal import CycleFolder
    from nixvm_loop.model.settings import StopPolicy
    from nixvm_loop.model.values import Check, Generation


@dataclass(slots=True)
class Trial:
    """One boot of one generation.

    Attributes:
        under: A digest of the circumstances, see `circumstances`.
        log: The console's log in the cycle's folder.
        stage_seconds: What the generation keeps of the cycle's times.
        stop: How the domain is stopped first.
        touched: Whether the domain was stopped or started for it.
        started: Whether the guest was let run.
    """

    context: Context
    folder: CycleFolder
    emit: Emitter
    gate: Gate
    domain: Domain
    under: str
    stop: StopPolicy
    log: str
    stage_seconds: Mapping[str, float]
    touched: bool = False
    started: bool = False

    async def run(self, generation: Generation, definition: str) -> tuple[Check, ...]:
        """Define, stop, start, reach, look, judge.

        Raises:
            GenerationError, DomainError, GuestError: where it failed.
            VerificationError: a required check failed.
        """
        paths = asyncio.create_task(self._paths(generation))
        about: dict[str, Any] = {}
        try:
            seen = await self._boot(generation, definition, paths)
            about = {"checks": [asdict(told(check)) for check in seen.checks]}
            failure = verify.failure(required_that_failed(seen.checks))
            if failure is not None:
                raise failure
            about |= self._passed(generation)
        except (OperatorStopError, HostFaultError):
            raise  # the system is not to blame
        except (GuestError, VerificationError) as error:
            about |= failed(error, self.under)
            raise
        finally:
            paths.cancel()
            await asyncio.gather(paths, return_exceptions=True)
            self._annotate(generation, about)
            self._prune(generation)
        return seen.checks

    async def _boot(self, generation: Generation, definition: str, paths: asyncio.Task[tuple[str, ...]]) -> Seen:
        before = self.context.journal.last_seen()
        async with AsyncExitStack() as listeners:
            boot = await self.gate.critical(self._start(generation, definition, listeners))
            self.started = True
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
                return await boot.watch.unless_failed(observe(self.context, connection, look, self._tell))

    async def _start(self, generation: Generation, definition: str, listeners: AsyncExitStack) -> restart.Boot:
        log = listeners.enter_context(self.folder.open_log(self.log, self.emit))
        domain = await restart.point(self.context, self.domain, generation, definition, self.emit)
        self.touched = True
        return await restart.start(self.context, domain, log, self.emit, stop=self.stop, listeners=listeners)

    async def _paths(self, generation: Generation) -> tuple[str, ...]:
        """The store paths to look for, found out while the guest boots."""
        try:
            return await new_paths(self.context, generation)
        except BuildError as error:
            if self.context.generations.is_good(generation.number):
                return ()  # it has seen them all before
            message = f"Nix does not tell what generation {generation.number} needs of the store: {error.message}"
            raise HostFaultError(message, hint=error.hint, details=error.details) from error

    def _passed(self, generation: Generation) -> dict[str, Any]:
        failure = self.context.generations.about(generation.number).get("failure")
        return passed(self.context, self.under, failure)

    def _tell(self, check: Check) -> None:
        self.emit(told(check))

    def _annotate(self, generation: Generation, about: dict[str, Any]) -> None:
        # Neither an interruption nor libvirt's troubles take anything from what an earlier boot has proved.
        kept = about | {"stage_seconds": dict(self.stage_seconds)} if self.stage_seconds else about
        try:
            self.context.generations.annotate(
                generation.number, kept | {"console": str(self.folder.path / self.log), "action": Action.RESTART}
            )
        except GenerationError as error:
            self.emit(Notice(Severity.WARNING, error.message, error.hint))

    def _prune(self, booted: Generation) -> None:
        if not self.started:
            return  # an older one may run on
        try:
            self.context.generations.prune(self.context.settings.keep, booted.number)
        except GenerationError as error:
            self.emit(Notice(Severity.WARNING, error.message, error.hint))


def required_that_failed(checks: Iterable[Check]) -> tuple[Check, ...]:
    """Those for which a generation is given up."""
    return tuple(check for check in checks if check.required and check.outcome is Outcome.FAILED)


def passed(context: Context, under: str, failure: object) -> dict[str, Any]:
    """What a generation keeps of a boot that was verified; an earlier `failure` stays if it was under others."""
    now = context.clock.now().isoformat(timespec="seconds")
    kept = failure if isinstance(failure, dict) and failure.get("under") != under else None
    return {"verdict": Verdict.OK, "verified": now, "verified_under": under, "failure": kept}


def failed(error: NixvmLoopError, under: str) -> dict[str, Any]:
    """What a generation keeps of a boot that was not: enough to know it again."""
    failure = {"exit_code": error.exit_code, "message": error.message, "under": under}
    return {"verdict": Verdict.FAILED, "failure": failure}


def circumstances(context: Context, definition: str) -> str:
    """A digest of all that is added to a system: in other circumstances, the same system may come up.

    That is the config, the host keys that are known, and a `definition` that is the user's own, less what it boots.
    """
    settings = context.settings
    about: list[object] = [
        settings.apply,
        settings.machine,
        settings.ssh,
        settings.store,
        settings.checks,
        settings.domain,
    ]
    if settings.machine is None:
        about.append(domainxml.with_boot(definition, kernel="/", initrd="/", cmdline=""))
    if settings.ssh.host_key is HostKeyPolicy.PINNED:
        about.append(context.host_keys(None).pinned)
    return hashlib.sha256(repr(about).encode()).hexdigest()[:16]
