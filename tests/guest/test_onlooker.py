"""A shell that waits in the guest and tells its facts when asked, by a real shell behind an sshd."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from nixvm_loop.errors import GuestError, HostKeyError
from nixvm_loop.guest import Access, Connection, FactsRequest, HostKeys, reach
from nixvm_loop.model.clock import SystemClock
from nixvm_loop.model.facts import ProbeResult
from nixvm_loop.model.settings import StoreSettings

if TYPE_CHECKING:
    import asyncssh

Make = Callable[..., Any]
BOOT_ID = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
SHELLS = [shell for shell in ("dash", "bash", "busybox") if shutil.which(shell)]


def interactive(shell: str) -> Callable[[asyncssh.SSHServerProcess[bytes]], Any]:
    """Runs commands with their input and output as they come; /bin/sh is `shell`."""

    async def handle(process: asyncssh.SSHServerProcess[bytes]) -> None:
        program = [shell, "sh"] if shell == "busybox" else [shell]
        command = (process.command or "").replace("exec /bin/sh ", f"exec {' '.join(program)} ", 1)
        child = await asyncio.create_subprocess_exec("/bin/sh", "-c", command, stdin=-1, stdout=-1, stderr=-3)
        assert child.stdin is not None
        assert child.stdout is not None
        feeding = asyncio.create_task(_feed(process, child.stdin))
        try:
            while chunk := await child.stdout.read(1 << 16):
                process.stdout.write(chunk)
            process.exit(await child.wait())
        finally:
            feeding.cancel()
            with suppress(ProcessLookupError):
                child.kill()
            await child.wait()

    return handle


async def _feed(process: asyncssh.SSHServerProcess[bytes], stdin: asyncio.StreamWriter) -> None:
    try:
        while chunk := await process.stdin.read(1 << 16):
            stdin.write(chunk)
    finally:
        stdin.close()


@pytest.fixture
def connect(access: Callable[..., Access], host_keys: Callable[..., HostKeys]) -> Callable[..., Any]:
    """Connects to an sshd."""

    async def made(sshd: Any, keys: HostKeys | None = None) -> Connection:
        return await reach(
            access(sshd.target), host_keys=keys or host_keys(), emit=lambda _: None, clock=SystemClock(), timeout_s=5.0
        )

    return made


@pytest.fixture
def store(tmp_path: Path) -> StoreSettings:
    """A folder of this machine in the store's place."""
    return StoreSettings(mount_point=str(tmp_path), ro_store="/proc", rw_store=str(tmp_path))


@pytest.mark.parametrize("shell", SHELLS)
async def test_facts_first_and_as_often_as_wanted(
    start_sshd: Make, connect: Make, store: StoreSettings, shell: str
) -> None:
    """No command is started for a glance; each is of that moment; the probes end it, and the next look is a command."""
    sshd = await start_sshd(interactive(shell))
    connection = await connect(sshd)
    assert await connection.glance() is None
    connection.prepare(store)
    connection.prepare(store)
    await asyncio.sleep(0)
    uptimes = []
    for _ in range(2):
        facts = await connection.glance(20.0)
        assert facts is not None
        assert facts.boot_id == BOOT_ID
        assert facts.kernel_release == os.uname().release
        assert facts.share is not None
        assert facts.is_root == (os.getuid() == 0)
        assert (facts.store_write, facts.rw_store) == (None, None)
        assert len(sshd.commands[0]) < 200, "it is for all to see in the guest's list of processes"
        uptimes.append(facts.uptime_s or 0.0)
        await asyncio.sleep(0.03)
    assert uptimes[0] < uptimes[1]
    whole = await connection.complete(20.0)
    assert whole is not None
    asked = await connection.gather(FactsRequest(store))
    assert (whole.uptime_s, len(sshd.commands)) == (uptimes[1], 2)
    assert whole.store_write is not None
    assert asked.store_write is not None
    assert whole.store_write.result is asked.store_write.result
    assert whole.store_write.result in set(ProbeResult)
    assert whole.rw_store is not None
    assert await connection.glance() is None
    await connection.close()


async def test_it_ends_with_what_it_read_from(start_sshd: Make, connect: Make, store: StoreSettings) -> None:
    """Let go, it leaves no shell in the guest; nor does it when it was still being started."""
    ended: list[int] = []
    answers = interactive("dash")

    async def handle(process: asyncssh.SSHServerProcess[bytes]) -> None:
        try:
            await answers(process)
        finally:
            ended.append(1)

    sshd = await start_sshd(handle)
    connection = await connect(sshd)
    for glances in (1, 0):
        connection.prepare(store)
        for _ in range(glances):
            assert await connection.glance(20.0) is not None
        connection.release()
        assert await connection.glance() is None
    async with asyncio.timeout(10):
        while len(ended) < 2:  # noqa: ASYNC110  # it has no event
            await asyncio.sleep(0.01)
    connection.prepare(store)
    await connection.close()


async def test_probes_alone_are_no_look(start_sshd: Make, connect: Make, store: StoreSettings) -> None:
    """Without facts before them nothing is told: half a look is not taken for a whole one."""
    connection = await connect(await start_sshd(interactive("dash")))
    connection.prepare(store)
    assert await connection.complete(20.0) is None
    connection.prepare(store)
    assert await connection.glance(20.0) is not None
    connection.release()
    connection.prepare(store)
    assert await connection.complete(20.0) is None
    await connection.close()


@pytest.mark.parametrize("how", ["killed", "ended"])
async def test_one_that_is_of_no_use(start_sshd: Make, connect: Make, store: StoreSettings, how: str) -> None:
    """Nobody is told anything by it: the next look is a command."""
    answers = interactive("dash")

    async def handle(process: asyncssh.SSHServerProcess[bytes]) -> None:
        if "head -c" not in (process.command or ""):
            await answers(process)
        elif how == "killed":
            await process.stdin.read(1)
            process.exit_with_signal("KILL")
        else:
            process.exit(127)

    connection = await connect(await start_sshd(handle))
    connection.prepare(store)
    assert await connection.glance(20.0) is None
    assert (await connection.gather(FactsRequest(store))).boot_id is not None
    await connection.close()


async def test_one_that_hangs(start_sshd: Make, connect: Make, store: StoreSettings) -> None:
    """It is given up in time, as a guest that does not answer; what it says later is nobody's answer."""

    async def handle(process: asyncssh.SSHServerProcess[bytes]) -> None:
        await process.stdin.read()
        process.exit(0)

    connection = await connect(await start_sshd(handle))
    connection.prepare(store)
    with pytest.raises(GuestError, match=r"did not answer within 0\.2s while it told about itself"):
        await connection.glance(0.2)
    assert await connection.glance() is None
    await connection.close()


async def test_one_that_floods_us(start_sshd: Make, connect: Make, store: StoreSettings) -> None:
    """It is cut off."""

    async def handle(process: asyncssh.SSHServerProcess[bytes]) -> None:
        await process.stdin.read(1)
        while True:
            process.stdout.write(b"x" * (1 << 16))
            await process.stdout.drain()

    connection = await connect(await start_sshd(handle))
    connection.prepare(store)
    assert await connection.glance(20.0) is None
    await connection.close()


async def test_a_connection_that_is_lost(start_sshd: Make, connect: Make, store: StoreSettings) -> None:
    """Whoever asks is told."""
    sshd = await start_sshd(interactive("dash"))
    connection = await connect(sshd)
    connection.prepare(store)
    assert await connection.glance(20.0) is not None
    sshd.drop()
    with pytest.raises(GuestError, match="connection to guest demo was lost"):
        await connection.glance(20.0)
    await connection.close()


async def test_a_glance_that_was_cut_short(start_sshd: Make, connect: Make, store: StoreSettings) -> None:
    """What was still to come is not taken for the answer to the next question."""
    sshd = await start_sshd(interactive("dash"))
    connection = await connect(sshd)
    connection.prepare(store)
    asking = asyncio.create_task(connection.glance(20.0))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert await connection.glance() is None
    await connection.close()


async def test_a_stranger_is_found_out_at_a_glance(
    start_sshd: Make, connect: Make, store: StoreSettings, host_keys: Make
) -> None:
    """The guest's own word on its host key may have come after the connection was made."""
    keys = host_keys()
    stranger, guest = await start_sshd(interactive("dash")), await start_sshd()
    connection = await connect(stranger, keys)
    connection.prepare(store)
    assert await connection.glance(20.0) is not None
    keys.hear(f"nixvm-loop-host-key: {guest.host_key}")
    with pytest.raises(HostKeyError):
        await connection.glance(20.0)
    await connection.close()
