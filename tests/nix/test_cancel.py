"""A build that is given up leaves nothing running: nix, the builder, the builder's children."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nixvm_loop.events.types import BuildLog, Event
from nixvm_loop.nix import build
from tests.nix.flakes import Heard, git, guest_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.usefixtures("real_nix")
_REPO = Path(__file__).parents[2]
_numbers = itertools.count()
_GONE_WITHIN_S = 1.0
_CALLER = """
import asyncio, sys
from pathlib import Path
from nixvm_loop.nix import build
from tests.nix.flakes import guest_of

tree = Path(sys.argv[1])
asyncio.run(build(guest_of(tree), tree.parent / "toplevel", lambda event: None, lambda line: print(line, flush=True)))
"""


class Sleeper:
    """A system whose builder sleeps, with a child in the background; its processes are known by a word."""

    def __init__(self, tree: Path) -> None:
        self.tree = tree
        self.word = f"{300 + next(_numbers)}.{os.getpid()}{time.time_ns() % 10**9}"
        script = f"sleep {self.word} & echo asleep; sleep {self.word}; wait"
        text = (
            '{ config.system.build.toplevel = derivation { name = "sleeper"; system = "x86_64-linux";'
            f' builder = "/bin/sh"; PATH = "/usr/bin:/bin"; args = [ "-c" "{script}" ]; }}; }}'
        )
        (tree / "system.nix").write_text(text)

    def processes(self) -> list[int]:
        """Whatever still runs of the build: builder, sleeps, and nix, which has the folder among its arguments."""
        found = []
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = entry.read_bytes()
            except OSError:
                continue
            if self.word.encode() in words or (f"{self.tree}#".encode() in words and b"python" not in words):
                found.append(int(entry.parent.name))
        return found

    async def gone(self) -> float:
        """Seconds until nothing of the build runs any more; fails after some."""
        started = time.monotonic()
        while self.processes():
            assert time.monotonic() - started < 5 * _GONE_WITHIN_S, self.processes()
            await asyncio.sleep(0.02)
        return time.monotonic() - started


@pytest.fixture
def sleeper(checkout: Callable[[str], Path]) -> Iterator[Sleeper]:
    """A build that would take minutes; a test that fails leaves nothing of it."""
    sleeper = Sleeper(checkout("success"))
    yield sleeper
    for pid in sleeper.processes():
        os.kill(pid, signal.SIGKILL)


@pytest.fixture
def own_daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A nix-daemon of this test's own, where this user may run one."""
    if os.access("/nix/var/nix/db", os.W_OK) is False:
        pytest.skip("the store belongs to somebody else")
    # A socket's path has to be short.
    socket = Path("/tmp") / f"nixvm-loop-test-{os.getpid()}-{next(_numbers)}.socket"
    daemon = shutil.which("nix-daemon") or "nix-daemon"
    with (tmp_path / "daemon.log").open("wb") as log:
        env = {**os.environ, "NIX_DAEMON_SOCKET_PATH": str(socket)}
        process = subprocess.Popen([daemon, "--daemon"], env=env, stderr=log, start_new_session=True)
    try:
        deadline = time.monotonic() + 5
        while not socket.exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        monkeypatch.setenv("NIX_REMOTE", f"unix://{socket}")
        yield
    finally:
        process.terminate()
        process.wait(5)
        socket.unlink(missing_ok=True)


async def until_asleep(heard: Heard, task: asyncio.Task[Path]) -> None:
    async with asyncio.timeout(20):
        while not any(isinstance(event, BuildLog) and event.line == "asleep" for event in heard.events):
            if task.done():
                await task
            await asyncio.sleep(0.02)


async def cancel_and_wait(sleeper: Sleeper) -> float:
    heard = Heard()
    events: Callable[[Event], None] = heard.events.append
    task = asyncio.create_task(
        build(guest_of(sleeper.tree), sleeper.tree.parent / "toplevel", events, heard.lines.append)
    )
    await until_asleep(heard, task)
    assert len(sleeper.processes()) >= 3
    started = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await sleeper.gone()
    return time.monotonic() - started


async def test_a_cancelled_build_is_gone_at_once(sleeper: Sleeper) -> None:
    """Nix with the store in its own hands ends its builders when it is interrupted."""
    assert await cancel_and_wait(sleeper) < _GONE_WITHIN_S


@pytest.mark.usefixtures("own_daemon")
async def test_a_cancelled_build_of_a_daemon_is_gone_at_once(sleeper: Sleeper) -> None:
    """The daemon ends the builders of a client that went away."""
    assert await cancel_and_wait(sleeper) < _GONE_WITHIN_S


async def killed_caller(sleeper: Sleeper) -> float:
    caller = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _CALLER, str(sleeper.tree), cwd=_REPO, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert caller.stdout is not None
        async with asyncio.timeout(20):
            while b"asleep" not in (line := await caller.stdout.readline()):
                assert line
        assert len(sleeper.processes()) >= 3
    finally:
        caller.kill()
        await caller.wait()
    return await sleeper.gone()


async def test_a_killed_caller_leaves_no_build(sleeper: Sleeper) -> None:
    """SIGKILL leaves no time to clean up, and still nothing stays."""
    assert await killed_caller(sleeper) < _GONE_WITHIN_S


@pytest.mark.usefixtures("own_daemon")
async def test_a_killed_caller_leaves_no_build_with_a_daemon(sleeper: Sleeper) -> None:
    """The same with the builders in a daemon's hands."""
    assert await killed_caller(sleeper) < _GONE_WITHIN_S


async def test_after_a_cancelled_build_the_next_one_works(sleeper: Sleeper, heard: Heard) -> None:
    """No lock and no half-made output stands in the way."""
    await cancel_and_wait(sleeper)
    file = sleeper.tree / "system.nix"
    file.write_text(
        file.read_text().replace(f"sleep {sleeper.word} & ", "").replace(f"sleep {sleeper.word}; wait", "echo x > $out")
    )
    git(sleeper.tree, "commit", "-qam", "second")
    toplevel = await build(guest_of(sleeper.tree), sleeper.tree.parent / "x", heard.events.append, heard.lines.append)
    assert toplevel.read_text() == "x\n"
