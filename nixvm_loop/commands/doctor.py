"""`doctor`: what is wrong, where, and the fix. It changes nothing unless asked to, and then asks back."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from nixvm_loop import present
from nixvm_loop.commands.agree import agreed
from nixvm_loop.config import FILE_NAME, loads, select
from nixvm_loop.doctor import config, domain, guest, host, logs
from nixvm_loop.doctor.cures import apply
from nixvm_loop.doctor.examine import examine, exit_code
from nixvm_loop.doctor.patient import Patient
from nixvm_loop.errors import UsageError
from nixvm_loop.events.emitter import Emitter
from nixvm_loop.events.findings import Finding, ProbeFinished
from nixvm_loop.interrupt import interruptible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nixvm_loop.arguments import Arguments
    from nixvm_loop.commands.call import Call
    from nixvm_loop.doctor.probe import Cure, Probe, Report
    from nixvm_loop.events.types import Emit
    from nixvm_loop.model.clock import Clock
    from nixvm_loop.model.settings import GuestSettings

_NO_CONFIG: Final = '[guests.guest]\nflake = "."\n'
_PAGE: Final = "docs/troubleshooting.md"
_PROBES: Final = (*host.PROBES, *config.PROBES, *domain.PROBES, *guest.PROBES, *logs.PROBES)


def run(call: Call) -> int:
    """Look everywhere and tell; the exit code is that of the first error found. Raises UsageError for `--fix`."""
    with call.sink() as sink:
        reports = asyncio.run(interruptible(_examine(call.settings, call.clock, _PROBES, call.emitter(sink))))
        if call.arguments.fix:
            _fix(call, reports)
    return exit_code(reports)


def run_without_config(arguments: Arguments, error: UsageError, clock: Clock) -> int:
    """Tell what is wrong with the config and, as far as defaults do, with the host; the rest needs a config."""
    defaults = select(loads(_NO_CONFIG, Path.cwd() / FILE_NAME), None)
    with present.sink(arguments.output, sys.stdout, sys.stderr, clock) as sink:
        emit = Emitter((sink,), clock)
        of_host = asyncio.run(interruptible(_examine(defaults, clock, host.PROBES, emit)))
        reports = (*of_host, config.no_config(error))
        _tell(reports[-1], emit)
    return exit_code(reports)


async def _examine(settings: GuestSettings, clock: Clock, probes: Sequence[Probe], emit: Emit) -> tuple[Report, ...]:
    return await examine(Patient(settings, clock), probes, lambda report: _tell(report, emit))


def _tell(report: Report, emit: Emit) -> None:
    emit(ProbeFinished(report.probe.area, report.probe.name, report.outcome, report.said))
    for one in report.found:
        emit(Finding(one.id, one.severity, one.cause, one.fix, one.evidence, f"{_PAGE}#{one.id}"))


def _fix(call: Call, reports: tuple[Report, ...]) -> None:
    cures = {one.cure: one.id for report in reports for one in report.found if one.cure is not None}
    for cure, name in cures.items():
        # Between two runs of the event loop, so that Ctrl-C ends the question at once.
        if call.arguments.yes or _agreed(cure, name):
            asyncio.run(interruptible(apply(cure, call.settings, call.clock)))


def _agreed(cure: Cure, name: str) -> bool:
    if not sys.stdin.isatty():
        raise UsageError(f"doctor would {cure} ({name}), and there is nobody to ask", hint="say --yes")
    return agreed(f"{name}: {cure}?")
