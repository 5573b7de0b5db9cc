"""The commands as processes, beside a `watch` in another one."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    OtherWatch = Callable[..., AbstractContextManager[subprocess.Popen[str]]]

ROOT = Path(__file__).parents[2]
CONFIG = """
[guests.demo]
flake = "/nowhere"
libvirt_uri = "test:///default"
state_dir = "{state}"
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A config for a guest that cannot be built, so that only `watch` can have run a cycle that succeeds."""
    file = tmp_path / "nixvm-loop.toml"
    file.write_text(CONFIG.format(state=tmp_path / "states"))
    return file


def start(config: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "nixvm_loop", *arguments, "-c", str(config)],
        cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def loop(config: Path, *arguments: str) -> tuple[int, str, str]:
    """Exit code and both outputs."""
    process = start(config, *arguments)
    out, err = process.communicate(timeout=20)
    return process.returncode, out, err


def events(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


def test_rebuild_streams_the_cycle_of_watch_as_its_own(config: Path, other_watch: OtherWatch) -> None:
    """Its events, numbered as one stream, after a word on who runs it; its exit code."""
    with other_watch(guest=config) as watch:
        code, out, err = loop(config, "rebuild", "-o", "json")
    assert (code, err) == (0, "")
    notice, *cycle = events(out)
    assert notice["message"] == f"watch (process {watch.pid}) does it; it is waiting for changes"
    assert [event["type"] for event in cycle] == ["cycle_started", "stage_started", "console", "cycle_finished"]
    assert [event["seq"] for event in events(out)] == [1, 2, 3, 4, 5]
    assert {event["cycle"] for event in cycle} == {7}


def test_a_failed_cycle_is_told_like_ones_own(config: Path, other_watch: OtherWatch) -> None:
    """The same lines for editors, the error once, the same exit code; and the wish to restart gets there."""
    with other_watch(guest=config):
        code, out, err = loop(config, "rebuild", "--force", "-o", "plain")
    assert code == 6
    assert out == "nixvm-loop: cycle 7 started\nnixvm-loop: cycle 7 failed in 1.5s\n"
    assert err.count("nixvm-loop: error: the guest did not boot: kernel panic\n  panic\nhint: look\n") == 1
    assert err.count("kernel panic") == 1


def test_ctrl_c_only_detaches(config: Path, other_watch: OtherWatch) -> None:
    """130, saying that watch goes on; and it does: it serves the next one."""
    with other_watch(delay_s=0.6, guest=config) as watch:
        process = start(config, "rebuild", "-o", "json")
        assert process.stdout is not None
        while '"console"' not in process.stdout.readline():
            pass
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=5)
        assert process.returncode == 130
        assert err == f"nixvm-loop: interrupted by SIGINT; watch (process {watch.pid}) goes on with the cycle\n"
        assert loop(config, "rebuild")[0] == 0


def test_watch_is_killed_meanwhile(config: Path, other_watch: OtherWatch) -> None:
    """130 and what is known, no traceback."""
    with other_watch(delay_s=60, guest=config) as watch:
        process = start(config, "rebuild", "-o", "json")
        assert process.stdout is not None
        while '"console"' not in process.stdout.readline():
            pass
        watch.kill()
        _, err = process.communicate(timeout=5)
    assert process.returncode == 130
    assert err.startswith(f"nixvm-loop: watch (process {watch.pid}) ended in cycle 7, stage boot")
    assert "Traceback" not in err


@pytest.mark.parametrize("left", ["nothing", "a dead socket"])
def test_without_a_watch_rebuild_does_it_itself(config: Path, other_watch: OtherWatch, left: str) -> None:
    """The first cycle of its own, which fails because there is no such flake."""
    if left == "a dead socket":
        with other_watch(guest=config) as watch:
            watch.kill()
            watch.wait()
    code, out, _ = loop(config, "rebuild", "-o", "json")
    assert code == 3
    own = [event for event in events(out) if event["type"] == "cycle_finished"]
    assert [(event["cycle"], event["verdict"]) for event in own] == [(1, "failed")]


def test_a_watch_with_other_settings_is_not_trusted_with_a_cycle(config: Path, other_watch: OtherWatch) -> None:
    """After an edit of the config, the old watch would do what the old config says."""
    with other_watch(guest=config) as watch:
        config.write_text(config.read_text() + "keep = 3\n")
        code, out, err = loop(config, "rebuild")
    assert (code, out) == (2, "")
    assert f"watch (process {watch.pid}) looks after this guest with another configuration" in err
    assert "hint: stop it and start it again" in err


def test_status_tells_where_watch_is(config: Path, other_watch: OtherWatch) -> None:
    """Idle, and in the middle of a cycle."""
    with other_watch(delay_s=60, guest=config) as watch:
        assert holder(config) == f"watch (process {watch.pid}), waiting for changes"
        process = start(config, "rebuild", "-o", "json")
        assert process.stdout is not None
        while '"console"' not in process.stdout.readline():
            pass
        assert holder(config) == f"watch (process {watch.pid}), in cycle 7, stage boot"
        process.kill()
        process.communicate()
    assert holder(config) is None


def test_status_does_not_wait_for_a_watch_that_hangs(config: Path, other_watch: OtherWatch) -> None:
    """A fifth of a second at most."""
    began = time.monotonic()
    assert holder(config) is None
    without_s = time.monotonic() - began
    with other_watch(guest=config) as watch:
        watch.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        assert holder(config) is None
        assert time.monotonic() - began < without_s + 1
        watch.send_signal(signal.SIGCONT)


def holder(config: Path) -> str | None:
    code, out, _ = loop(config, "status", "-o", "json")
    assert code == 0
    text: str | None = events(out)[0]["holder"]
    return text


def test_console_reads_along_while_watch_boots(config: Path, other_watch: OtherWatch) -> None:
    """The lines come through the socket, harmless, what is typed goes nowhere, and Ctrl-] leaves."""
    with other_watch(delay_s=60, guest=config) as watch:
        ordering = start(config, "rebuild", "-o", "json")
        assert ordering.stdout is not None
        while '"console"' not in ordering.stdout.readline():
            pass
        hands, terminal = pty.openpty()
        console = subprocess.Popen(
            [sys.executable, "-m", "nixvm_loop", "console", "-c", str(config)],
            cwd=ROOT, stdin=terminal, stdout=terminal, stderr=terminal,
        )  # fmt: skip
        os.close(terminal)
        try:
            said = b""
            while b"6.12" not in said:
                said += os.read(hands, 1000)
            assert f"watch (process {watch.pid}) reads the console in cycle 7, stage boot".encode() in said
            assert b"\r\nLinux version 6.12" in said
            os.write(hands, b"reboot\r\x1d")
            assert console.wait(5) == 0
        finally:
            console.kill()
            console.wait()
            os.close(hands)
            ordering.kill()
            ordering.communicate()
