from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.checkout import PYTHONPATH
from tests.present.shell import Shell

if TYPE_CHECKING:
    from collections.abc import Iterator

WATCH = f"{sys.executable} -m nixvm_loop watch"
WAITING = "waiting for changes"
AS_USUAL = (True, True)
TAKEN = (False, False)
CONFIG = """
[guests.demo]
flake = "./flake"
libvirt_uri = "test:///default"
state_dir = "./state"
"""


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """In a folder whose flake has no such guest, so that the first cycle fails at once."""
    (tmp_path / "flake").mkdir()
    (tmp_path / "flake/flake.nix").write_text("{ outputs = _: { }; }\n")
    (tmp_path / "nixvm-loop.toml").write_text(CONFIG)
    (tmp_path / "run").mkdir(mode=0o700)
    with Shell.opened(tmp_path, {"PYTHONPATH": PYTHONPATH, "XDG_RUNTIME_DIR": str(tmp_path / "run")}) as opened:
        yield opened


def begin(shell: Shell) -> None:
    shell.type(f"{WATCH}\n")
    shell.shows(WAITING)
    shell.shows("cycle 1 failed")
    assert shell.modes() == TAKEN
    assert not shell.screen.cursor


def test_q_ends_watch_in_order(shell: Shell) -> None:
    """`q` is exit 0, other keys and what they send are ignored, and nothing of them reaches the shell."""
    begin(shell)
    shell.type("abc\x1b[A\x1bOq\n")
    assert shell.read() == ""
    shell.type("xqqq")
    shell.shows("stopped: q")
    shell.until(lambda: shell.modes() == AS_USUAL)
    shell.type("echo code=$?\n")
    shell.shows("code=0\n$")
    assert "not found" not in shell.screen.shown()
    assert WAITING not in shell.screen.shown()
    assert shell.screen.cursor
    assert shell.screen.wraps


def test_ctrl_c_is_still_an_interruption(shell: Shell) -> None:
    """With the keys taken, Ctrl-C works as ever."""
    begin(shell)
    shell.type("\x03")
    shell.shows("stopped: SIGINT")
    shell.type("echo code=$?\n")
    shell.shows("code=130")


def test_suspended_and_resumed(shell: Shell) -> None:
    """While suspended the terminal is the shell's; after `fg` the view is there at once and takes the keys again."""
    begin(shell)
    shell.type("\x1a")
    shell.shows("Stopped")
    assert (shell.modes(), shell.screen.cursor) == (AS_USUAL, True)
    assert WAITING not in shell.screen.shown()
    shell.type("fg\n")
    shell.shows(WAITING)
    assert (shell.modes(), shell.screen.cursor) == (TAKEN, False)
    shell.type("abc")
    assert shell.read() == ""
    shell.type("q")
    shell.shows("stopped: q")
    assert shell.screen.cursor
    assert shell.modes() == AS_USUAL


def test_stopped_without_a_warning(shell: Shell) -> None:
    """After SIGSTOP, which nobody can prepare for, `fg` gives the view back as well."""
    begin(shell)
    shell.type("\x1a")
    shell.shows("Stopped")
    shell.type("fg\n")
    shell.shows(WAITING)
    os.kill(in_front(shell), signal.SIGSTOP)
    shell.until(lambda: "Stopped" in shell.screen.shown().split("fg\n")[-1])
    shell.type("fg\n")
    shell.until(lambda: shell.modes() == TAKEN)
    shell.until(lambda: WAITING in shell.screen.shown().split("fg\n")[-1])
    shell.type("q")
    shell.shows("stopped: q")


def in_front(shell: Shell) -> int:
    """The job that has the terminal."""
    return os.tcgetpgrp(shell._terminal)


@pytest.mark.parametrize("way", ["ampersand", "bg"])
def test_in_the_background(shell: Shell, way: str) -> None:
    """A background `watch` runs on, takes no key and draws no view; `fg` brings both."""
    if way == "bg":
        begin(shell)
        shell.type("\x1a")
        shell.shows("Stopped")
        shell.type("bg\n")
    else:
        shell.type(f"{WATCH} &\n")
        shell.shows("hint: ")
    time.sleep(1.2)
    shell.type("echo qq | tr q y\n")
    shell.shows("\nyy\n")
    shell.type("jobs\n")
    shell.shows("Running")
    assert shell.screen.cursor
    assert shell.modes() == AS_USUAL
    assert WAITING not in shell.screen.shown()
    shell.type("fg\n")
    shell.shows(WAITING)
    shell.until(lambda: shell.modes() == TAKEN)
    shell.type("q")
    shell.shows("stopped: q")
    assert shell.modes() == AS_USUAL


def test_ended_in_the_background(shell: Shell) -> None:
    """Its end neither stops it nor changes the shell's terminal."""
    begin(shell)
    shell.type("\x1a")
    shell.shows("Stopped")
    shell.type("bg\n")
    shell.type("kill %1\n")
    shell.shows("stopped: SIGTERM")
    shell.read()
    shell.type("\n")
    shell.shows("Exit 130")
    assert shell.modes() == AS_USUAL


def test_nothing_is_read_without_need(shell: Shell) -> None:
    """An idle view uses next to no processor time."""
    begin(shell)
    fields = Path(f"/proc/{in_front(shell)}/stat")

    def ticks() -> int:
        return sum(map(int, fields.read_text().rpartition(")")[2].split()[11:13]))

    shell.type("abc")
    time.sleep(0.5)
    before = ticks()
    time.sleep(1.5)
    assert ticks() - before <= 5
    shell.type("q")
    shell.shows("stopped: q")
