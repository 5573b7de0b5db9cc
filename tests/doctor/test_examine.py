from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

from nixvm_loop.doctor.asked import Asked
from nixvm_loop.doctor.examine import examine, exit_code
from nixvm_loop.doctor.patient import Patient
from nixvm_loop.doctor.probe import Answer, Found, NotPossibleError, Probe, Report
from nixvm_loop.errors import DomainError
from nixvm_loop.model.clock import SystemClock
from nixvm_loop.model.settings import GuestSettings
from nixvm_loop.model.values import Area, ProbeOutcome, Severity

if TYPE_CHECKING:
    from pathlib import Path

ERROR = Found("a", Severity.ERROR, "seen", "cause", "fix")
WARNING = Found("b", Severity.WARNING, "seen", "cause", "fix")


@pytest.fixture
def settings(tmp_path: Path) -> GuestSettings:
    """A guest of libvirt's own test driver."""
    return GuestSettings(
        name="demo",
        flake=str(tmp_path),
        flake_dir=tmp_path,
        attribute="nixosConfigurations.demo",
        domain="test",
        libvirt_uri="test:///default",
        state_dir=tmp_path / "state",
    )


async def _well(_: Patient) -> Answer:
    await asyncio.sleep(0.05)
    return Answer("fine")


async def _ill(_: Patient) -> Answer:
    return Answer("ill", (WARNING, ERROR))


async def _away(_: Patient) -> Answer:
    raise NotPossibleError("it is off")


async def _refused(_: Patient) -> Answer:
    raise DomainError("libvirt refused")


def probe(look: object, code: int = 5) -> Probe:
    """A probe of the host."""
    return Probe(Area.HOST, getattr(look, "__name__", ""), look, code)  # type: ignore[arg-type]  # it is a Look


async def test_reports_come_in_order(settings: GuestSettings) -> None:
    """A slow probe's report comes before those of the faster ones after it; what fails is told as not possible."""
    told: list[Report] = []
    probes = [probe(look) for look in (_well, _ill, _away, _refused)]
    reports = await examine(Patient(settings, SystemClock()), probes, told.append)
    assert tuple(told) == reports
    assert [(report.outcome, report.said) for report in reports] == [
        (ProbeOutcome.OK, "fine"),
        (ProbeOutcome.FINDING, "ill"),
        (ProbeOutcome.NOT_POSSIBLE, "it is off"),
        (ProbeOutcome.NOT_POSSIBLE, "libvirt refused"),
    ]


def test_exit_codes() -> None:
    """That of the first error in the probes' order, or the answer's own; warnings have none."""
    warned = Report.of(probe(_well, 2), Answer("", (WARNING,)))
    failed = [Report.of(probe(_ill, code), Answer("", (ERROR,))) for code in (5, 7)]
    assert exit_code([warned]) == 0
    assert exit_code([warned, *failed]) == 5
    assert exit_code([]) == 0
    assert exit_code([Report.of(probe(_ill, 5), Answer("", (ERROR,), exit_code=3))]) == 3


async def test_a_question_is_asked_once_and_not_for_long() -> None:
    """All who wait for it hear after the same short time that there was no answer, and who did not give it."""
    asked, calls = Asked(), 0

    async def hang() -> None:
        nonlocal calls
        calls += 1
        await asyncio.sleep(60)

    began = time.monotonic()
    waits = [asked.once("x", "libvirt", hang, 0.1) for _ in range(3)]
    ends = await asyncio.gather(*waits, return_exceptions=True)
    assert [str(end) for end in ends] == ["libvirt did not answer within 0.1s"] * 3
    assert all(isinstance(end, NotPossibleError) for end in ends)
    assert calls == 1
    assert time.monotonic() - began < 2
    await asked.close()


async def test_a_guest_that_is_not_there(settings: GuestSettings) -> None:
    """A domain that runs but has no generation of ours, and one that libvirt does not have, are said to be that."""
    patient = Patient(settings, SystemClock())
    domain = await patient.domain()
    assert domain is not None
    assert domain.state == "running"
    with pytest.raises(NotPossibleError, match="there is no generation yet"):
        patient.generation()
    await patient.close()
