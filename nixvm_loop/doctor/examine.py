"""Runs all probes at once and tells their reports in the probes' order."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from nixvm_loop.doctor.probe import NotPossibleError, Report
from nixvm_loop.errors import NixvmLoopError
from nixvm_loop.model.values import ProbeOutcome

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nixvm_loop.doctor.patient import Patient
    from nixvm_loop.doctor.probe import Probe


async def examine(patient: Patient, probes: Sequence[Probe], tell: Callable[[Report], object]) -> tuple[Report, ...]:
    """Every probe's report; `tell` gets each as soon as those before it are known."""
    tasks = [asyncio.create_task(_report(patient, probe)) for probe in probes]
    try:
        reports = []
        for task in tasks:
            report = await task
            tell(report)
            reports.append(report)
        return tuple(reports)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await patient.close()


async def _report(patient: Patient, probe: Probe) -> Report:
    try:
        return Report.of(probe, await probe.look(patient))
    except NotPossibleError as error:
        return Report(probe, ProbeOutcome.NOT_POSSIBLE, str(error))
    except NixvmLoopError as error:
        return Report(probe, ProbeOutcome.NOT_POSSIBLE, error.message)


def exit_code(reports: Sequence[Report]) -> int:
    """That of the first report, in the probes' order, that has an error; else 0."""
    return next((report.exit_code for report in reports if report.exit_code), 0)
