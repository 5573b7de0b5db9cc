"""What may break under a cycle that is past the point of no return, or under a guest that nothing else happens to."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e import victims

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.e2e.lab import Lab

ENDS_WITHIN_S = 30
KNOWN_WITHIN_S = 2.0
# The kernel runs; the host key is announced later.
AFTER_ITS_START_S = 0.7
NIX_SOCKET = "/nix/var/nix/daemon-socket/socket"


@pytest.fixture(scope="module")
def lab(make_lab: Callable[..., Lab]) -> Iterator[Lab]:
    """A running guest of root's, whose state has a small disk of its own."""
    made = make_lab()
    disk = made.state.parent
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m,mode=0755", "tmpfs", disk], check=True)
    assert made.loop("create", "--start").returncode == 0
    yield made
    made.remove()
    subprocess.run(["umount", "--lazy", disk], check=True)


@pytest.fixture(autouse=True)
def _nothing_left(lab: Lab) -> Iterator[None]:
    yield
    assert lab.strays() == []


def cycle(
    lab: Lab, motd: str, meanwhile: Callable[[dict[str, Any]], object], *, env: tuple[str, ...] = ()
) -> list[dict[str, Any]]:
    """The events of a `rebuild` of a new system; `meanwhile` is called with each as it comes."""
    lab.edit("configuration.nix", current_motd(lab), f'motd = "{motd}"')
    began = time.monotonic()
    process = subprocess.Popen(
        ["env", *env, "nixvm-loop", "rebuild", "-o", "json"],
        cwd=lab.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    events = []
    for line in process.stdout:
        events.append(json.loads(line))
        meanwhile(events[-1])
    _, errors = process.communicate(timeout=20)
    assert time.monotonic() - began < ENDS_WITHIN_S
    assert "Traceback" not in errors, errors
    assert (events[-1]["type"], events[-1]["exit_code"]) == ("cycle_finished", process.returncode), errors
    return events


def current_motd(lab: Lab) -> str:
    """The line of the configuration, as far as the semicolon."""
    lines = (lab.flake / "configuration.nix").read_text().splitlines()
    (line,) = (line.strip().removesuffix(";") for line in lines if "motd =" in line)
    return line


def begins(event: dict[str, Any], stage: str) -> bool:
    """Whether a stage begins."""
    return (event["type"], event.get("stage")) == ("stage_started", stage)


def facts(lab: Lab) -> list[dict[str, Any]]:
    """What the disk says of the generations."""
    return [json.loads(path.read_text()) for path in lab.state.glob("generations/*/generation.json")]


def blamed(lab: Lab) -> list[int]:
    """The generations that are held to have failed."""
    return [one["number"] for one in facts(lab) if one.get("failure")]


def verified(lab: Lab) -> list[int]:
    """Those that have passed."""
    return [one["number"] for one in facts(lab) if one.get("verified")]


def assert_verified(lab: Lab) -> None:
    """The next `rebuild` is content, the guest runs what the flake says, and that is on record as verified."""
    assert lab.cycle()["verdict"] in {"ok", "unchanged"}
    assert lab.booted() == lab.toplevel()
    current = int((lab.state / "current").readlink().name)
    assert current in verified(lab)
    assert str((lab.state / "current/toplevel").readlink()) == lab.toplevel()


def test_libvirtd_dies_while_the_guest_boots(lab: Lab) -> None:
    """The cycle ends without it, nobody blames the system, and the next one ends with it verified."""
    libvirtd = victims.Daemon.named("libvirtd")
    killed: list[datetime] = []

    def kill(event: dict[str, Any]) -> None:
        if begins(event, "boot"):
            time.sleep(AFTER_ITS_START_S)
            libvirtd.kill()
            killed.append(datetime.now(UTC))

    try:
        ended = cycle(lab, "No libvirt.", kill)[-1]
    finally:
        victims.start_libvirtd(libvirtd, lab)
    assert ended["exit_code"] == 5
    assert (datetime.fromisoformat(ended["time"]) - killed[0]).total_seconds() < KNOWN_WITHIN_S
    assert "libvirt's daemon has gone" in ended["error"]["message"]
    assert "rebuild" in ended["error"]["hint"]
    assert blamed(lab) == []
    # Nobody heard the guest announce its host key, so it may have to boot once more.
    assert_verified(lab)


def test_the_disk_fills_up_after_the_flip(lab: Lab) -> None:
    """What cannot be written down is told and fails nothing; with room again, the next cycle is as usual."""
    filler = lab.state.parent / "filler"

    def fill(event: dict[str, Any]) -> None:
        if begins(event, "boot"):
            with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
                while True:
                    file.write(bytes(4096))

    try:
        events = cycle(lab, "No room.", fill)
        assert lab.booted() == lab.toplevel()
    finally:
        filler.unlink()
    assert (events[-1]["verdict"], events[-1]["action"]) == ("ok", "restart")
    told = [event["message"] for event in events if event["type"] == "notice"]
    assert any("No space left on device" in message for message in told), told
    assert blamed(lab) == []
    # The guest's host key could not be kept either, so it may have to boot once more.
    assert_verified(lab)


def test_nix_dies_after_the_build(lab: Lab) -> None:
    """Nobody can say what to look for in the guest, so it goes back to the last good system, and is told so."""
    good, daemon = lab.booted(), victims.Daemon.named("nix-daemon")

    def kill(event: dict[str, Any]) -> None:
        if event["type"] == "stage_finished" and event["stage"] == "build":
            daemon.kill()

    try:
        events = cycle(lab, "No nix.", kill, env=("NIX_REMOTE=daemon",))
    finally:
        daemon.start()
        await_socket(NIX_SOCKET)
    ended = events[-1]
    assert (ended["verdict"], ended["exit_code"]) == ("failed", 6)
    assert "Nix does not tell what generation" in ended["error"]["message"]
    assert "rolled back to generation" in ended["error"]["message"]
    assert lab.booted() == good
    assert blamed(lab) == []
    assert_verified(lab)


def await_socket(path: str) -> None:
    """Wait until somebody answers there."""
    while True:
        with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(OSError):
            probe.connect(path)
            return
        time.sleep(0.05)


def test_a_user_that_the_guest_does_not_know(lab: Lab) -> None:
    """A mistake in the config that no restart would mend restarts nothing; mended, nothing was lost."""
    before = lab.boot_id()
    table = f"[guests.{lab.name}.apply]"
    with lab.configured(table, f'[guests.{lab.name}.ssh]\nuser = "stranger"\n\n{table}'):
        said = lab.fails(6)
    assert "for user stranger" in said
    assert lab.boot_id() == before
    assert lab.cycle()["verdict"] == "unchanged"
    assert lab.boot_id() == before


def test_a_damaged_generation_is_not_revived(lab: Lab) -> None:
    """A guest that went down while `current` is damaged comes back on the likeliest good one, which is told."""
    with lab.watch() as watch:
        watch.finished()
        current = int((lab.state / "current").readlink().name)
        good = max(number for number in verified(lab) if number != current)
        Path(lab.state / "current/kernel").unlink()
        victims.kill(victims.qemu(lab))
        assert "QEMU died" in watch.wait_for(lambda event: event["type"] == "cycle_started")["reason"]
        ended = watch.finished()
        notices = [event["message"] for event in watch.events if event["type"] == "notice"]
        assert f"the current generation is damaged; generation {good} takes its place" in notices
        assert (ended["verdict"], ended["generation"]) == ("ok", good)
        assert lab.booted() == str((lab.state / f"generations/{good}/toplevel").readlink()) != lab.toplevel()
