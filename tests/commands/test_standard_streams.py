from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.checkout import PYTHONPATH

if TYPE_CHECKING:
    from pathlib import Path

NIXVM = f"{sys.executable} -m nixvm_loop"
FULL = "nixvm-loop: error: standard output cannot be written: No space left on device\n"
CONFIG = """
[guests.demo]
flake = "./flake"
libvirt_uri = "test:///default"
state_dir = "./state"
"""
# A cycle under the command line's own rules; SLEEP and VERDICT stand for what a guest would do.
PLAYED = """
import asyncio, sys
from types import ModuleType
from nixvm_loop.arguments import Arguments
from nixvm_loop.cli import main
from nixvm_loop.commands.by_watch import InOrder
from nixvm_loop.commands.call import Call
from nixvm_loop.errors import BuildError
from nixvm_loop.events import types as ev
from nixvm_loop.events.emitter import Emitter
from nixvm_loop.interrupt import interruptible
from nixvm_loop.model.clock import SystemClock
from nixvm_loop.model.values import Action, Stage, Verdict

async def work(emit):
    emit(ev.CycleStarted("asked for"))
    emit(ev.StageStarted(Stage.BUILD))
    try:
        await asyncio.sleep(SLEEP)
    except asyncio.CancelledError:
        emit(ev.StageFinished(Stage.BUILD, False, 0.1))
        emit(ev.CycleFinished(Verdict.CANCELLED, None, None, 0.1, 130, None))
        raise
    sys.stdin.read()
    emit(ev.CycleFinished(Verdict.VERDICT, Action.RESTART, 1, 1.0, 0, None))
    await asyncio.sleep(0)
    if Verdict.VERDICT is Verdict.FAILED:
        raise BuildError("the build failed")
    return 0

def run(arguments):
    call = Call(arguments, None, None, SystemClock())
    with call.sink(call.stop_without_reader) as sink:
        emit = Emitter((InOrder(sink, call.stop),), call.clock, cycle=27)
        return asyncio.run(interruptible(work(emit), stop=call.stop))

app = sys.modules["nixvm_loop.app"] = ModuleType("nixvm_loop.app")
app.run = run
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose flake has no such guest, so that a cycle fails at once; buffers as users have them."""
    (tmp_path / "flake").mkdir()
    (tmp_path / "flake/flake.nix").write_text("{ outputs = _: { }; }\n")
    (tmp_path / "nixvm-loop.toml").write_text(CONFIG)
    (tmp_path / "run").mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("PYTHONPATH", PYTHONPATH)
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    return tmp_path


def shell(folder: Path, command: str) -> subprocess.CompletedProcess[str]:
    """What the command does under a shell, and that no traceback or bug is told of."""
    done = subprocess.run(["sh", "-c", command], cwd=folder, capture_output=True, text=True, check=False, timeout=40)
    assert "Traceback" not in done.stderr
    assert "a bug" not in done.stderr
    assert "Exception ignored" not in done.stderr
    return done


@pytest.mark.parametrize("closed", ["2>&-", "2>/dev/full", "<&- 2>&-"])
def test_stderr_takes_nothing_from_stdout(folder: Path, closed: str) -> None:
    """Without a stderr the cycle's lines, its verdict and the exit code are what they are with one."""
    done = shell(folder, f"exec {NIXVM} rebuild {closed}")
    assert done.returncode == 3
    first, problem, last = done.stdout.splitlines()
    assert first == "nixvm-loop: cycle 1 started"
    assert "error: " in problem
    assert last.startswith("nixvm-loop: cycle 1 failed in ")


def test_stderr_takes_nothing_from_json(folder: Path) -> None:
    """Nor is an event lost, with all that -v says."""
    done = shell(folder, f"exec {NIXVM} rebuild -v -o json 2>/dev/full")
    assert done.returncode == 3
    assert json.loads(done.stdout.splitlines()[-1])["type"] == "cycle_finished"


@pytest.mark.parametrize(("command", "code"), [("rebuild", 3), ("status", 0), ("rebild", 2)])
def test_closed_streams_are_like_dev_null(folder: Path, command: str, code: int) -> None:
    """A closed stdout, or all three closed, changes neither the exit code nor what is told on stderr."""
    usual = shell(folder, f"exec {NIXVM} {command} >/dev/null")
    closed = shell(folder, f"exec {NIXVM} {command} >&-")
    assert (closed.returncode, closed.stdout) == (code, "")
    assert len(closed.stderr.splitlines()) == len(usual.stderr.splitlines())
    assert shell(folder, f"exec {NIXVM} {command} <&- >&- 2>&-").returncode == code


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("command", ["--help", "status", "status -o json"])
def test_a_full_disk_is_told(folder: Path, command: str, unbuffered: str) -> None:
    """A result that cannot be written is one line and exit 8, however Python buffers."""
    done = shell(folder, f"PYTHONUNBUFFERED={unbuffered} exec {NIXVM} {command} >/dev/full")
    assert (done.returncode, done.stderr) == (8, FULL)


def test_a_full_disk_everywhere(folder: Path) -> None:
    """With nowhere to tell it, the exit code tells it."""
    assert shell(folder, f"exec {NIXVM} status >/dev/full 2>&1").returncode == 8
    assert shell(folder, f"exec {NIXVM} --help >/dev/full 2>&1").returncode == 8
    assert shell(folder, f"exec {NIXVM} rebild >/dev/full 2>&1").returncode == 2


def test_a_cycle_that_failed_keeps_its_code_on_a_full_disk(folder: Path) -> None:
    """Its own error is told as ever, and the lost output beside it."""
    done = shell(folder, f"exec {NIXVM} rebuild >/dev/full")
    assert done.returncode == 3
    assert done.stderr.count(FULL) == 1
    assert "nixvm-loop: error: " in done.stderr.replace(FULL, "")


def test_watch_ends_on_a_full_disk(folder: Path) -> None:
    """A loop that cannot say anything any more does not go on for ever."""
    done = shell(folder, f"exec timeout 30 {NIXVM} watch >/dev/full")
    assert done.returncode == 8
    assert done.stderr.endswith(FULL)


def test_a_cycle_goes_on_though_the_disk_is_full(folder: Path) -> None:
    """A good cycle is run to its end, and is exit 8 as nobody was told of it."""
    (folder / "played.py").write_text(PLAYED.replace("SLEEP", "0.1").replace("VERDICT", "OK"))
    done = shell(folder, f"exec {sys.executable} played.py rebuild >/dev/full")
    assert done.returncode == 8
    assert "result: action restart, generation 1" in done.stderr
    assert done.stderr.endswith(FULL)


@pytest.mark.parametrize(("verdict", "code"), [("OK", 0), ("FAILED", 3)])
def test_a_cycle_that_had_ended_keeps_its_code(folder: Path, verdict: str, code: int) -> None:
    """`rebuild | head -1`: the reader leaves before the last line, which changes nothing of what was done."""
    (folder / "played.py").write_text(PLAYED.replace("SLEEP", "0").replace("VERDICT", verdict))
    with subprocess.Popen(
        [sys.executable, "played.py", "rebuild"],
        cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "nixvm-loop: cycle 27 started\n"
        process.stdout.close()
        process.stdin.close()
        told = process.stderr.read()
    assert process.returncode == code
    assert "nixvm-loop: the reader of the output is gone\n" in told
    assert "interrupted" not in told


@pytest.mark.parametrize("options", ["", " -o json"])
def test_a_cycle_that_is_cut_short(folder: Path, options: str) -> None:
    """`rebuild | true`: it ends in order with 130, and neither a signal nor a failure is made up."""
    (folder / "played.py").write_text(PLAYED.replace("SLEEP", "30").replace("VERDICT", "OK"))
    for command in (f"{sys.executable} played.py rebuild", f"{NIXVM} rebuild"):
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run(
            ["sh", "-c", f"exec {command}{options}"],
            cwd=folder, stdout=writer, stderr=subprocess.PIPE, text=True, check=False, timeout=20,
        )  # fmt: skip
        os.close(writer)
        assert done.returncode == 130
        assert done.stderr.startswith("nixvm-loop: the reader of the output is gone\n")
        assert done.stderr.endswith("nixvm-loop: interrupted\n")
        assert "SIG" not in done.stderr
        assert "failed" not in done.stderr


def test_watch_without_a_reader(folder: Path) -> None:
    """`watch | head -1` says why it ends."""
    done = shell(folder, f"{{ timeout 30 {NIXVM} watch; echo code $? >&2; }} | head -1")
    assert done.stdout == "nixvm-loop: cycle 1 started\n"
    assert "nixvm-loop: the reader of the output is gone\n" in done.stderr
    assert "stopped: the reader of the output is gone\ncode 130\n" in done.stderr
