"""The live switch: the current generation in the running guest, without a boot, and the proof of it."""

from __future__ import annotations

import asyncio
import re
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from nixvm_loop import guest as guest_room
from nixvm_loop import verify
from nixvm_loop.cycle import restart
from nixvm_loop.cycle.boot import connect
from nixvm_loop.cycle.definition import definition_for
from nixvm_loop.cycle.observe import Look, new_paths, observe, told
from nixvm_loop.cycle.stage import stage
from nixvm_loop.cycle.trial import failed, required_that_failed
from nixvm_loop.errors import AccessError, BootError, GenerationError, GuestError, SwitchError, VerificationError
from nixvm_loop.events.types import Notice, SwitchLog
from nixvm_loop.model.units import format_seconds
from nixvm_loop.model.values import Action, Check, Outcome, Severity, Stage, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nixvm_loop.cycle.context import Context
    from nixvm_loop.cycle.gate import Gate
    from nixvm_loop.cycle.look import Sight
    from nixvm_loop.cycle.observe import Seen
    from nixvm_loop.cycle.site import Site
    from nixvm_loop.domain.lifecycle import Lifecycle
    from nixvm_loop.events.emitter import Emitter
    from nixvm_loop.journal import CycleFolder, Log
    from nixvm_loop.model.values import Generation

# switch-to-configuration's own, nixpkgs pkgs/by-name/sw/switch-to-configuration-ng.
_DONE: Final = 0
_UNITS_FAILED: Final = 4
_MEANINGS: Final = {
    1: "it could not begin",
    2: "the activation failed",
    100: "the system cannot be switched to live: it takes a restart",
}
_FAILED_UNITS: Final = re.compile(r"the following units failed: (?P<names>.+)")
_AGAIN_S: Final = 0.25
_SHOWN: Final = 3
_LAST_LINES: Final = 12


@dataclass(slots=True)
class LiveSwitch:
    """One switch of one guest to one generation.

    Attributes:
        before: What the guest ran until now.
        under: A digest of the circumstances, see `circumstances`.
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
        about: dict[str, Any] = {"action": Action.SWITCH}
        try:
            switch = await self.gate.critical(self._switch(generation, paths))
            seen = await self._look(generation, paths)
            checks = with_failed_units(seen.checks, failed_units(switch.lines))
            about |= {"checks": [asdict(told(check)) for check in checks]}
            failure = verify.failure(required_that_failed(checks))
            if failure is not None:
                raise failure
            about |= {"verdict": Verdict.OK, "failure": None}
        except (GuestError, VerificationError) as error:
            about |= failed(error, self.site.under)
            raise
        finally:
            self._annotate(generation, about)
        if checks is not seen.checks:
            self.emit(told(checks[-1]))
        self.context.generations.prune(self.context.settings.keep, seen.facts.booted_system)
        return checks

    async def _switch(self, generation: Generation, paths: tuple[str, ...]) -> guest_room.Switch:
        hypervisor = await self.context.link.hypervisor()
        xml = await definition_for(self.context, hypervisor, self.site.domain, generation)
        with self.folder.open_log("switch.log", self.emit) as log:
            await restart.point(self.context, self.site.domain, generation, xml, self.emit)
            with stage(self.emit, self.context.clock, Stage.SWITCH):
                switch = self._request(generation, paths, log)
                async with self.site.domain.lifecycle() as events:
                    await unless_it_ends(events, self._advance(switch))
                judge(switch)
        return switch

    def _request(self, generation: Generation, paths: tuple[str, ...], log: Log) -> guest_room.Switch:
        def tell(line: str) -> None:
            log.write(line)
            self.emit(SwitchLog(line))

        return guest_room.Switch(self.context.settings.store, str(generation.toplevel), paths, tell)

    async def _advance(self, switch: guest_room.Switch) -> None:
        """Follow it to its end, on as many connections as it takes: it may restart sshd, or the network."""
        timeout_s, clock = self.context.settings.apply.switch_timeout_s, self.context.clock
        deadline = clock.monotonic() + timeout_s
        while not switch.over:
            left = deadline - clock.monotonic()
            if left <= 0:
                raise SwitchError(
                    f"the switch did not end within {format_seconds(timeout_s)}",
                    hint="the last lines say what it does; apply.switch_timeout gives it more time",
                    details=tuple(switch.lines[-_LAST_LINES:]),
                )
            try:
                connection = await connect(self.context, self.site.domain, self.emit, left)
                await connection.advance(switch, left)
            except AccessError:
                raise
            except GuestError:
                await self.context.link.drop_ssh()
                await asyncio.sleep(_AGAIN_S)

    async def _look(self, generation: Generation, paths: tuple[str, ...]) -> Seen:
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
                previous_boot_id=self.before.glance.boot_id,
                settle_s=self.context.settings.apply.boot_timeout_s,
            )
            connection = await connect(self.context, self.site.domain, self.emit, look.settle_s)
            return await observe(self.context, connection, look, lambda check: self.emit(told(check)))

    def _annotate(self, generation: Generation, about: dict[str, Any]) -> None:
        booted = self.before.booted
        kept = {"switched_on": booted.number if booted else None, "stage_seconds": dict(self.stage_seconds)}
        try:
            self.context.generations.annotate(generation.number, about | kept)
        except GenerationError as error:
            self.emit(Notice(Severity.WARNING, error.message, error.hint))


async def unless_it_ends(events: Lifecycle, work: Any) -> None:
    """Wait for the switch, but not in a guest that has gone.

    Raises:
        BootError: it has.
    """

    async def end() -> None:
        async for event in events:
            if event.ended:
                raise BootError(f"the domain {event.words} during the switch", hint="see the cycle's switch.log")

    tasks = [asyncio.ensure_future(work), asyncio.ensure_future(end())]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def judge(switch: guest_room.Switch) -> None:
    """Raises SwitchError unless the switch was done."""
    said = tuple((switch.lines or switch.complaints)[-_LAST_LINES:])
    if switch.hidden:
        more = f" and {len(switch.hidden) - _SHOWN} more" if len(switch.hidden) > _SHOWN else ""
        kept = "its caches may not be dropped" if switch.caches_kept else "even with its caches dropped"
        raise SwitchError(
            f"the guest does not see {', '.join(switch.hidden[:_SHOWN])}{more} in its store: {kept}",
            hint="a restart makes the guest's view of the store new",
        )
    if switch.exit_status in {_DONE, _UNITS_FAILED}:
        return
    if switch.exit_status is None:
        raise SwitchError(
            "the switch ended without a result", hint="was it killed, or could it not be started?", details=said
        )
    meaning = _MEANINGS.get(switch.exit_status, "it failed")
    message = f"switch-to-configuration exited {switch.exit_status}: {meaning}"
    raise SwitchError(message, hint="the cycle's switch.log has all that it said", details=said)


def failed_units(lines: list[str]) -> tuple[str, ...]:
    """The units that switch-to-configuration named as failed."""
    found = (match for line in lines if (match := _FAILED_UNITS.search(line)) is not None)
    return tuple(name.strip() for match in found for name in match["names"].split(",") if name.strip())


def with_failed_units(checks: tuple[Check, ...], names: tuple[str, ...]) -> tuple[Check, ...]:
    """The checks, with those units told that nothing in the guest keeps a record of."""
    known = next((check for check in checks if check.id == "failed-units"), None)
    if not names or known is None or known.outcome is not Outcome.NOT_CHECKED:
        return checks
    told_by = f"failed in the switch: {', '.join(names)}"
    found = replace(known, outcome=Outcome.FAILED, actual=told_by, hint="the cycle's switch.log says why")
    return (*(check for check in checks if check is not known), found)
