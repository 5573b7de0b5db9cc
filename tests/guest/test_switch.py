from __future__ import annotations

import os
import shutil
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from nixvm_loop.guest.script import Reader
from nixvm_loop.guest.switch import Switch
from nixvm_loop.model.settings import StoreSettings

if TYPE_CHECKING:
    from pathlib import Path

SHELLS = [shell for shell in ("dash", "bash", "busybox") if shutil.which(shell)]


def a_switch(folder: Path, script: str, paths: tuple[str, ...] = (), caches: str = "caches") -> Switch:
    """A switch to a system on this machine, whose switch-to-configuration is `script`."""
    program = folder / "system/bin/switch-to-configuration"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    store = StoreSettings(mount_point=str(folder), ro_store="/proc", rw_store=str(folder))
    system, where = str(folder / "system"), str(folder / "run/switch")
    return Switch(store, system, paths, lambda _: None, caches=str(folder / caches), folder=where)


def advance(switch: Switch, shell: str, *, cut_after: int | None = None) -> None:
    """Let a shell of this machine do its part; with `cut_after`, its connection ends after so many lines."""
    script = switch.script()
    command, stdin = script.command(Reader.LOGIN_SHELL), script.stdin
    argv = [shell, "sh", "-c", command] if shell == "busybox" else [shell, "-c", command]
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(stdin)
        process.stdin.close()
        for number, line in enumerate(process.stdout, 1):
            switch.take(line.decode().rstrip("\n"))
            if number == cut_after:
                os.killpg(process.pid, 9)


pytestmark = pytest.mark.skipif(os.path.isdir("/run/systemd/system"), reason="would start units of this machine")  # noqa: PTH112


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("code", [0, 4, 100])
def test_output_and_exit_code(tmp_path: Path, shell: str, code: int) -> None:
    """What it prints is told line by line, whatever is in it; its exit code is read; the caches were asked to go."""
    switch = a_switch(tmp_path, f"""echo '$HOME `id` * \\ 1'; echo 'two  words' >&2; printf last; exit {code}""")
    advance(switch, shell)
    assert switch.lines == ["$HOME `id` * \\ 1", "two  words", "last"]
    assert (switch.exit_status, switch.over, switch.died, switch.caches_kept) == (code, True, False, False)
    assert (tmp_path / "caches").read_text() == "2\n"


@pytest.mark.parametrize("shell", SHELLS)
def test_a_hidden_path_keeps_it_from_starting(tmp_path: Path, shell: str) -> None:
    """Everything that is not seen is named, and nothing is switched; caches that stay as they are are told."""
    (tmp_path / "there").touch()
    paths = tuple(str(tmp_path / name) for name in ("there", "hid den", "gone"))
    switch = a_switch(tmp_path, "touch ../switched", paths[:1] + paths[2:], caches="no/such/file")
    advance(switch, shell)
    assert switch.hidden == [paths[2]]
    assert (switch.caches_kept, switch.exit_status, switch.over) == (True, None, True)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("shell", SHELLS)
def test_more_paths_than_a_command_line_takes(tmp_path: Path, shell: str) -> None:
    """They come by standard input."""
    names = [f"{number:05d}-a-path-with-a-name" for number in range(600)]
    for name in names:
        (tmp_path / name).touch()
    switch = a_switch(tmp_path, "exit 0", tuple(str(tmp_path / name) for name in names))
    assert switch.script().stdin
    switch.started = False
    advance(switch, shell)
    assert (switch.hidden, switch.exit_status) == ([], 0)


@pytest.mark.parametrize("shell", SHELLS)
def test_it_outlives_the_connection(tmp_path: Path, shell: str) -> None:
    """The shell that began it is killed with its group: it goes on, and what was told is not told again."""
    switch = a_switch(tmp_path, "echo one; sleep 2.5; echo two; exit 4")
    advance(switch, shell, cut_after=2)
    assert (switch.lines, switch.over) == (["one"], False)
    advance(switch, shell)
    assert (switch.lines, switch.exit_status) == (["one", "two"], 4)


@pytest.mark.parametrize("shell", SHELLS)
def test_one_that_is_killed_is_known_to_be(tmp_path: Path, shell: str) -> None:
    """Nobody waits for an exit code that does not come."""
    switch = a_switch(tmp_path, "echo one; kill -9 $PPID; exec sleep 5")
    began = time.monotonic()
    advance(switch, shell)
    assert (switch.lines, switch.died, switch.exit_status) == (["one"], True, None)
    assert time.monotonic() - began < 4


@pytest.mark.parametrize("shell", SHELLS)
def test_it_can_be_ended(tmp_path: Path, shell: str) -> None:
    """With all that it has started."""
    switch = a_switch(tmp_path, f"echo $$ >{tmp_path}/pid; echo on; exec sleep 30")
    advance(switch, shell, cut_after=2)
    stop = switch.stop_command()
    subprocess.run(["sh", "-c", stop], check=True)
    pid = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 5
    while os.path.exists(f"/proc/{pid}/exe") and time.monotonic() < deadline:  # noqa: PTH110
        time.sleep(0.05)
    assert not os.path.exists(f"/proc/{pid}/exe")  # noqa: PTH110


def test_a_lock_that_is_held() -> None:
    """Another switch is under way: this one did nothing."""
    switch = Switch(StoreSettings(), "/s", (), lambda _: None)
    for line in ("line Could not acquire lock", "status 11"):
        switch.take(f"@{switch.nonce} {line}")
    assert (switch.locked, switch.exit_status) == (True, 11)
    assert not Switch(StoreSettings(), "/s", (), lambda _: None, exit_status=0, lines=["Could not acquire lock"]).locked
