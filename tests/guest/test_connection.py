from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from nixvm_loop.errors import GuestError, HostKeyError
from nixvm_loop.guest import Access, CommandEnd, Connection, FactsRequest, HostKeys, reach
from nixvm_loop.model.clock import SystemClock
from nixvm_loop.model.facts import GuestFacts
from nixvm_loop.model.settings import StoreSettings

if TYPE_CHECKING:
    from pathlib import Path

    import asyncssh

Make = Callable[..., Any]


@pytest.fixture
def connect(access: Callable[..., Access], host_keys: Callable[..., HostKeys]) -> Callable[..., Any]:
    """Connects to an sshd."""

    async def made(sshd: Any, keys: HostKeys | None = None) -> Connection:
        return await reach(
            access(sshd.target),
            host_keys=keys or host_keys(),
            emit=lambda _: None,
            clock=SystemClock(),
            timeout_s=5.0,
        )

    return made


async def test_a_command_gives_status_and_texts(start_sshd: Make, connect: Make) -> None:
    """Exit status, output and errors arrive, input is handed over, and what is not UTF-8 is replaced."""
    connection = await connect(await start_sshd())
    result = await connection.run("cat; printf '\\377'; echo bad >&2; exit 3", 5.0, stdin=b"in")
    assert (result.end, result.exit_status, result.ok) == (CommandEnd.EXITED, 3, False)
    assert (result.stdout, result.stderr) == ("in\ufffd", "bad\n")
    assert (await connection.run("true", 5.0)).ok
    await connection.close()
    assert connection.closed


async def test_one_round_trip_gathers_the_facts(tmp_path: Path, start_sshd: Make, connect: Make) -> None:
    """All of it comes by one command."""
    sshd = await start_sshd()
    connection = await connect(sshd)
    (tmp_path / "a").touch()
    store = StoreSettings(mount_point=str(tmp_path), rw_store=str(tmp_path))
    facts = await connection.gather(FactsRequest(store, (f"{tmp_path}/a", f"{tmp_path}/b")))
    assert facts.kernel_release == os.uname().release
    assert (facts.paths_checked, facts.missing_paths) == (2, (f"{tmp_path}/b",))
    assert len(sshd.commands) == 1
    await connection.close()


async def test_an_unusual_login_shell_is_got_round(start_sshd: Make, connect: Make, tmp_path: Path) -> None:
    """A shell with another syntax fails at first; then, and from then on, sh is asked for by name."""

    async def fish(process: asyncssh.SSHServerProcess[bytes]) -> None:
        command = process.command or ""
        if not command.startswith("exec /bin/sh -c "):
            process.stderr.write(b"fish: Missing end\n")
            process.exit(127)
            return
        child = await asyncio.create_subprocess_exec("/bin/sh", "-c", command, stdin=-3, stdout=-1, stderr=-3)
        process.stdout.write((await child.communicate())[0])
        process.exit(0)

    sshd = await start_sshd(fish)
    connection = await connect(sshd)
    request = FactsRequest(StoreSettings(mount_point=str(tmp_path), rw_store=str(tmp_path)))
    for _ in range(2):
        assert (await connection.gather(request)).boot_id is not None
    assert len(sshd.commands) == 3
    await connection.close()


async def test_a_shell_that_waits_takes_the_next_script(tmp_path: Path, start_sshd: Make, connect: Make) -> None:
    """It is opened once, takes one script of any length, and the one after that goes as usual."""
    sshd = await start_sshd()
    connection = await connect(sshd)
    connection.prepare()
    connection.prepare()
    await asyncio.sleep(0.2)
    assert len(sshd.commands) == 1
    names = tuple(f"{tmp_path}/{number:032}-a-package-with-a-name" for number in range(2000))
    store = StoreSettings(mount_point=str(tmp_path), rw_store=str(tmp_path))
    facts = await connection.gather(FactsRequest(store, names))
    assert (facts.kernel_release, facts.paths_checked) == (os.uname().release, 2000)
    assert len(sshd.commands) == 1
    assert (await connection.gather(FactsRequest(store))).kernel_release is not None
    assert len(sshd.commands) == 2
    connection.prepare()
    await connection.close()


async def test_a_waiting_shell_that_has_ended_is_not_asked(tmp_path: Path, start_sshd: Make, connect: Make) -> None:
    """Somebody killed it in the guest: another shell is asked."""
    ended = asyncio.Event()

    async def impatient(process: asyncssh.SSHServerProcess[bytes]) -> None:
        if "cat" in (process.command or "") and not ended.is_set():
            ended.set()
            process.exit_with_signal("KILL")
            return
        child = await asyncio.create_subprocess_exec("/bin/sh", "-c", process.command or "", stdin=-3, stdout=-1)
        process.stdout.write((await child.communicate())[0])
        process.exit(0)

    sshd = await start_sshd(impatient)
    connection = await connect(sshd)
    connection.prepare()
    await asyncio.sleep(0.2)
    assert ended.is_set()
    store = StoreSettings(mount_point=str(tmp_path), rw_store=str(tmp_path))
    assert (await connection.gather(FactsRequest(store))).boot_id is not None
    await connection.close()


async def test_a_connection_that_is_lost_takes_the_waiting_shell_with_it(start_sshd: Make, connect: Make) -> None:
    """It is told as what it is."""
    sshd = await start_sshd()
    connection = await connect(sshd)
    connection.prepare()
    await asyncio.sleep(0.2)
    sshd.drop()
    with pytest.raises(GuestError, match="connection to guest demo was lost"):
        await connection.gather(FactsRequest(StoreSettings()))
    connection.prepare()
    await connection.close()


async def test_a_shell_that_tells_nothing_is_an_error(start_sshd: Make, connect: Make) -> None:
    """What the shell complained of is among the details."""

    async def deaf(process: asyncssh.SSHServerProcess[bytes]) -> None:
        process.stderr.write(b"This account is not available.\n")
        process.exit(1)

    connection = await connect(await start_sshd(deaf))
    with pytest.raises(GuestError, match="broke off") as caught:
        await connection.gather(FactsRequest(StoreSettings()))
    assert caught.value.details == ("This account is not available.",)
    await connection.close()


async def test_a_slow_command_is_ended_in_time(start_sshd: Make, connect: Make) -> None:
    """The time is kept, what was said until then is told, and the connection lives on."""

    async def slow(process: asyncssh.SSHServerProcess[bytes]) -> None:
        if process.command == "true":
            process.exit(0)
            return
        process.stdout.write(b"so far")
        await asyncio.sleep(30.0)

    connection = await connect(await start_sshd(slow))
    started = time.monotonic()
    result = await connection.run("sleep", 0.15)
    assert time.monotonic() - started < 2.0
    assert (result.end, result.exit_status, result.stdout) == (CommandEnd.TIMED_OUT, None, "so far")
    assert (await connection.run("true", 5.0)).ok
    with pytest.raises(GuestError, match=r"did not answer within 0\.15s"):
        await connection.gather(FactsRequest(StoreSettings()), timeout_s=0.15)
    await connection.close()


async def test_a_flood_is_cut_off(start_sshd: Make, connect: Make) -> None:
    """A command that never stops talking neither fills the memory nor keeps us."""

    async def flood(process: asyncssh.SSHServerProcess[bytes]) -> None:
        while True:
            process.stdout.write(b"y\n" * 32768)
            await process.stdout.drain()

    connection = await connect(await start_sshd(flood))
    result = await connection.run("yes", 20.0)
    assert (result.end, result.exit_status) == (CommandEnd.FLOODED, None)
    assert len(result.stdout) < 6 << 20
    await connection.close()


async def test_a_killed_command_has_no_status(start_sshd: Make, connect: Make) -> None:
    """Neither a signal nor an end without any status counts as success."""

    async def die(process: asyncssh.SSHServerProcess[bytes]) -> None:
        await asyncio.sleep(0)
        if process.command == "signal":
            process.exit_with_signal("KILL")
        else:
            process.close()

    connection = await connect(await start_sshd(die))
    for command in ("signal", "nothing"):
        result = await connection.run(command, 5.0)
        assert (result.end, result.exit_status, result.ok) == (CommandEnd.KILLED, None, False)
    await connection.close()


async def test_a_lost_connection_is_an_error(start_sshd: Make, connect: Make) -> None:
    """While a command runs and afterwards: an error at once, no hang and no result."""

    async def lose(process: asyncssh.SSHServerProcess[bytes]) -> None:
        await asyncio.sleep(0.1)
        sshd.drop()
        process.close()

    sshd = await start_sshd(lose)
    connection = await connect(sshd)
    started = time.monotonic()
    for _ in range(2):
        with pytest.raises(GuestError, match="connection to guest demo was lost"):
            await connection.run("true", 20.0)
    assert time.monotonic() - started < 2.0
    assert connection.closed
    await connection.wait_closed()
    await connection.close()


async def test_settled_asks_only_while_systemd_starts(start_sshd: Make, connect: Make) -> None:
    """The final state and the failed units come once; without systemd nothing is asked; time over changes nothing."""

    async def systemd(process: asyncssh.SSHServerProcess[bytes]) -> None:
        await asyncio.sleep(0.2)
        process.stdout.write(b"degraded\na.service loaded failed failed A\n")
        process.exit(0)

    sshd = await start_sshd(systemd)
    connection = await connect(sshd)
    for state in (None, "running"):
        assert await connection.settled(GuestFacts(system_state=state), 5.0) == GuestFacts(system_state=state)
    assert sshd.commands == []
    starting = GuestFacts(boot_id="b", system_state="starting")
    assert await connection.settled(starting, 0.05) == starting
    settled = await connection.settled(starting, 5.0)
    assert settled == GuestFacts(boot_id="b", system_state="degraded", failed_units=("a.service",))
    await connection.close()


async def test_a_stranger_believed_at_first_is_found_out(
    start_sshd: Make, connect: Make, host_keys: Make, tmp_path: Path
) -> None:
    """When the guest announces another key later, the facts gathered from the stranger are not used."""
    keys = host_keys()
    stranger, guest = await start_sshd(), await start_sshd()
    connection = await connect(stranger, keys)
    request = FactsRequest(StoreSettings(mount_point=str(tmp_path), rw_store=str(tmp_path)))
    await connection.gather(request)
    keys.hear(f"nixvm-loop-host-key: {guest.host_key}")
    with pytest.raises(HostKeyError, match="does not show the guest's host key"):
        await connection.gather(request)
    await connection.close()


async def test_a_frozen_guest_is_noticed(start_sshd: Make, connect: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A guest that is there but answers nothing any more ends the connection long before a command's time is over."""
    monkeypatch.setattr(sys.modules[reach.__module__], "_KEEPALIVE_S", 0.05)
    sshd = await start_sshd()
    connection = await connect(sshd)
    sshd.connections[0]._transport.pause_reading()
    started = time.monotonic()
    with pytest.raises(GuestError, match="was lost"):
        await connection.run("true", 30.0)
    assert time.monotonic() - started < 2.0
    assert connection.closed
    await connection.close()


def test_the_room_is_quick_to_import() -> None:
    """Commands that do not talk to the guest do not pay for asyncssh; `preload` brings it."""
    code = (
        "import sys, nixvm_loop.guest as g; assert 'asyncssh' not in sys.modules; "
        "g.preload(); assert 'asyncssh' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
