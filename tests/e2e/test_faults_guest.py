"""What a guest may do instead of answering: each is told soon, and the next good save recovers."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import asyncssh
import pytest

from tests.e2e.lab import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from tests.e2e.lab import Lab

CHECKS = """
[[guests.{name}.checks]]
name = "has-a-shell"
command = "test -x /bin/sh"

[[guests.{name}.checks]]
name = "has-a-printer"
command = "echo no printer here; test -e /dev/lp0"

[[guests.{name}.checks]]
name = "answers"
command = "sleep 60"
timeout = "1s"

[guests.{name}.apply]
"""


@pytest.fixture(scope="module")
def lab(make_lab: Callable[..., Lab]) -> Iterator[Lab]:
    """A running guest of root's, which is left as it failed."""
    made = make_lab()
    apply = f"[guests.{made.name}.apply]"
    made.configure((made.folder / "nixvm-loop.toml").read_text().replace(apply, f"{apply}\nrollback = false"))
    assert made.loop("create", "--start").returncode == 0
    yield made
    made.remove()


@pytest.fixture(autouse=True)
def _nothing_left(lab: Lab) -> Iterator[None]:
    yield
    assert lab.strays() == []


def seconds_to_fail(lab: Lab, code: int) -> tuple[float, str]:
    began = time.monotonic()
    said = lab.fails(code)
    return time.monotonic() - began, said


def test_a_guest_that_panics_in_its_initrd(lab: Lab) -> None:
    """It is known within seconds, long before boot_timeout; the console's last lines say why."""
    with lab.edited("stage-1.sh", "for module in", 'fail "nothing works"\nfor module in'):
        seconds, said = seconds_to_fail(lab, 6)
    assert seconds < 15
    assert "stage-1: nothing works" in said
    assert "Kernel panic - not syncing" in said
    assert "cycle" in said
    assert lab.domain_state() in {"shut off", "crashed"}


@pytest.mark.parametrize("command", ["poweroff", "reboot"])
def test_a_guest_that_ends_before_it_answers(lab: Lab, command: str) -> None:
    """A guest that powers off, or reboots, of itself before it was verified has failed to boot."""
    with lab.edited("configuration.nix", 'startup = ""', f'startup = "echo leaving >/dev/console; {command} -f"'):
        seconds, said = seconds_to_fail(lab, 6)
    assert seconds < 20
    assert "the guest did not boot: the domain" in said
    assert "leaving" in said
    assert lab.domain_state() == "shut off"


@pytest.mark.parametrize(
    ("file", "old", "new", "last_line"),
    [
        ("configuration.nix", 'startup = ""', 'startup = "echo so tired >/dev/console; sleep 1000"', "so tired"),
        ("stage-2.sh", "dropbear -r", "true dropbear -r", "nixvm-loop-host-key: "),
    ],
)
def test_a_guest_that_does_not_answer(lab: Lab, file: str, old: str, new: str, last_line: str) -> None:
    """A guest that hangs, or has no sshd, is given up after boot_timeout and goes on, to be looked at."""
    with lab.configured('boot_timeout = "60s"', 'boot_timeout = "6s"'), lab.edited(file, old, new):
        seconds, said = seconds_to_fail(lab, 6)
    assert seconds < 15
    assert f"did not answer SSH on 127.0.0.1:{lab.port} within 6s" in said
    assert last_line in said
    assert "nixvm-loop console" in said
    assert lab.domain_state() == "running"


def test_the_next_good_save_recovers(lab: Lab) -> None:
    """After all these failures the good system boots and verifies."""
    assert lab.cycle()["verdict"] == "ok"
    assert lab.booted() == lab.toplevel()


def test_the_users_own_checks(lab: Lab) -> None:
    """They run in the guest: one passes, one fails, one takes too long; exit 7, and the guest goes on."""
    before = lab.boot_id()
    with lab.configured(f"[guests.{lab.name}.apply]", CHECKS.format(name=lab.name)):
        done = lab.loop("rebuild", "-o", "json")
        said = lab.fails(7, command="verify")
        told = lab.loop("verify", "-o", "json")
        assert told.returncode == 7, told.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    checks = {event["check"]: event for event in events if event["type"] == "check_finished"}
    assert [checks[name]["ok"] for name in ("has-a-shell", "has-a-printer", "answers")] == [True, False, False]
    assert checks["has-a-printer"]["actual"] == "exit status 1: no printer here"
    assert checks["answers"]["actual"] == "timed out after 1s"
    assert (done.returncode, events[-1]["verdict"], events[-1]["action"]) == (7, "failed", "none")
    assert "has-a-printer" in said
    assert "answers" in said
    assert lab.boot_id() == before
    times = {
        event["check"]: datetime.fromisoformat(event["time"])
        for event in map(json.loads, told.stdout.splitlines())
        if event["type"] == "check_finished"
    }
    # Each is told as soon as it is known.
    assert (times["answers"] - times["kernel"]).total_seconds() > 0.8


def test_a_required_check_of_the_users(lab: Lab) -> None:
    """One that fails in the running guest is reason enough for a restart, and exit 7 if that does not help."""
    before = lab.boot_id()
    table = f'[[guests.{lab.name}.checks]]\nname = "printer"\ncommand = "test -e /dev/lp0"\nrequired = true\n\n'
    with lab.configured(f"[guests.{lab.name}.apply]", f"{table}[guests.{lab.name}.apply]"):
        said = lab.fails(7)
    assert "printer" in said
    assert lab.boot_id() != before
    assert lab.cycle()["verdict"] == "unchanged"


def test_a_key_that_the_guest_does_not_know(lab: Lab) -> None:
    """Another key is exit 6 and named, soon; with the right one everything is as before."""
    key = lab.folder / "other-key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    with lab.configured(
        f"[guests.{lab.name}.apply]", f'[guests.{lab.name}.ssh]\nkey = "{key}"\n\n[guests.{lab.name}.apply]'
    ):
        seconds, said = seconds_to_fail(lab, 6)
    assert seconds < 30
    assert f"does not accept the key {key} for user root" in said
    assert lab.cycle()["verdict"] == "ok"


@pytest.fixture
async def stranger() -> AsyncIterator[int]:
    """The port of an SSH server that lets everybody in and is not the guest."""

    class Open(asyncssh.SSHServer):
        def begin_auth(self, _username: str) -> bool:
            return False

    port = free_port()
    key = asyncssh.generate_private_key("ssh-ed25519")
    async with asyncssh.listen("127.0.0.1", port, server_factory=Open, server_host_keys=[key]):
        yield port


async def test_a_stranger_on_the_port(lab: Lab, stranger: int) -> None:
    """Whoever shows another key than the guest announced on its console is exit 6; so he is in the first boot ever."""
    table = f'[guests.{lab.name}.ssh]\nhost = "127.0.0.1"\nport = {stranger}\n\n[guests.{lab.name}.apply]'
    with lab.configured(f"[guests.{lab.name}.apply]", table):
        said = await asyncio.to_thread(lab.fails, 6, command="verify")
        assert "does not show the guest's host key" in said
        (lab.state / "ssh/known_hosts").unlink()
        said = await asyncio.to_thread(lab.fails, 6, "--force")
        assert "does not show the guest's host key" in said
    assert lab.cycle()["verdict"] in {"ok", "unchanged"}


def test_a_guest_that_is_killed_while_it_boots(lab: Lab) -> None:
    """A QEMU that dies is a failed boot, known at once."""
    process = subprocess.Popen(
        ["nixvm-loop", "rebuild", "--force", "-o", "json"],
        cwd=lab.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if '"stage_started"' in line and '"boot"' in line:
            break
    began = time.monotonic()
    qemu = Path(f"/run/libvirt/qemu/{lab.name}.pid").read_text()
    os.kill(int(qemu), signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 6, errors
    assert time.monotonic() - began < 5
    assert "the guest did not boot: the domain" in errors
    assert lab.cycle()["verdict"] == "ok"
