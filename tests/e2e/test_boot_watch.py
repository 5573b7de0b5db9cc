"""Boots that fail: each is told within two seconds of the line or the event that shows it, with its own words."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.e2e.lab import Lab

KNOWN_WITHIN_S = 2.0


@dataclass(frozen=True)
class Failure:
    """How a rebuild failed: its events, and its exit code."""

    events: list[dict[str, Any]]
    code: int

    @property
    def error(self) -> dict[str, Any]:
        """What the user is told."""
        error: dict[str, Any] = self.events[-1]["error"]
        return error

    def seconds_since(self, shows: Callable[[dict[str, Any]], bool]) -> float:
        """From the first event that shows the failure to the boot stage's end."""
        shown = next(event for event in self.events if shows(event))
        told = next(event for event in self.events if event["type"] == "stage_finished" and event["ok"] is False)
        return when(told) - when(shown)


def when(event: dict[str, Any]) -> float:
    """An event's time in seconds."""
    return datetime.fromisoformat(event["time"]).timestamp()


def says(text: str) -> Callable[[dict[str, Any]], bool]:
    """Whether an event is a line of the console with this text."""
    return lambda event: event["type"] == "console" and text in event["line"]


def failing(lab: Lab, meanwhile: Callable[[dict[str, Any]], object] = lambda _: None) -> Failure:
    """A rebuild that fails; `meanwhile` is called with each event as it comes."""
    process = subprocess.Popen(
        [*lab.prefix, "nixvm-loop", "rebuild", "--force", "-o", "json"],
        cwd=lab.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    events = []
    for line in process.stdout:
        events.append(json.loads(line))
        meanwhile(events[-1])
    _, errors = process.communicate(timeout=60)
    assert "Traceback" not in errors, errors
    assert events[-1]["type"] == "cycle_finished", errors
    return Failure(events, process.returncode)


@pytest.fixture(scope="module")
def lab(make_lab: Callable[..., Lab]) -> Iterator[Lab]:
    """A guest that is left as it is when it fails."""
    made = make_lab()
    before = (made.folder / "nixvm-loop.toml").read_text()
    made.configure(before.replace('stop = "force"', 'stop = "force"\nrollback = false'))
    assert made.loop("create").returncode == 0
    yield made
    made.remove()


@pytest.fixture(autouse=True)
def _nothing_left(lab: Lab) -> Iterator[None]:
    yield
    assert lab.strays() == []


@pytest.mark.parametrize(
    ("edits", "shown_by", "message"),
    [
        (
            [("stage-1.sh", "for module in", 'fail "nothing works"\nfor module in')],
            "Kernel panic",
            "its kernel panicked: Attempted to kill init!",
        ),
        ([("stage-1.sh", "/modules/*; do", "/modules/*-[!v]*; do")], "No such device", "has no virtiofs"),
        (
            [("stage-1.sh", "-o ro nix-store-share", "-o ro other-share")],
            "Invalid argument",
            "it mounts the share other-share, which the domain does not have",
        ),
        (
            [("stage-1.sh", "lowerdir=/sysroot/nix/.ro-store", "lowerdir=/sysroot/nix/.none")],
            "overlayfs: failed",
            "the store's overlay could not be mounted: failed to resolve '/sysroot/nix/.none'",
        ),
        ([("stage-1.sh", '"$init"', '"$init-missing"')], "can't execute", "/init-missing does not exist"),
        ([("kernel-params.nix", '"quiet"', '"quiet" "rdinit=/missing"')], "Unable to mount root fs", "no initrd that"),
        (
            [
                (
                    "configuration.nix",
                    'startup = ""',
                    'startup = "echo You are in emergency mode >/dev/console; sleep 9"',
                )
            ],
            "You are in emergency mode",
            "systemd stopped in emergency mode",
        ),
    ],
)
def test_what_the_console_shows(lab: Lab, edits: list[tuple[str, str, str]], shown_by: str, message: str) -> None:
    """A failure that a line tells is known from that line on, whatever boot_timeout is."""
    with ExitStack() as stack:
        for edit in edits:
            stack.enter_context(lab.edited(*edit))
        failure = failing(lab)
    assert failure.code == 6
    assert failure.error["message"].startswith("the guest did not boot: ")
    assert message in failure.error["message"]
    assert failure.error["hint"]
    assert any(shown_by in line for line in failure.error["details"])
    assert failure.seconds_since(says(shown_by)) < KNOWN_WITHIN_S


def test_a_guest_that_reboots_again_and_again(lab: Lab) -> None:
    """A guest that starts anew before it came up is not waited for."""
    with lab.edited("configuration.nix", 'startup = ""', 'startup = "echo again >/dev/console; reboot -f"'):
        failure = failing(lab)
    assert failure.code == 6
    assert failure.error["message"].startswith("the guest did not boot: ")
    assert failure.seconds_since(says("reboot: Restarting system")) < KNOWN_WITHIN_S


def test_a_kernel_that_starts_twice(lab: Lab) -> None:
    """Where nothing of a restart comes from libvirt (kexec), the kernel's clock tells."""
    lines = "echo '[    9.000000] before' >/dev/console; echo '[    0.000000] Linux version 6.1' >/dev/console"
    with lab.edited("configuration.nix", 'startup = ""', f'startup = "{lines}; sleep 99"'):
        failure = failing(lab)
    assert failure.code == 6
    assert failure.error["message"].startswith("the guest did not boot: it has started anew before it came up")
    assert failure.seconds_since(says("Linux version")) < KNOWN_WITHIN_S


@pytest.mark.parametrize(
    ("files", "message", "log"),
    [
        ("{name}.pid", "the guest did not boot: the domain ended: QEMU died", ""),
        ("*-{name}-fs0-fs.pid", "the guest did not boot: the domain has lost its share: virtiofsd died", ".log:"),
    ],
)
def test_a_process_that_is_killed(lab: Lab, files: str, message: str, log: str) -> None:
    """QEMU's death and virtiofsd's are known as such, with what their logs say."""
    killed: list[float] = []

    def kill(event: dict[str, Any]) -> None:
        if event["type"] == "console" and "waiting to be killed" in event["line"]:
            (file,) = Path("/run/libvirt/qemu").glob(files.format(name=lab.name))
            os.kill(int(file.read_text()), signal.SIGKILL)
            killed.append(when(event))

    waiting = 'startup = "echo waiting to be killed >/dev/console; sleep 99"'
    with lab.edited("configuration.nix", 'startup = ""', waiting):
        failure = failing(lab, kill)
    assert failure.code == 6
    assert failure.error["message"].startswith(message)
    assert failure.error["hint"]
    assert any(log in line for line in failure.error["details"])
    assert len(killed) == 1
    assert failure.seconds_since(says("waiting to be killed")) < KNOWN_WITHIN_S


def test_an_operator_who_destroys_the_domain(lab: Lab) -> None:
    """It is told as what it is."""

    def destroy(event: dict[str, Any]) -> None:
        if event["type"] == "console" and "waiting" in event["line"]:
            lab.virsh("destroy", lab.name)

    with lab.edited("configuration.nix", 'startup = ""', 'startup = "echo waiting >/dev/console; sleep 99"'):
        failure = failing(lab, destroy)
    assert failure.code == 6
    assert "the domain was destroyed" in failure.error["message"]
    assert failure.seconds_since(says("waiting")) < KNOWN_WITHIN_S


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (("stage-2.sh", "dropbear -r", "true dropbear -r"), "the guest has booted (it announced its host key on its"),
        (("configuration.nix", 'startup = ""', 'startup = "sleep 99"'), "its console is silent"),
        (
            ("configuration.nix", 'startup = ""', 'startup = "echo busy >/dev/console; sleep 99"'),
            "its console shows no end of the boot",
        ),
    ],
)
def test_what_nothing_shows(lab: Lab, edit: tuple[str, str, str], message: str) -> None:
    """A guest that is not reached gets all of boot_timeout; then it is told how far it came, and is left up."""
    with lab.configured('boot_timeout = "60s"', 'boot_timeout = "12s"'), lab.edited(*edit):
        failure = failing(lab)
    assert failure.code == 6
    assert message in failure.error["message"]
    assert f"did not answer SSH on 127.0.0.1:{lab.port} within 12s" in failure.error["message"]
    assert failure.error["hint"]
    assert lab.domain_state() == "running"


def test_the_next_good_system_boots(lab: Lab) -> None:
    """After all that the guest comes up and is verified."""
    assert lab.cycle("--force")["verdict"] == "ok"
    assert lab.booted() == lab.toplevel()
