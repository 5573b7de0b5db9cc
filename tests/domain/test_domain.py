from __future__ import annotations

import asyncio
import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest

from nixvm_loop.domain import Connection, Domain, LifecycleKind, StopResult
from nixvm_loop.domain.binding import call
from nixvm_loop.errors import DomainError
from nixvm_loop.model.settings import StopPolicy

if TYPE_CHECKING:
    from pathlib import Path

BOOTING = """<domain type='test'><name>demo</name><memory>65536</memory>
  <os><type>hvm</type><kernel>/k</kernel></os><on_reboot>destroy</on_reboot></domain>"""


async def start(domain: Domain) -> None:
    """The test driver knows no paused start."""
    await call("starting", domain.handle.create)


async def test_define_start_and_stop(connection: Connection) -> None:
    """A domain goes through its states."""
    domain = await connection.define(BOOTING)
    assert (await domain.definition()).kernel == "/k"
    assert await domain.state() == "shut off"
    assert await domain.running() is None
    await start(domain)
    assert await domain.state() == "running"
    running = await domain.running()
    assert running is not None
    assert running.kernel == "/k"
    assert await domain.stop(StopPolicy.FORCE, 1) is StopResult.FORCED
    assert await domain.stop(StopPolicy.FORCE, 1) is StopResult.WAS_OFF
    assert await domain.state() == "shut off"
    await domain.undefine()
    assert await connection.find("demo") is None


async def test_a_definition_is_for_the_next_start(connection: Connection) -> None:
    """Defining a running domain anew changes what is defined, not what runs."""
    domain = await connection.define(BOOTING)
    await start(domain)
    uuid = f"<uuid>{domain.uuid}</uuid>"
    await connection.define(BOOTING.replace("/k<", "/new<").replace("<memory>", f"{uuid}<memory>"))
    running = await domain.running()
    assert running is not None
    assert running.kernel == "/k"
    assert (await domain.definition()).kernel == "/new"


async def test_a_shutdown_is_seen_at_once(connection: Connection) -> None:
    """A graceful stop ends with the event, not with the timeout."""
    domain = await connection.get("test")
    started = time.monotonic()
    assert await domain.stop(StopPolicy.GRACEFUL, 10) is StopResult.POWERED_OFF
    assert time.monotonic() - started < 2


async def test_events_reach_every_listener(connection: Connection) -> None:
    """Two listeners hear the same events of their domain, and nothing of another."""
    domain = await connection.define(BOOTING)
    other = await connection.get("test")
    async with domain.lifecycle() as first, domain.lifecycle() as second, other.lifecycle() as third:
        await start(domain)
        await domain.stop(StopPolicy.FORCE, 1)
        for listener in (first, second):
            event = await asyncio.wait_for(listener.stopped(), 2)
            assert event.kind is LifecycleKind.STOPPED
            assert event.ended
            assert event.words == "was destroyed"
        await other.stop(StopPolicy.FORCE, 1)
        assert (await asyncio.wait_for(third.next(), 2)).ended


async def test_the_mark_belongs_to_a_run(connection: Connection) -> None:
    """A mark is read back while that run goes on; a domain that is off has none."""
    domain = await connection.get("test")
    assert await domain.boot_mark() is None
    await domain.set_boot_mark("cycle 3 <&>")
    assert await domain.boot_mark() == "cycle 3 <&>"
    await domain.stop(StopPolicy.FORCE, 1)
    assert await domain.boot_mark() is None
    with pytest.raises(DomainError, match="marking domain test failed"):
        await domain.set_boot_mark("too late")


async def test_an_unknown_domain_is_named_with_those_that_exist(connection: Connection) -> None:
    """The error has exit code 5 and offers the nearest name."""
    assert await connection.names() == ("test",)
    with pytest.raises(DomainError, match="there is no domain tset at test://") as caught:
        await connection.get("tset")
    assert 'did you mean domain = "test"?' in str(caught.value.hint)
    with pytest.raises(DomainError) as caught:
        await connection.get("quite-another")
    assert "domains there: test" in str(caught.value.hint)


async def test_starting_twice_is_refused_in_words(connection: Connection) -> None:
    """What libvirt refuses is told with what was being done."""
    domain = await connection.get("test")
    with pytest.raises(DomainError, match="starting domain test failed: "):
        await domain.start_paused()


async def test_no_libvirt(tmp_path: Path) -> None:
    """A libvirt that is not there is told with what to do: no socket, and one that nobody serves."""
    stale = tmp_path / "stale"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(stale))
        for path in (tmp_path / "none", stale):
            with pytest.raises(DomainError, match=f"daemon is not running .*{path.name}") as caught:
                await Connection.open(f"qemu+unix:///system?socket={path}")
            assert "systemctl start libvirtd" in str(caught.value.hint)


async def test_a_connection_knows_whether_it_holds(node: str) -> None:
    """Open it is alive; closed it is not, and closing twice is fine."""
    connection = await Connection.open(node)
    assert await connection.alive()
    await connection.close()
    assert not await connection.alive()
    await connection.close()


async def test_a_call_that_never_returns_is_given_up() -> None:
    """The caller gets an error after the timeout, and the thread keeps nobody from leaving."""
    never = threading.Event()
    started = time.monotonic()
    with pytest.raises(DomainError, match="did not answer within 0s while waiting for nothing"):
        await call("waiting for nothing", never.wait, timeout_s=0.1)
    assert time.monotonic() - started < 1
    assert all(thread.daemon for thread in threading.enumerate() if thread.name == "libvirt-call")
    never.set()


async def test_a_cancelled_call_is_left_behind() -> None:
    """Cancelling does not wait for libvirt."""
    never = threading.Event()
    task = asyncio.create_task(call("waiting", never.wait))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 1)
    never.set()


def test_the_library_serves_one_event_loop_after_another(node: str) -> None:
    """Events arrive in a second asyncio.run as they did in the first."""

    async def stop() -> StopResult:
        connection = await Connection.open(node)
        domain = await connection.get("test")
        result = await domain.stop(StopPolicy.GRACEFUL, 5)
        await connection.close()
        return result

    assert [asyncio.run(stop()) for _ in range(2)] == [StopResult.POWERED_OFF] * 2
