from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from nixvm_loop.doctor.logs import judge_log, judge_record, last_run
from nixvm_loop.model.values import Action, CycleRecord, Severity, Verdict
from nixvm_loop.signatures import Source

CONSOLES = Path(__file__).parents[1] / "fixtures/console"
REFUSALS = Path(__file__).parents[1] / "fixtures/refusals"
FAILED = CycleRecord(
    cycle=7,
    started=datetime(2026, 11, 23, tzinfo=UTC),
    seconds=1.0,
    verdict=Verdict.FAILED,
    action=Action.RESTART,
    generation=3,
    exit_code=6,
    error=None,
)
QEMU_LOG = """\
2026-11-23 18:37:38.917+0000: starting up libvirt version: 9.0.0, package: 9.0.0-4+deb12u2
qemu: could not open kernel file '/k': No such file or directory
2026-11-23 18:37:39.001+0000: shutting down, reason=failed
2026-11-23 18:38:38.917+0000: starting up libvirt version: 9.0.0, package: 9.0.0-4+deb12u2
char device redirected to /dev/pts/4 (label charserial0)
"""


def console(name: str) -> list[str]:
    """The lines of a recorded console."""
    return (CONSOLES / f"{name}.log").read_text(errors="replace").splitlines()


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("mini-no-virtiofs", "no-virtiofs"),
        ("mini-wrong-tag", "no-share"),
        ("mini-overlay", "overlay-failed"),
        ("mini-panic", "kernel-panic"),
        ("systemd-missing-device", "device-missing"),
        ("systemd-mount-failed", "mount-failed"),
    ],
)
def test_recorded_consoles(name: str, wanted: str) -> None:
    """The cause is found rather than what follows from it, with the line and the file that show it."""
    (found,) = judge_log(Path("/state/console.log"), Source.CONSOLE, console(name), Severity.ERROR)
    assert found.id == wanted
    assert found.evidence.startswith("/state/console.log: ")


@pytest.mark.parametrize("name", ["mini-healthy-loud", "systemd-healthy-loud", "systemd-failing-unit"])
def test_healthy_consoles(name: str) -> None:
    """A boot that went well holds no finding."""
    assert judge_log(Path("x"), Source.CONSOLE, console(name), Severity.ERROR) == ()


def test_a_cycles_own_word() -> None:
    """An error that a signature knows has its name, any other one is told as it is, with where its logs are."""
    folder = Path("/state/cycles/7")
    taken = "starting domain demo failed: Could not set up host forwarding rule 'tcp:127.0.0.1:2222-:22'"
    assert judge_record(replace(FAILED, error=taken), folder).id == "port-in-use"
    untracked = "/g/flake.nix:1:1: guest.nix is not tracked by git, so Nix does not see it"
    assert judge_record(replace(FAILED, error=untracked), folder).id == "untracked-file"
    found = judge_record(replace(FAILED, error="something new"), folder)
    assert (found.id, found.evidence) == ("cycle-failed", "cycle 7: something new")
    assert str(folder) in found.fix


def test_only_the_last_run_counts() -> None:
    """What QEMU said in an earlier run is history."""
    assert judge_log(Path("x"), Source.LIBVIRT, QEMU_LOG.splitlines(), Severity.WARNING)[0].id == "no-boot-file"
    assert judge_log(Path("x"), Source.LIBVIRT, last_run(QEMU_LOG), Severity.WARNING) == ()
    failed, well = ((REFUSALS / f"virtiofsd/{name}.log").read_text() for name in ("virtiofsd-sandbox", "success"))
    assert (
        judge_log(Path("x"), Source.VIRTIOFSD, last_run(well + failed), Severity.WARNING)[0].id == "virtiofsd-sandbox"
    )
    assert judge_log(Path("x"), Source.VIRTIOFSD, last_run(failed + well), Severity.WARNING) == ()
