from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from nixvm_loop.errors import GuestError, HostKeyError
from nixvm_loop.guest import Access, CommandEnd, Connection, FactsRequest, HostKeys, KeyPair, reach
from nixvm_loop.guest.switch import Switch
from nixvm_loop.model.clock import SystemClock
from nixvm_loop.model.facts import GuestFacts
from nixvm_loop.model.settings import StoreSettings
from nixvm_loop.model.values import SshTarget
from tests.guest.conftest import Sshd

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


@asynccontextmanager
async def an_sshd_that_refuses(times: int, key: KeyPair) -> AsyncIterator[Sshd]:
    """As a guest that can start no process for a moment: sessions open, the first `times` commands are refused."""
    commands: list[str] = []

    class Session(asyncssh.SSHServerSession[bytes]):
        def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
            self.chan = chan

        def exec_requested(self, command: str) -> bool:
            commands.append(command)
            return len(commands) > times

        def session_started(self) -> None:
            self.chan.write(b"done\n")
            self.chan.exit(0)

    class Server(asyncssh.SSHServer):
        def session_requested(self) -> asyncssh.SSHServerSession[bytes]:
            return Session()

    listener = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_factory=Server,
        server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
        authorized_client_keys=asyncssh.import_authorized_keys(key.public),
        encoding=None,
    )
    async with listener:
        yield Sshd(SshTarget("127.0.0.1", listener.get_port()), "", listener, [], commands)


async def test_a_command_that_is_refused_is_tried_again(connect: Make, key: KeyPair) -> None:
    """A guest that was short of something for a moment runs it at the next try, once."""
    async with an_sshd_that_refuses(2, key) as sshd:
        connection = await connect(sshd)
        assert (await connection.run("true", 5.0)).stdout == "done\n"
        assert len(sshd.commands) == 3
        await connection.close()


async def test_a_guest_that_refuses_every_command_is_not_taken_for_a_lost_one(connect: Make, key: KeyPair) -> None:
    """It is tried a few times; then it is said that the connection stands and the guest refuses."""
    async with an_sshd_that_refuses(1000, key) as sshd:
        connection = await connect(sshd)
        with pytest.raises(GuestError, match="the sshd of guest demo runs no command"):
            await connection.run("true", 5.0)
        assert not connection.closed
        assert len(sshd.commands) == 3
        await connection.close()


def a_switch(folder: Path, *names: str) -> tuple[Switch, FactsRequest]:
    """A switch to a system on this machine that is there at once, and what is asked after it."""
    program = folder / "system/bin/switch-to-configuration"
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text("#!/bin/sh\necho switched\n")
    program.chmod(0o755)
    store = StoreSettings(mount_point=str(folder), ro_store="/proc", rw_store=str(folder))
    paths = tuple(str(folder / name) for name in names)
    system, where, caches = (str(folder / name) for name in ("system", "run", "caches"))
    return Switch(store, system, paths, lambda _: None, folder=where, caches=caches), FactsRequest(store)


async def until(holds: Callable[[], bool]) -> None:
    """Wait for what has to come."""
    async with asyncio.timeout(30):
        while not holds():  # noqa: ASYNC110  # what is waited for has no event
            await asyncio.sleep(0.01)


no_systemd = pytest.mark.skipif(Path("/run/systemd/system").is_dir(), reason="would start units of this machine")


@no_systemd
async def test_a_shell_that_waits_takes_the_next_switch(tmp_path: Path, start_sshd: Make, connect: Make) -> None:
    """It is opened once, takes one script of any length, and the one after that goes as usual."""
    sshd = await start_sshd()
    connection = await connect(sshd)
    connection.prepare_switch()
    connection.prepare_switch()
    await until(lambda: len(sshd.commands) == 1)
    names = [f"{number:032}-a-package-with-a-name" for number in range(400)]
    for name in names:
        (tmp_path / name).touch()
    for commands in (1, 2):
        switch, then = a_switch(tmp_path, *names)
        facts = await connection.advance(switch, 20.0, then)
        assert (switch.exit_status, switch.lines) == (0, ["switched"])
        assert facts is not None
        assert facts.kernel_release == os.uname().release
        assert len(sshd.commands) == commands
    connection.prepare_switch()
    await connection.close()


@no_systemd
@pytest.mark.parametrize("how", ["killed while it waited", "killed as it was asked", "refused", "without cat"])
async def test_a_waiting_shell_that_is_of_no_use(tmp_path: Path, start_sshd: Make, connect: Make, how: str) -> None:
    """Another one is asked, and the switch is begun there."""
    met = asyncio.Event()

    async def impatient(process: asyncssh.SSHServerProcess[bytes]) -> None:
        if not met.is_set():
            met.set()
            if how == "killed as it was asked":
                await process.stdin.read(1)
            if how != "without cat":
                process.exit_with_signal("KILL")
                return
            await process.stdin.read()
            process.stderr.write(b"sh: cat: not found\n")
            process.exit(0)
            return
        child = await asyncio.create_subprocess_exec(
            "/bin/sh", "-c", process.command or "", stdin=-3, stdout=-1, stderr=-3
        )
        process.stdout.write((await child.communicate())[0])
        process.exit(0)

    connection = await connect(await start_sshd(impatient))
    if how == "refused":
        connection._sessions._waiting = asyncio.ensure_future(refused())
        met.set()
    else:
        connection.prepare_switch()
    if how == "killed while it waited":
        await until(met.is_set)
    switch, then = a_switch(tmp_path)
    assert await connection.advance(switch, 20.0, then) is not None
    assert (switch.exit_status, switch.lines) == (0, ["switched"])
    await connection.close()


async def refused() -> Any:
    """As an sshd that has enough sessions."""
    raise asyncssh.ChannelOpenError(4, "Session refused")


async def test_a_connection_that_is_lost_takes_the_waiting_shell_with_it(
    tmp_path: Path, start_sshd: Make, connect: Make
) -> None:
    """It is told as what it is, and the switch counts as begun: it may have been."""
    sshd = await start_sshd()
    connection = await connect(sshd)
    connection.prepare_switch()
    await until(lambda: len(sshd.commands) == 1)
    sshd.drop()
    switch, then = a_switch(tmp_path)
    with pytest.raises(GuestError, match="connection to guest demo was lost"):
        await connection.advance(switch, 20.0, then)
    assert switch.started
    connection.prepare_switch()
    await connection.close()


async def test_more_commands_than_sshd_takes_sessions(start_sshd: Make, connect: Make) -> None:
    """OpenSSH refuses the eleventh: those that are too many wait for the others."""
    running, most = set[object](), 0

    async def count(process: asyncssh.SSHServerProcess[bytes]) -> None:
        nonlocal most
        running.add(process)
        most = max(most, len(running))
        await asyncio.sleep(0.05)
        running.discard(process)
        process.exit(0)

    connection = await connect(await start_sshd(count))
    results = await asyncio.gather(*(connection.run("true", 10.0) for _ in range(25)))
    assert all(result.ok for result in results)
    assert 1 < most <= 8
    await connection.close()


async def test_an_opening_that_is_cut_short_leaves_no_channel(start_sshd: Make, connect: Make) -> None:
    """However often that happens, there are sessions left."""
    connection = await connect(await start_sshd())
    for _ in range(5):
        task = asyncio.ensure_future(connection.run("true", 10.0))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await until(lambda: not connection._ssh._channels)
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


async def test_a_guest_that_takes_no_more_connections(
    start_sshd: Make, connect: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection that is kept would hide it; a sshd that is just being restarted is waited for."""
    request = FactsRequest(StoreSettings(mount_point=str(tmp_path), rw_store=str(tmp_path)))
    connection = await connect(await start_sshd())
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
    monkeypatch.setenv("SSH_CONNECTION", f"127.0.0.1 1 127.0.0.1 {port}")
    with pytest.raises(GuestError, match="takes no new SSH connections"):
        await connection.gather(request)
    looking = asyncio.create_task(connection.gather(request))
    await asyncio.sleep(0.2)
    with socket.create_server(("127.0.0.1", port)):
        assert (await looking).listens
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
