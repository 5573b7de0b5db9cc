"""The live switch: the current generation in the running guest, without a boot, and the proof of it."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final, TypeVar

from nixvm_loop import guest as guest_room
from nixvm_loop import verify
from nixvm_loop.cycle import restart
from nixvm_loop.cycle.boot import connect, end_of
from nixvm_loop.cycle.definition import definition_for
from nixvm_loop.cycle.observe import Look, new_paths, observe, told
from nixvm_loop.cycle.stage import stage
from nixvm_loop.cycle.switch_result import LAST_LINES, UNITS, judge, with_failed_units
from nixvm_loop.cycle.trial import required_that_failed
from nixvm_loop.errors import (
    AccessError,
    BootError,
    GenerationError,
    GuestError,
    HostFaultError,
    OperatorStopError,
    SwitchError,
    VerificationError,
)
from nixvm_loop.events.types import Notice, SwitchLog
from nixvm_loop.model.units import format_seconds
from nixvm_loop.model.values import Action, Check, Severity, Stage, Verdict

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

    from nixvm_loop.cycle.context import Context
    from nixvm_loop.cycle.gate import Gate
    from nixvm_loop.cycle.look import Sight
    from nixvm_loop.cycle.observe import Seen
    from nixvm_loop.cycle.site import Site
    from nixvm_loop.domain.lifecycle import Lifecycle
    from nixvm_loop.events.emitter import Emitter
    from nixvm_loop.journal import CycleFolder, Log
    from nixvm_loop.model.facts import GuestFacts
    from nixvm_loop.model.values import Generation

_LEFT_OUT: Final = re.compile(r"^NOT (?:re|st).*the following.* units: .+$")
_AGAIN_S: Final = 0.25
_LOCKED_AGAIN_S: Final = 1.0
_STOP_TIMEOUT_S: Final = 10.0


@dataclass(slots=True)
class LiveSwitch:
    """One switch of one guest to one generation.

    Attributes:
        before: What the guest ran until now.
    """

    context: Context
    folder: CycleFolder
    emit: Emitter
    gate: Gate
    site: Site
    before: Sight
    stage_seconds: Mapping[str, float]

    async def run(self, generation: Generation) -> tuple[Check, ...]:
        """Flip, look at the store anew, switch, look, judge.

        Raises:
            GenerationError, DomainError: the flip failed, and was undone.
            BuildError: Nix does not tell what the system needs of the store; nothing was done.
            GuestError: the guest was lost.
            SwitchError, VerificationError: the switch, or a required check, failed.
        """
        paths = await new_paths(self.context, generation)
        # A switch that is cut short is known by this; it proves nothing, and is done over.
        about: dict[str, Any] = {"action": Action.SWITCH, "verdict": None, "switched_on": self._booted_number()}
        if self.context.generations.is_good(generation.number):
            about = {}
        self.context.generations.annotate(generation.number, about)
        self._forget_what_runs()
        try:
            switch, facts = await self.gate.critical(self._switch(generation, paths))
            seen = await self._look(generation, paths, facts)
            checks = with_failed_units(seen.checks, switch)
            about |= {"checks": [asdict(told(check)) for check in checks]}
            failure = verify.failure(required_that_failed(checks))
            if failure is not None:
                raise failure
            # What failed without being required leaves the guest up, but the cycle red: the next one tries again.
            verdict = Verdict.OK if verify.failure(checks) is None else Verdict.FAILED
            about |= {"action": Action.SWITCH, "verdict": verdict, "switched_on": self._booted_number()}
        except (OperatorStopError, HostFaultError):
            raise  # the system is not to blame
        except (GuestError, VerificationError):
            about |= {"verdict": Verdict.FAILED}
            raise
        finally:
            self._keep(generation, about)
        if checks is not seen.checks:
            self.emit(told(next(check for check in checks if check.id == UNITS)))
        self._tell_what_was_left_out(switch)
        return checks

    def _forget_what_runs(self) -> None:
        # Until the guest is looked at again: a switch that is cut short may have come to any point.
        last = self.context.journal.last_seen()
        if last is not None:
            with suppress(GenerationError):  # the look after the switch tells of a disk that is full
                self.context.journal.see(replace(last, current_system=None))

    def _booted_number(self) -> int | None:
        return None if self.before.booted is None else self.before.booted.number

    def _tell_what_was_left_out(self, switch: guest_room.Switch) -> None:
        if switch.caches_kept:
            text = "the guest's caches may not be dropped: its listings of the store may be old"
            self.emit(Notice(Severity.WARNING, text, None))
        for line in filter(_LEFT_OUT.match, switch.lines):
            self.emit(Notice(Severity.WARNING, f"switch-to-configuration: {line}", "a restart puts all of it in place"))

    async def _switch(
        self, generation: Generation, paths: tuple[str, ...]
    ) -> tuple[guest_room.Switch, GuestFacts | None]:
        hypervisor = await self.context.link.hypervisor()
        xml = await definition_for(self.context, hypervisor, self.site.domain, generation)
        with self.folder.open_log("switch.log", self.emit) as log:
            await restart.point(self.context, self.site.domain, generation, xml, self.emit)
            with stage(self.emit, self.context.clock, Stage.SWITCH):
                async with self.site.domain.lifecycle() as events:
                    switch, facts = await unless_it_ends(events, self._to_its_end(generation, paths, log))
                judge(switch)
        return switch, facts

    async def _to_its_end(
        self, generation: Generation, paths: tuple[str, ...], log: Log
    ) -> tuple[guest_room.Switch, GuestFacts | None]:
        """Begin it and follow it; where another switch is under way, such as one that was cut short, after that."""
        timeout_s, clock = self.context.settings.apply.switch_timeout_s, self.context.clock
        deadline = clock.monotonic() + timeout_s

        def tell(line: str) -> None:
            log.write(line)
            self.emit(SwitchLog(line))

        while True:
            switch = guest_room.Switch(self.context.settings.store, str(generation.toplevel), paths, tell)
            facts = await self._advance(switch, deadline, timeout_s)
            if not switch.locked or clock.monotonic() + _LOCKED_AGAIN_S > deadline:
                return switch, facts
            await asyncio.sleep(_LOCKED_AGAIN_S)

    async def _advance(self, switch: guest_room.Switch, deadline: float, timeout_s: float) -> GuestFacts | None:
        """Follow it on as many connections as it takes, since it may restart sshd or the network; what it left."""
        facts: GuestFacts | None = None
        then = guest_room.FactsRequest(self.context.settings.store, switch.paths)
        while not switch.over:
            left = deadline - self.context.clock.monotonic()
            if left <= 0:
                await self._stop(switch)
                raise SwitchError(
                    f"the switch did not end within {format_seconds(timeout_s)}, and was ended",
                    hint="the last lines say what it does; apply.switch_timeout gives it more time",
                    details=tuple(switch.lines[-LAST_LINES:]),
                )
            try:
                connection = await connect(self.context, self.site.domain, self.emit, left)
                facts = await connection.advance(switch, left, then)
            except AccessError:
                raise
            except GuestError:
                await self.context.link.drop_ssh()
                await asyncio.sleep(_AGAIN_S)
        return facts

    async def _stop(self, switch: guest_room.Switch) -> None:
        try:
            connection = await connect(self.context, self.site.domain, self.emit, _STOP_TIMEOUT_S)
            await connection.stop(switch, _STOP_TIMEOUT_S)
        except GuestError as error:
            await self.context.link.drop_ssh()
            self.emit(Notice(Severity.WARNING, f"the switch may go on in the guest: {error.message}", error.hint))

    async def _look(self, generation: Generation, paths: tuple[str, ...], facts: GuestFacts | None) -> Seen:
        with stage(self.emit, self.context.clock, Stage.VERIFY):
            live = await self.site.domain.running()
            if live is None:
                raise BootError("the domain stopped right after the switch")
            look = Look(
                Action.SWITCH,
                generation,
                live,
                paths=paths,
                switched_on=self.before.booted,
                previous_boot_id=self.before.facts.boot_id,
                settle_s=self.context.settings.apply.boot_timeout_s,
            )
            connection = await connect(self.context, self.site.domain, self.emit, look.settle_s)
            return await observe(self.context, connection, look, lambda check: self.emit(told(check)), facts)

    def _keep(self, generation: Generation, about: dict[str, Any]) -> None:
        generations = self.context.generations
        try:
            generations.annotate(generation.number, about | {"stage_seconds": dict(self.stage_seconds)})
            generations.prune(self.context.settings.keep, self._booted_number())
        except GenerationError as error:
            self.emit(Notice(Severity.WARNING, error.message, error.hint))


T = TypeVar("T")


async def unless_it_ends(events: Lifecycle, work: Coroutine[Any, Any, T]) -> T:
    """Wait for the switch, but not in a guest that has gone.

    Raises:
        BootError: it has: OperatorStopError or HostFaultError where the system is not to blame.
    """
    task = asyncio.ensure_future(work)
    ending = asyncio.ensure_future(_end(events))
    try:
        await asyncio.wait((task, ending), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ending.result()
        return task.result()
    finally:
        for one in (task, ending):
            one.cancel()
        await asyncio.gather(task, ending, return_exceptions=True)


async def _end(events: Lifecycle) -> BootError:
    async for event in events:
        error = end_of(event, f"the domain {event.words} during the switch")
        if error is not None:
            error.details = event.log
            return error
    raise AssertionError("events do not end")
