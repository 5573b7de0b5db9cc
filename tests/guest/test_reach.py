from __future__ import annotations

import asyncio
import gc
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncssh
import pytest

from nixvm_loop.errors import GuestError, HostKeyError
from nixvm_loop.events.types import GuestWaiting
from nixvm_loop.guest import Access, Connection, dial, ensure_key, reach
from nixvm_loop.guest import reach as _reach_function
from nixvm_loop.model.clock import SystemClock
from nixvm_loop.model.settings import HostKeyPolicy
from nixvm_loop.model.values import SshTarget

if TYPE_CHECKING:
    from nixvm_loop.events.types import Event

Make = Callable[..., Any]
REACH_MODULE = sys.modules[_reach_function.__module__]


class Seen(list["Event"]):
    """Events, collected."""


async def find(access: Access, keys: Any, timeout_s: float = 5.0, seen: Seen | None = None) -> Connection:
    """Reach a guest."""
    events = Seen() if seen is None else seen
    return await reach(access, host_keys=keys, emit=events.append, clock=SystemClock(), timeout_s=timeout_s)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_a_guest_that_listens_is_reached_at_once(start_sshd: Make, access: Make, host_keys: Make) -> None:
    """No waiting, no event, and the key is kept for the boot."""
    sshd = await start_sshd()
    seen = Seen()
    started = time.monotonic()
    connection = await find(access(sshd.target), host_keys(), seen=seen)
    assert time.monotonic() - started < 1.0
    assert seen == []
    assert host_keys().known
    assert len(sshd.connections) == 1
    await connection.close()


async def test_a_guest_that_comes_up_late_is_reached_soon(
    start_sshd: Make, access: Make, host_keys: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused attempts go on, told now and then, until sshd listens."""
    monkeypatch.setattr(REACH_MODULE, "_WAITING_EVERY_S", 0.4)
    port = free_port()
    seen = Seen()
    search = asyncio.create_task(find(access(SshTarget("127.0.0.1", port)), host_keys(), seen=seen))
    await asyncio.sleep(0.6)
    await start_sshd(port=port)
    listening = time.monotonic()
    connection = await search
    assert time.monotonic() - listening < 0.6
    assert [type(event) for event in seen] == [GuestWaiting]
    assert isinstance(seen[0], GuestWaiting)
    assert seen[0].attempt >= 2
    assert 0.4 <= seen[0].seconds < 0.8
    await connection.close()


async def test_a_silent_first_answer_does_not_hold_up(
    start_sshd: Make, tcp_peer: Make, access: Make, host_keys: Make
) -> None:
    """Where a forwarding accepts too early and stays silent, a newer attempt wins; the losers are closed."""
    sshd = await start_sshd()
    held: list[asyncio.Task[None]] = []

    async def early_then_real(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.append(asyncio.current_task())  # type: ignore[arg-type]  # there is one
        if len(held) <= 2:
            assert await reader.read() == b""
            return
        inner_reader, inner_writer = await asyncio.open_connection(sshd.target.host, sshd.target.port)
        await asyncio.gather(_pump(reader, inner_writer), _pump(inner_reader, writer))

    async with tcp_peer(early_then_real) as target:
        connection = await find(access(target), host_keys())
        await asyncio.wait_for(asyncio.gather(*held[:2]), 2.0)
        assert len(held) == 3
        await connection.close()
        await asyncio.gather(*held)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
    writer.close()


async def test_the_announcement_brings_the_next_attempt_forward(
    start_sshd: Make, access: Make, host_keys: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guest's word is an occasion to try: nobody waits for the interval."""
    monkeypatch.setattr("nixvm_loop.guest.dial._INTERVAL_S", 30.0)
    port, keys = free_port(), host_keys()
    search = asyncio.create_task(find(access(SshTarget("127.0.0.1", port)), keys))
    await asyncio.sleep(0.1)
    sshd = await start_sshd(port=port)
    keys.hear(f"nixvm-loop-host-key: {sshd.host_key}")
    connection = await asyncio.wait_for(search, 2.0)
    await connection.close()


async def test_after_the_announcement_refusals_are_tried_again_soon(
    start_sshd: Make, access: Make, host_keys: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A guest announces its key a moment before its sshd listens."""
    monkeypatch.setattr("nixvm_loop.guest.dial._INTERVAL_S", 30.0)
    port, keys = free_port(), host_keys()
    key = asyncssh.generate_private_key("ssh-ed25519")
    monkeypatch.setattr(asyncssh, "generate_private_key", lambda _: key)
    keys.hear("nixvm-loop-host-key: " + " ".join(key.export_public_key().decode().split()[:2]))
    search = asyncio.create_task(find(access(SshTarget("127.0.0.1", port)), keys))
    await asyncio.sleep(0.3)
    await start_sshd(port=port)
    connection = await asyncio.wait_for(search, 2.0)
    await connection.close()


@pytest.mark.parametrize(
    ("said", "last"),
    [
        (b"", "closed before anything was said"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "not an SSH server"),
        (b"SSH-2.0-x\r\n", ""),
        (b"SSH-2.0-x\r\ngarbage" + bytes(1000), ""),
    ],
)
async def test_what_never_becomes_an_ssh_session_ends_in_time(
    tcp_peer: Make, access: Make, host_keys: Make, said: bytes, last: str
) -> None:
    """Peers that close, speak something else or break off are tried until the time is over; the last reason is told."""

    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        await writer.drain()

    async with tcp_peer(talk) as target:
        with pytest.raises(GuestError, match=rf"did not answer SSH on 127.0.0.1:\d+ within 0\.3s.*{last}"):
            await find(access(target), host_keys(), 0.3)


async def test_silence_ends_in_time_and_leaves_nothing(
    tcp_peer: Make, access: Make, host_keys: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Connections that were accepted and never answered are all closed at the end."""
    monkeypatch.setattr("nixvm_loop.guest.dial._INTERVAL_S", 0.01)
    begun = ended = 0

    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        nonlocal begun, ended
        begun += 1
        assert await reader.read() == b""
        ended += 1

    async with tcp_peer(silent) as target:
        with pytest.raises(GuestError, match=r"did not answer SSH"):
            await find(access(target), host_keys(), 0.5)
        for _ in range(100):
            if ended == begun:
                break
            await asyncio.sleep(0.01)
        # As many as wait at once: OpenSSH shuts out who has more.
        assert begun == ended == 6
    gc.collect()


async def test_nobody_listens(access: Make, host_keys: Make) -> None:
    """A refused connection is named, and so is the address."""
    target = SshTarget("127.0.0.1", free_port())
    with pytest.raises(GuestError, match=rf"on 127.0.0.1:{target.port} within 0\.3s \(last: .*refused\)"):
        await find(access(target), host_keys(), 0.3)


async def test_a_name_that_does_not_exist(access: Make, host_keys: Make) -> None:
    """A host that cannot be resolved is told like any other failure."""
    with pytest.raises(GuestError, match=r"did not answer SSH on nowhere\.invalid:22"):
        await find(access(SshTarget("nowhere.invalid", 22)), host_keys(), 0.2)


async def test_a_stranger_is_refused_at_once(start_sshd: Make, access: Make, host_keys: Make) -> None:
    """Another key than the announced one ends the search, however long it might go on; nobody logs in there."""
    keys = host_keys()
    stranger, guest = await start_sshd(), await start_sshd()
    keys.hear(f"nixvm-loop-host-key: {guest.host_key}")
    started = time.monotonic()
    with pytest.raises(HostKeyError, match="does not show the guest's host key") as caught:
        await find(access(stranger.target), keys, 60.0)
    assert time.monotonic() - started < 2.0
    assert caught.value.hint is not None
    assert stranger.commands == []


async def test_a_stranger_in_the_same_boot_is_refused(start_sshd: Make, access: Make, host_keys: Make) -> None:
    """A guest that announces nothing is held to the first key of the boot."""
    first, second = await start_sshd(), await start_sshd()
    connection = await find(access(first.target), host_keys())
    await connection.close()
    with pytest.raises(HostKeyError):
        await find(access(second.target), host_keys())
    connection = await find(access(second.target), host_keys(boot="boot-2"))
    await connection.close()


async def test_a_guest_that_used_to_announce_is_waited_for(start_sshd: Make, access: Make, host_keys: Make) -> None:
    """First sight is not enough for it: the search goes on when the announcement comes."""
    sshd = await start_sshd()
    host_keys().hear(f"nixvm-loop-host-key: {sshd.host_key}")
    keys = host_keys(boot="boot-2")
    search = asyncio.create_task(find(access(sshd.target), keys))
    await asyncio.sleep(0.3)
    assert not search.done()
    keys.hear(f"nixvm-loop-host-key: {sshd.host_key}")
    connection = await asyncio.wait_for(search, 2.0)
    await connection.close()


async def test_a_guest_that_stops_announcing_is_not_trusted(start_sshd: Make, access: Make, host_keys: Make) -> None:
    """The wait ends with the time for the boot, as a question of the host key and not of silence."""
    sshd = await start_sshd()
    host_keys().hear(f"nixvm-loop-host-key: {sshd.host_key}")
    with pytest.raises(HostKeyError, match=r"announced no host key within 0\.3s"):
        await find(access(sshd.target), host_keys(boot="boot-2"), 0.3)


async def test_pinned_accepts_only_what_known_hosts_holds(
    tmp_path: Path, start_sshd: Make, access: Make, host_keys: Make
) -> None:
    """A key that the user wrote down is accepted, any other refused, and the file is not touched."""
    guest, stranger = await start_sshd(), await start_sshd()
    file = tmp_path / "ssh" / "known_hosts"
    file.parent.mkdir()
    file.write_text(f"demo {guest.host_key}\n")
    pinned = HostKeyPolicy.PINNED
    connection = await find(access(guest.target, pinned), host_keys(pinned))
    await connection.close()
    with pytest.raises(HostKeyError, match="known_hosts does not hold"):
        await find(access(stranger.target, pinned), host_keys(pinned))
    assert file.read_text() == f"demo {guest.host_key}\n"


async def test_off_accepts_anything(start_sshd: Make, access: Make, host_keys: Make) -> None:
    """Even a key that contradicts what is known."""
    guest, other = await start_sshd(), await start_sshd()
    host_keys().accepted(guest.host_key)
    off = HostKeyPolicy.OFF
    connection = await find(access(other.target, off), host_keys(off))
    await connection.close()


async def test_a_guest_with_another_type_of_key_is_reached(start_sshd: Make, access: Make, host_keys: Make) -> None:
    """Where the usual types are not to be had, all others are tried."""
    sshd = await start_sshd(key_type="ssh-rsa")
    connection = await find(access(sshd.target), host_keys())
    await connection.close()


async def test_a_key_that_is_not_accepted_ends_the_search(
    tmp_path: Path, start_sshd: Make, access: Make, host_keys: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried again for a little while, since an sshd may be up before its keys, and then told with the way out."""
    monkeypatch.setattr(REACH_MODULE, "_DENIED_RETRY_S", 0.4)
    sshd = await start_sshd(accepts=ensure_key(tmp_path / "other").public)
    started = time.monotonic()
    with pytest.raises(GuestError, match=r"does not accept the key .* for user root") as caught:
        await find(access(sshd.target), host_keys(), 60.0)
    assert 0.4 <= time.monotonic() - started < 3.0
    assert len(sshd.connections) >= 2
    assert caught.value.hint is not None
    assert ".pub" in caught.value.hint


async def test_a_key_that_cannot_be_read_ends_the_search(tmp_path: Path, access: Make, host_keys: Make) -> None:
    """Nothing is tried with a key that is not there or is none."""
    made = access(SshTarget("127.0.0.1", 1))
    for key in (tmp_path / "missing", tmp_path / "nonsense"):
        (tmp_path / "nonsense").write_text("x")
        with pytest.raises(GuestError, match="cannot be read"):
            await find(Access(made.name, made.target, made.user, key), host_keys(), 60.0)


async def test_cancelling_ends_all_attempts(tcp_peer: Make, access: Make, host_keys: Make) -> None:
    """When the guest is known to be dead, the search ends at once and closes what it opened."""
    ended = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        assert await reader.read() == b""
        ended.set()

    async with tcp_peer(silent) as target:
        search = asyncio.create_task(find(access(target), host_keys(), 60.0))
        await asyncio.sleep(0.1)
        search.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(search, 1.0)
        await asyncio.wait_for(ended.wait(), 1.0)


async def test_cancelling_during_the_handshake_closes_the_socket(tcp_peer: Make, access: Make, host_keys: Make) -> None:
    """The same once a banner has come."""
    ended = asyncio.Event()

    async def banner(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-slow\r\n")
        while await reader.read(4096):
            pass
        ended.set()

    async with tcp_peer(banner) as target:
        search = asyncio.create_task(find(access(target), host_keys(), 60.0))
        await asyncio.sleep(0.2)
        search.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(search, 1.0)
        await asyncio.wait_for(ended.wait(), 1.0)


async def test_a_proxy_command_leads_to_the_guest(start_sshd: Make, access: Make, host_keys: Make) -> None:
    """Its standard input and output are the connection; it is gone when the connection is."""
    sshd = await start_sshd()
    relay = Path(__file__).with_name("relay.py")
    proxy = (sys.executable, str(relay), sshd.target.host, str(sshd.target.port))
    connection = await find(access(SshTarget("unused.invalid", 22), proxy=proxy), host_keys())
    assert (await connection.run("echo hi", 5.0)).stdout == "hi\n"
    await connection.close()


async def test_a_proxy_command_that_fails_ends_in_time(access: Make, host_keys: Make) -> None:
    """A program that ends at once, or that is not there, is tried until the time is over."""
    for proxy in (("false",), ("/does/not/exist",)):
        with pytest.raises(GuestError, match=r"by proxy_command within 0\.4s"):
            await find(access(SshTarget("x", 22), proxy=proxy), host_keys(), 0.4)


async def test_two_winners_at_once_leave_one_connection(start_sshd: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever wins in the same moment is closed again."""
    monkeypatch.setattr("nixvm_loop.guest.dial._INTERVAL_S", 0.02)
    sshd = await start_sshd()
    opened: list[socket.socket] = []
    all_open = asyncio.Event()
    attempt = dial._attempt

    async def together(target: SshTarget) -> socket.socket:
        connection = await attempt(target)
        opened.append(connection)
        if len(opened) == 3:
            all_open.set()
        await all_open.wait()
        return connection

    monkeypatch.setattr(dial, "_attempt", together)
    winner = await dial.dial(sshd.target, news=asyncio.Event(), on_attempt=lambda _: None)
    assert [connection for connection in opened if connection.fileno() >= 0] == [winner]
    winner.close()
