"""Other commands beside a running `watch`: they go through it, so that one process alone acts on the guest."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.e2e.lab import Lab

SLOW = 'packages = { slow = "sleep 600 # marker-4713\\nmkdir $out"; };'


@pytest.fixture(scope="module")
def lab(make_lab: Callable[..., Lab]) -> Iterator[Lab]:
    """A running guest of a user's who is not root."""
    made = make_lab(as_user=True)
    assert made.loop("create", "--start").returncode == 0
    yield made
    made.remove()


def begin(lab: Lab, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*lab.prefix, "nixvm-loop", *arguments, "-o", "json"],
        cwd=lab.folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def wait_for(process: subprocess.Popen[str], *parts: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if all(part in line for part in parts):
            return
    raise AssertionError(f"no {parts} came: {process.communicate()}")


def events(process: subprocess.Popen[str], code: int = 0) -> list[dict[str, Any]]:
    out, err = process.communicate(timeout=90)
    assert process.returncode == code, out[-3000:] + err
    return [json.loads(line) for line in out.splitlines()]


def test_rebuild_goes_through_watch(lab: Lab) -> None:
    """Asked for together, two rebuilds are one or two cycles of watch's; each tells its own, and nobody else acts."""
    with lab.watch() as watch:
        watch.finished()
        before = lab.boot_id()
        asked = begin(lab, "rebuild", "--force"), begin(lab, "rebuild")
        forced, plain = (events(process) for process in asked)
        for notice, *cycle in (forced, plain):
            assert re.fullmatch(r"watch \(process [0-9]+\) does it; it is .*", notice["message"])
            assert cycle[0]["type"] == "cycle_started"
            assert cycle[-1]["exit_code"] == 0
        assert forced[-1]["action"] == "restart"
        assert lab.boot_id() != before
        shown = {event["cycle"] for event in (*forced, *plain)} - {None}
        while shown:
            shown.discard(watch.finished()["cycle"])


def test_a_second_watch_is_refused(lab: Lab) -> None:
    """One is enough; the first goes on."""
    with lab.watch() as watch:
        watch.finished()
        assert "watches this guest already" in lab.fails(2, command="watch")
        assert lab.cycle()["verdict"] == "unchanged"


def test_a_superseded_rebuild_ends_with_the_newer_cycle(lab: Lab) -> None:
    """The save that cancels its build is what the rebuild then reports on."""
    with lab.watch() as watch:
        watch.finished()
        original = (lab.flake / "configuration.nix").read_text()
        lab.edit("configuration.nix", "packages = { };", SLOW)
        watch.wait_for(lambda event: event["type"] == "cycle_started")
        rebuild = begin(lab, "rebuild")
        wait_for(rebuild, '"notice"')
        lab.write(lab.flake / "configuration.nix", original)
        ended = events(rebuild)
        assert ended[-1]["exit_code"] == 0
        assert ended[-1]["verdict"] == "unchanged"
    assert lab.strays() == []


def test_status_and_console_while_watch_boots(lab: Lab) -> None:
    """Status names cycle and stage; the console is read along, and joined for typing once the boot is over."""
    with lab.watch() as watch:
        watch.finished()
        rebuild = begin(lab, "rebuild", "--force")
        wait_for(rebuild, '"stage_started"', '"boot"')
        assert "stage boot" in json.loads(lab.loop("status", "-o", "json").stdout)["holder"]
        with console(lab) as (hands, process):
            seen = read_until(hands, b"Ctrl-] leaves it")
            assert b"until that is over this is read-only" in seen
            assert b"nixvm-loop-host-key: " in seen
            assert process.poll() is None
            os.write(hands, b"\x1d")
            assert process.wait(5) == 0
        assert events(rebuild)[-1]["verdict"] == "ok"
        # Nobody took the console from the boot.
        assert not [event for event in watch.events if "read by somebody else" in str(event)]


def test_the_console_stays_over_a_restart(lab: Lab) -> None:
    """Attached while watch is idle, it reads along through the restart, and is attached again."""
    with lab.watch() as watch:
        watch.finished()
        with console(lab) as (hands, process):
            read_until(hands, b"Ctrl-] leaves it")
            rebuild = begin(lab, "rebuild", "--force")
            read_until(hands, b"read-only")
            read_until(hands, b"Ctrl-] leaves it")
            assert events(rebuild)[-1]["verdict"] == "ok"
            os.write(hands, b"\x1d")
            assert process.wait(5) == 0


def test_watch_is_killed_during_a_rebuild(lab: Lab) -> None:
    """The rebuild says so, with 130; the next one finds the socket dead, the guest as it is, and ends well."""
    process = subprocess.Popen(
        [*lab.prefix, "nixvm-loop", "watch", "-o", "json"],
        cwd=lab.folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    wait_for(process, '"cycle_finished"')
    rebuild = begin(lab, "rebuild", "--force")
    wait_for(rebuild, '"stage_started"', '"boot"')
    process.send_signal(signal.SIGKILL)
    process.communicate()
    _, errors = rebuild.communicate(timeout=10)
    assert rebuild.returncode == 130
    assert "stage boot, and what became of that is not known" in errors
    assert lab.cycle()["verdict"] in {"ok", "unchanged"}
    with lab.watch() as watch:
        watch.finished()
        assert lab.cycle()["verdict"] == "unchanged"


@contextmanager
def console(lab: Lab) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """`nixvm-loop console` on a terminal; the side of the user's hands."""
    hands, terminal = pty.openpty()
    process = subprocess.Popen(
        [*lab.prefix, "nixvm-loop", "console"], cwd=lab.folder, stdin=terminal, stdout=terminal, stderr=terminal
    )
    os.close(terminal)
    try:
        yield hands, process
    finally:
        process.kill()
        process.wait()
        os.close(hands)


def read_until(hands: int, wanted: bytes, timeout_s: float = 30) -> bytes:
    """What came on the terminal up to and with `wanted`."""
    seen, deadline = b"", time.monotonic() + timeout_s
    while wanted not in seen:
        ready, _, _ = select.select([hands], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, seen
        seen += os.read(hands, 4096)
    return seen
