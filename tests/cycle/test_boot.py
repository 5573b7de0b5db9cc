from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from nixvm_loop.cycle.boot import BootWatch
from nixvm_loop.domain import End, LifecycleEvent, LifecycleKind
from nixvm_loop.domain.lifecycle import RESET
from nixvm_loop.errors import BootError, ConnectionLostError, DomainError, GuestError, OperatorStopError
from nixvm_loop.guest import HostKeys
from nixvm_loop.model.settings import HostKeyPolicy

RECORDED = Path(__file__).parents[1] / "fixtures" / "console"
POWERED_OFF = LifecycleEvent(LifecycleKind.STOPPED, "powered off", End.POWERED_OFF)
CRASHED = LifecycleEvent(LifecycleKind.PANICKED, "crashed", End.CRASHED)


@pytest.fixture
async def watch(tmp_path: Path) -> BootWatch:
    """A watch of a boot that has just begun."""
    return BootWatch(lambda _: None, lambda _: None, HostKeys(tmp_path, "demo", HostKeyPolicy.AUTO), "share")


async def outcome(watch: BootWatch, timeout_s: float = 1.0) -> GuestError:
    """How the wait for a guest ends that never answers."""
    with pytest.raises(GuestError) as caught:
        await watch.unless_failed(unanswered(timeout_s))
    watch.close()
    return caught.value


async def unanswered(timeout_s: float) -> None:
    """What the guest room raises when its time is over."""
    try:
        async with asyncio.timeout(timeout_s):
            await asyncio.Event().wait()
    except TimeoutError as error:
        raise GuestError("guest demo did not answer SSH on 127.0.0.1:2222 within 1s", hint="look") from error


def hear(watch: BootWatch, name: str) -> None:
    """Let a recorded console speak."""
    for line in (RECORDED / f"{name}.log").read_bytes().decode(errors="replace").split("\n"):
        watch.line(line.rstrip("\r"))


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("systemd-emergency", "systemd stopped in emergency mode$", "^`nixvm-loop console`"),
        (
            "systemd-missing-device",
            "emergency mode; before that, device /dev/nowhere did not appear$",
            "have that disk",
        ),
        ("systemd-mount-failed", "emergency mode; before that, /data could not be mounted$", "store.share"),
        ("mini-no-init-loud", "its init .*init-missing does not exist$", "before stage 2"),
        ("mini-panic", "its kernel panicked: Attempted to kill init! exitcode=0x00000100$", "last lines"),
        ("mini-boot-loop", "it has started anew before it came up$", "panic=0"),
    ],
)
async def test_the_cause_is_told(watch: BootWatch, name: str, message: str, hint: str) -> None:
    """A recorded failure gets the message and the hint that say most, even if the cause is heard after the panic."""
    hear(watch, name)
    error = await outcome(watch)
    assert isinstance(error, BootError)
    assert re.search(message, error.message), error.message
    assert re.search(hint, str(error.hint)), error.hint
    assert error.message.startswith("the guest did not boot: ")
    assert error.details


@pytest.mark.parametrize("tag", ["share", "home"])
async def test_a_share_that_the_domain_does_not_have(watch: BootWatch, tag: str) -> None:
    """The store's ends the boot; a guest with another one that may fail (nofail) goes on."""
    watch.line(f"[    1.2] virtio-fs: tag <{tag}> not found")
    error = await outcome(watch, 0.05)
    assert isinstance(error, BootError) is (tag == "share")


async def test_a_panic_is_told_rather_than_the_domains_end(watch: BootWatch) -> None:
    """Libvirt's event may be faster than the moment that a panic's cause is given."""
    watch.line("[    2.231465] Kernel panic - not syncing: Attempted to kill init!")
    watch.lifecycle(CRASHED)
    watch.line("[    2.233023] Call Trace:")
    error = await outcome(watch)
    assert "its kernel panicked: Attempted to kill init!" in error.message
    assert "Kernel panic" in error.details[-1]


@pytest.mark.parametrize("event", [CRASHED, LifecycleEvent(LifecycleKind.REBOOTED, "rebooted")])
@pytest.mark.parametrize(
    ("line", "cause"),
    [
        (
            "[    2.2] Kernel panic - not syncing: Attempted to kill init!",
            "its kernel panicked: Attempted to kill init!",
        ),
        ("[    2.2] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)", "no initrd that"),
    ],
)
async def test_the_last_words_come_after_the_end(
    watch: BootWatch, event: LifecycleEvent, line: str, cause: str
) -> None:
    """Libvirt may tell the domain's end before the console's last lines: they are waited for."""
    watch.lifecycle(event)
    await asyncio.sleep(0.1)
    watch.line(line)
    assert cause in (await outcome(watch)).message


async def test_who_ended_it(watch: BootWatch) -> None:
    """Somebody who destroys the domain is no failure of the system."""
    watch.lifecycle(LifecycleEvent(LifecycleKind.STOPPED, "was destroyed", End.DESTROYED))
    assert isinstance(await outcome(watch), OperatorStopError)


async def test_who_reset_it(watch: BootWatch) -> None:
    """`virsh reset` neither; a guest that reboots of itself before it came up is one."""
    watch.lifecycle(RESET)
    error = await outcome(watch)
    assert isinstance(error, OperatorStopError)
    assert error.message == "the guest did not boot: the domain was reset"


async def test_why_a_connection_was_lost(watch: BootWatch) -> None:
    """Libvirt tells a moment after the connection has broken off why: that is what is told, and held against nobody."""

    async def cut() -> None:
        asyncio.get_running_loop().call_later(0.1, watch.lifecycle, RESET)
        raise ConnectionLostError("the SSH connection to guest demo was lost")

    with pytest.raises(OperatorStopError, match="was reset"):
        await watch.unless_failed(cut())


async def test_a_connection_that_is_lost_without_a_reason(watch: BootWatch) -> None:
    """It is told as that, soon."""

    async def cut() -> None:
        raise ConnectionLostError("the SSH connection to guest demo was lost")

    with pytest.raises(ConnectionLostError, match="was lost"):
        await asyncio.wait_for(watch.unless_failed(cut()), 5)


async def test_the_log_of_what_died_is_among_the_details(watch: BootWatch) -> None:
    """QEMU's last lines follow the console's; where they cannot be read, the hint names the file."""
    watch.line("booting")
    watch.lifecycle(LifecycleEvent(LifecycleKind.STOPPED, "ended: QEMU died", End.FAILED, ("q.log:", "oh"), "q.log"))
    error = await outcome(watch)
    assert error.message == "the guest did not boot: the domain ended: QEMU died"
    assert error.details == ("booting", "q.log:", "oh")


async def test_a_log_that_is_roots(watch: BootWatch) -> None:
    """Who may not read it is told where it is."""
    watch.lifecycle(LifecycleEvent(LifecycleKind.SHARE_DIED, "has lost its share", log_file="/v.log"))
    error = await outcome(watch)
    assert isinstance(error, BootError)
    assert "/v.log" in str(error.hint)


@pytest.mark.parametrize(
    ("lines", "message", "hint"),
    [
        ([], "and its console is silent$", "console=ttyS0"),
        (["[ 1.0] a line"], "within 1s; its console shows no end of the boot$", "look"),
        (["[FAILED] Failed to start a.service - A."], "; systemd failed to start a.service - A$", "look"),
        (
            ["demo login: "],
            "^the guest has booted .it asks for a login on its console., but cannot be reached: ",
            "sshd",
        ),
    ],
)
async def test_silence_is_told_apart(watch: BootWatch, lines: list[str], message: str, hint: str) -> None:
    """A guest that shows nothing, one that is stuck, and one that is up but not reachable differ."""
    for line in lines:
        watch.line(line)
    error = await outcome(watch, 0.01)
    assert type(error) is GuestError
    assert re.search(message, error.message), error.message
    assert hint in str(error.hint)


async def test_a_quiet_guest_may_take_its_time(watch: BootWatch) -> None:
    """Silence fails nobody before the time is over."""
    assert await watch.unless_failed(asyncio.sleep(0.2, "reached")) == "reached"
    watch.close()


async def test_libvirt_that_goes_during_a_boot(watch: BootWatch) -> None:
    """It is known soon, and is no failure of the guest's: nobody would hear of that any more."""
    alive = [True, False]

    async def sign_of_life() -> bool:
        return alive.pop(0)

    listening = asyncio.create_task(watch.libvirt_ends(sign_of_life))
    with pytest.raises(DomainError, match="libvirt's daemon has gone"):
        await watch.unless_failed(unanswered(5))
    await listening
    watch.close()
