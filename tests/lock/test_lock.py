from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING

from nixvm_loop.lock import Holder, held, read_holder

if TYPE_CHECKING:
    from pathlib import Path

ME = Holder(os.getpid(), "nixvm-loop rebuild", "2026-01-01T00:00:00Z")
HOLD = """
import asyncio, os, sys
from pathlib import Path
from nixvm_loop.lock import Holder, held
async def main():
    async with held(Path(sys.argv[1]), Holder(os.getpid(), "nixvm-loop watch", "now"), print):
        print("held", flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""


async def test_the_second_waits_and_is_told_who_holds_the_guest(tmp_path: Path) -> None:
    """A lock held by another process is waited for, its holder named; when that dies by SIGKILL, we go on."""
    path = tmp_path / "lock"
    other = await asyncio.create_subprocess_exec(sys.executable, "-c", HOLD, path, stdout=asyncio.subprocess.PIPE)
    try:
        assert other.stdout is not None
        assert await other.stdout.readline() == b"held\n"
        told: list[Holder | None] = []

        async def second() -> None:
            async with held(path, ME, told.append):
                assert read_holder(path) == ME

        waiting = asyncio.create_task(second())
        await asyncio.sleep(0.3)
        assert not waiting.done()
        assert told == [Holder(other.pid, "nixvm-loop watch", "now")]
        other.kill()
        await asyncio.wait_for(waiting, 2)
    finally:
        await other.wait()
    assert read_holder(path) is None


async def test_a_cancelled_wait_leaves_the_lock_alone(tmp_path: Path) -> None:
    """Ctrl-C while waiting takes nothing away from the holder."""
    path = tmp_path / "lock"
    async with held(path, ME, print):

        async def second() -> None:
            async with held(path, ME, lambda _: None):
                raise AssertionError

        waiting = asyncio.create_task(second())
        await asyncio.sleep(0.15)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert waiting.cancelled()
        assert read_holder(path) == ME


async def test_a_lock_whose_file_was_removed_is_taken_on_the_new_file(tmp_path: Path) -> None:
    """When the holder removed the state, whoever waited holds a lock that others can see."""
    path = tmp_path / "lock"
    entered = asyncio.Event()

    async def second() -> None:
        async with held(path, ME, lambda _: None):
            assert path.stat().st_nlink == 1
            entered.set()

    async with held(path, ME, print):
        waiting = asyncio.create_task(second())
        await asyncio.sleep(0.15)
        path.unlink()
    await asyncio.wait_for(waiting, 2)
    assert entered.is_set()
