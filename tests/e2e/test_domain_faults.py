"""What the real libvirtd, QEMU and virtiofsd refuse, each provoked: told with exit code 5, its cause and its cure."""

from __future__ import annotations

import asyncio
import re
import socket
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from nixvm_loop.console import follow
from nixvm_loop.domain import Connection, Domain, LifecycleKind, StopResult
from nixvm_loop.domainxml import Owner, create, differences
from nixvm_loop.errors import DomainError
from nixvm_loop.model.settings import Forward, MachineSettings, StopPolicy
from tests.e2e.lab import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.e2e.lab import Lab
    from tests.e2e.world import World

URI = "qemu:///system"
NAME = "faults"
MACHINE = MachineSettings(memory_bytes=256 * 2**20, vcpus=1)


@pytest.fixture(scope="module")
def system(make_lab: Callable[..., Lab]) -> Path:
    """The toplevel of a guest that boots, built."""
    lab = make_lab()
    attribute = "nixosConfigurations.demo.config.system.build.toplevel"
    built = lab.run("nix", "build", f"{lab.flake}#{attribute}", "-o", str(lab.folder / "system"))
    assert built.returncode == 0, built.stderr
    return (lab.folder / "system").resolve()


@pytest.fixture
async def connection() -> AsyncIterator[Connection]:
    """Libvirt, and afterwards no domain of this module's."""
    opened = await Connection.open(URI)
    yield opened
    domain = await opened.find(NAME)
    if domain is not None:
        await domain.stop(StopPolicy.FORCE, 0)
        await domain.undefine()
    await opened.close()


async def definition(connection: Connection, system: Path, machine: MachineSettings, **boot: str) -> str:
    """A domain that boots the system."""
    return create(
        machine,
        name=NAME,
        owner=Owner(NAME, "/nowhere"),
        host=await connection.host(),
        share="nix-store-share",
        kernel=boot.get("kernel", f"{system}/kernel"),
        initrd=boot.get("initrd", f"{system}/initrd"),
        cmdline=f"init={system}/init console=ttyS0 panic=-1 quiet",
        ssh_public_key="ssh-ed25519 AAAA nobody",
    )


@asynccontextmanager
async def refused(says: str, hint: str) -> AsyncIterator[None]:
    """What happens inside has to be refused in these words."""
    with pytest.raises(DomainError, match=says) as caught:
        yield
    assert caught.value.exit_code == 5
    assert hint in str(caught.value.hint)


async def start(connection: Connection, xml: str) -> None:
    before = await connection.find(NAME)
    if before is not None:
        await before.undefine()
    await (await connection.define(xml)).start_paused()


async def test_a_port_in_use_is_named(connection: Connection, system: Path) -> None:
    """Somebody else listens on the SSH port, or on a further one."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        for machine in (
            replace(MACHINE, ssh_port=taken),
            replace(MACHINE, ssh_port=free_port(), forward=(Forward(taken, 80),)),
        ):
            async with refused(f"starting domain {NAME} failed: .*{taken}", "machine.ssh_port"):
                await start(connection, await definition(connection, system, machine))


@pytest.mark.parametrize("queue", [2048, 1000])
async def test_a_queue_that_qemu_refuses(connection: Connection, system: Path, queue: int) -> None:
    """Too large, or no power of two."""
    machine = replace(MACHINE, ssh_port=free_port(), queue=queue)
    async with refused(f"queue of {queue}", "machine.queue"):
        await start(connection, await definition(connection, system, machine))


@pytest.mark.parametrize(
    ("change", "says", "hint"),
    [
        (('dir="/nix/store"', 'dir="/nonexistent"'), "the shared folder /nonexistent does not exist", "Nix installed"),
        (
            ('<source dir="/nix', '<binary path="/nonexistent"/><source dir="/nix'),
            "virtiofsd is not installed",
            "install",
        ),
        (
            ('<source dir="/nix', '<binary path="/bin/false"/><source dir="/nix'),
            "virtiofsd ended",
            f"{NAME}-fs0-virtiofsd",
        ),
        (("(?s)<memoryBacking>.*</memoryBacking>", ""), "memory that can be shared", "<memoryBacking>"),
        (("<devices>", "<devices><emulator>/nonexistent</emulator>"), "QEMU is not installed", "<emulator>"),
        (('type="qemu"|type="kvm"', 'type="xen"'), "defining the domain failed: ", "None"),
    ],
)
async def test_what_libvirt_cannot_run(
    connection: Connection, system: Path, change: tuple[str, str], says: str, hint: str
) -> None:
    """A share, a memory or an emulator that will not do."""
    xml = await definition(connection, system, replace(MACHINE, ssh_port=free_port()))
    changed = re.sub(*change, xml, count=1)
    assert changed != xml
    async with refused(says, hint):
        await start(connection, changed)


async def test_a_kernel_that_qemu_may_not_read(connection: Connection, system: Path, world: World) -> None:
    """A closed folder on the way, or no such file."""
    closed = world.user_home / "kernel"
    closed.write_bytes(b"")
    machine = replace(MACHINE, ssh_port=free_port())
    async with refused(f"QEMU's user may not read {closed}", "state_dir"):
        await start(connection, await definition(connection, system, machine, kernel=str(closed)))
    async with refused("/nonexistent does not exist", "rebuild"):
        await start(connection, await definition(connection, system, machine, initrd="/nonexistent"))


async def test_a_run_from_the_first_line_to_the_last(connection: Connection, system: Path) -> None:
    """The console is complete, store files keep their owner, the mark goes with the run, the end is told at once."""
    xml = await definition(connection, system, replace(MACHINE, ssh_port=free_port()))
    domain = await connection.define(xml)
    assert differences(await domain.definition_text(), xml) == ()
    lines: list[str] = []
    heard = asyncio.Event()

    def hear(line: str) -> None:
        lines.append(line)
        if line.startswith("nixvm-loop-host-key: ssh-ed25519 "):
            heard.set()

    await domain.start_paused()
    async with domain.lifecycle() as events, follow(domain, hear) as console:
        await domain.set_boot_mark("this one")
        assert await domain.state() == "paused"
        await domain.resume()
        await asyncio.wait_for(heard.wait(), 60)
        assert await domain.boot_mark() == "this one"
        owners = {(system / name).stat().st_uid for name in ("kernel", "initrd", "init")}
        assert owners == {system.parent.stat().st_uid}
        assert await domain.stop(StopPolicy.GRACEFUL, 30) is StopResult.POWERED_OFF
        event = await asyncio.wait_for(events.stopped(), 2)
        assert (event.kind, event.words) == (LifecycleKind.STOPPED, "powered off")
        await asyncio.wait_for(console.ended(), 5)
    assert "Power down" in lines[-1]
    assert await domain.boot_mark() is None
    assert await domain.running() is None


async def test_a_panic_ends_the_domain(connection: Connection, system: Path) -> None:
    """A system that cannot boot stops its domain, and both console and events say so."""
    machine = replace(MACHINE, ssh_port=free_port())
    xml = (await definition(connection, system, machine)).replace(f"init={system}/init", "init=/nix/store/none/init")
    domain: Domain = await connection.define(xml)
    lines: list[str] = []
    await domain.start_paused()
    async with domain.lifecycle() as events, follow(domain, lines.append):
        await domain.resume()
        event = await asyncio.wait_for(events.stopped(), 60)
    assert event.ended
    assert any("Kernel panic" in line for line in lines)
    assert await domain.state() in {"shut off", "crashed"}
