"""A guest with a real systemd. Its boots are long under emulation, so each does for several questions."""

from __future__ import annotations

import json
import subprocess
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e import configs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.e2e.lab import Lab

SLOW_STOP_S = 6
KNOWN_WITHIN_S = 2.0

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(scope="module")
def lab(make_lab: Callable[..., Lab]) -> Iterator[Lab]:
    """The systemd guest; its userland is collected and put into the store now, if nobody did before."""
    made = make_lab()
    subprocess.run(["rm", "-r", made.flake], check=True)
    # Not by the world's path to the repository, which is read-only: what is collected is kept beside it.
    checkout = Path(__file__).parents[1] / "guests/systemd/checkout"
    done = subprocess.run([checkout, made.flake], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    apply = {"stop": "graceful", "stop_timeout": "60s", "boot_timeout": "150s", "rollback": False}
    made.configure(configs.made(made, memory="768MiB", vcpus=2, **apply))
    assert made.loop("create").returncode == 0
    yield made
    made.remove()


def rebuilt(lab: Lab) -> tuple[int, list[dict[str, Any]]]:
    """A rebuild's exit code and events."""
    done = lab.loop("rebuild", "--force", "-o", "json", timeout_s=350)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def when(event: dict[str, Any]) -> float:
    """An event's time in seconds."""
    return datetime.fromisoformat(event["time"]).timestamp()


def check(events: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """One check of the last look."""
    return [event for event in events if event["type"] == "check_finished" and event["check"] == name][-1]


def seconds_from_line(events: list[dict[str, Any]], text: str) -> float:
    """From the line of the console to the boot stage's end."""
    shown = next(event for event in events if event["type"] == "console" and text in event["line"])
    return when(next(event for event in events if event["type"] == "stage_finished" and not event["ok"])) - when(shown)


def test_a_first_boot_then_a_slow_shutdown_into_a_failing_unit(lab: Lab) -> None:
    """All checks hold, the key came as a credential, the guest's Nix knows what it runs; then a slow stop, a bad unit.

    The stop is waited for; the failed unit fails its check only.
    """
    lab.edit("configuration.nix", "slowStop = 0", f"slowStop = {SLOW_STOP_S}")
    code, events = rebuilt(lab)
    assert (code, events[-1]["verdict"]) == (0, "ok"), events[-1]
    assert check(events, "failed-units")["ok"] is True
    assert lab.booted() == lab.toplevel()
    assert lab.guest("systemctl is-system-running") == "running"
    assert "ssh-ed25519" in lab.guest("cat /root/.ssh/authorized_keys")
    assert "io.systemd.credential" not in lab.guest("cat /root/.ssh/authorized_keys")
    known = lab.run("nix-store", "--query", "--requisites", str(lab.toplevel())).stdout.split()
    assert len(known) > 1
    assert set(lab.guest("nix-store --query --requisites /run/current-system").split()) == set(known)
    assert "error" not in lab.guest("nix-store --verify 2>&1")
    assert "ro" in lab.guest("grep ' /nix/store ' /proc/self/mounts | tail -n 1 | cut -d ' ' -f 4").split(",")

    lab.edit("configuration.nix", "failingUnit = false", "failingUnit = true")
    lab.edit("configuration.nix", f"slowStop = {SLOW_STOP_S}", "slowStop = 0")
    code, events = rebuilt(lab)
    stopping = next(event for event in events if event["type"] == "stage_started" and event["stage"] == "domain")
    off = next(event for event in events if event["type"] == "domain_state" and event["state"] == "shut off")
    assert SLOW_STOP_S < when(off) - when(stopping) < 60
    failed = check(events, "failed-units")
    assert (code, failed["ok"], failed["required"]) == (7, False, False)
    assert "failing.service" in failed["actual"]
    assert "nixvm-loop ssh systemctl status failing.service" in failed["hint"]
    assert lab.domain_state() == "running"
    assert lab.booted() == lab.toplevel()
    lab.edit("configuration.nix", "failingUnit = true", "failingUnit = false")


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("multi-user.target", "rescue.target", "You are in rescue mode", "systemd stopped in rescue mode"),
        (
            "missingDevice = false",
            "missingDevice = true",
            "You are in emergency mode",
            "systemd stopped in emergency mode; before that, device /dev/nowhere did not appear",
        ),
    ],
)
def test_a_boot_that_systemd_gives_up(lab: Lab, old: str, new: str, line: str, message: str) -> None:
    """Rescue mode, and the emergency mode that a mount without its device leads to, are known at their first line."""
    began = time.monotonic()
    with lab.edited("configuration.nix", old, new):
        code, events = rebuilt(lab)
    assert time.monotonic() - began < 120
    assert code == 6
    error = events[-1]["error"]
    assert error["message"].startswith(f"the guest did not boot: {message}")
    assert "nixvm-loop console" in error["hint"] or "systemd.unit=" in error["hint"]
    assert seconds_from_line(events, line) < KNOWN_WITHIN_S
    assert lab.domain_state() == "running"
    # It has no power button's daemon yet.
    lab.virsh("destroy", lab.name)
